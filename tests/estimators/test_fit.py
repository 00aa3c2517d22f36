"""Fitting in a real Trainer: the same weights twice and after a resume, early stopping, checkpoints."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from small_models import OPTIM, a_fit, a_model, equal, fitted, some_data
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from leukemia_lab.data.datamodule import CellDataModule
from leukemia_lab.errors import InterruptedRunError, TrainingError
from leukemia_lab.estimators import validation_curves
from leukemia_lab.estimators.checkpoints import BEST, LAST
from leukemia_lab.estimators.fit import load_model, predict
from leukemia_lab.estimators.neural import CellClassifier


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    first = fitted(tmp_path / "a", a_model(0), some_data())
    torch.rand(7)  # whatever was drawn before must not matter
    again = fitted(tmp_path / "b", a_model(0), some_data())
    other = fitted(tmp_path / "c", a_model(1), some_data(seed=1))
    assert equal(first, again)
    assert not equal(first, other)


class StopAfter(Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.current_epoch == self.epoch:
            raise RuntimeError("killed")


def test_a_run_killed_within_an_epoch_resumes_to_the_weights_of_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = fitted(tmp_path / "a", a_model(), some_data(), max_epochs=4)
    dying = a_model()
    monkeypatch.setattr(dying, "configure_callbacks", lambda: [StopAfter(2)])
    with pytest.raises(RuntimeError, match="killed"):
        fitted(tmp_path / "b", dying, some_data(), max_epochs=4)
    resumed = fitted(tmp_path / "b", a_model(), some_data(), max_epochs=4)
    assert equal(undisturbed, resumed)
    best = [torch.load(tmp_path / run / "checkpoints" / BEST, weights_only=True)["epoch"] for run in "ab"]
    assert best[0] == best[1]


def test_a_run_that_moved_while_it_was_stopped_still_knows_its_best_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted(tmp_path / "a", a_model(), some_data(), max_epochs=4)
    dying = a_model()
    monkeypatch.setattr(dying, "configure_callbacks", lambda: [StopAfter(2)])
    with pytest.raises(RuntimeError, match="killed"):
        fitted(tmp_path / "b", dying, some_data(), max_epochs=4)
    (tmp_path / "b").rename(tmp_path / "moved")
    fitted(tmp_path / "moved", a_model(), some_data(), max_epochs=4)
    best = [torch.load(tmp_path / run / "checkpoints" / BEST, weights_only=True) for run in ("a", "moved")]
    assert best[0]["epoch"] == best[1]["epoch"] < 2  # else forgetting the best score would not show
    assert equal(best[0]["state_dict"], best[1]["state_dict"])


def test_a_run_stopped_early_and_then_killed_trains_no_further_epoch(tmp_path: Path) -> None:
    results = [a_fit(tmp_path, max_epochs=20, patience=2, optim=OPTIM | {"lr": 1e-12}) for _ in range(2)]
    assert results[0].n_epochs == results[1].n_epochs < 20
    assert results[1].images_per_second == results[0].images_per_second


def test_the_best_epochs_weights_are_kept_not_the_last(tmp_path: Path) -> None:
    result = a_fit(tmp_path, max_epochs=4)
    best, last = (torch.load(tmp_path / "checkpoints" / name, weights_only=True) for name in (BEST, LAST))
    assert result.best_checkpoint.name == BEST
    assert result.best_epoch == best["epoch"] < last["epoch"] == 3
    scores = [
        state
        for name, state in last["callbacks"].items()
        if "val/auroc" in name and "best_model_score" in state
    ]
    assert float(scores[0]["best_model_score"]) == pytest.approx(0.5, abs=0.5)
    assert equal(load_model(result.best_checkpoint).state_dict(), best["state_dict"])


def test_prediction_and_validation_never_augment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = a_model(), some_data()
    augmented: list[bool] = []
    original = model.pipeline.augmented
    monkeypatch.setattr(
        model.pipeline, "augmented", lambda *a: augmented.append(bool(model.trainer.training)) or original(*a)
    )
    fitted(tmp_path, model, data, max_epochs=1)
    assert augmented == [True] * 3
    predict(model, data, "val", output="logits", precision="32-true", deterministic=True)
    assert len(augmented) == 3


@pytest.mark.parametrize(("monitor", "pick"), [("val/loss", min), ("val/auroc", max)])
def test_the_best_epoch_is_that_of_the_least_loss_or_the_greatest_auroc(
    monitor: str, pick: Callable[[list[float]], float], tmp_path: Path
) -> None:
    result = a_fit(tmp_path, max_epochs=5, monitor=monitor)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    by_epoch = [scalar.value for scalar in events.Scalars(monitor)]
    assert len(by_epoch) == 5
    assert by_epoch[result.best_epoch] == pick(by_epoch)


@pytest.mark.parametrize(
    "change",
    [
        {"weight_decay": 0.9},
        {"label_smoothing": 0.3},
        {"schedule": "constant"},
        {"warmup_epochs": 0},
        {"lr": 2e-3},
    ],
)
def test_every_setting_of_the_optimiser_matters(change: dict[str, Any], tmp_path: Path) -> None:
    plain = fitted(tmp_path / "a", a_model(), some_data(), max_epochs=2)
    changed = fitted(tmp_path / "b", a_model(optim=OPTIM | change), some_data(), max_epochs=2)
    assert not equal(plain, changed)


def test_gradients_are_clipped(tmp_path: Path) -> None:
    sgd = OPTIM | {"weight_decay": 0.0, "optimizer": {"_target_": "torch.optim.SGD"}}
    free = fitted(tmp_path / "a", a_model(optim=sgd), some_data(), max_epochs=1, gradient_clip_norm=None)
    clipped = fitted(tmp_path / "b", a_model(optim=sgd), some_data(), max_epochs=1, gradient_clip_norm=1e-6)
    start = a_model().state_dict()
    name = "net.head.weight" if "net.head.weight" in start else next(n for n in start if n.endswith("weight"))
    assert (clipped[name] - start[name]).abs().max() < 1e-3 * (free[name] - start[name]).abs().max()


def test_a_checkpoint_cut_off_by_a_kill_starts_the_run_over(tmp_path: Path) -> None:
    undisturbed = fitted(tmp_path / "a", a_model(), some_data())
    (tmp_path / "b" / "checkpoints").mkdir(parents=True)
    (tmp_path / "b" / "checkpoints" / LAST).write_bytes(b"PK\x03\x04 cut off")
    assert equal(undisturbed, fitted(tmp_path / "b", a_model(), some_data()))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_the_input_pipeline_is_float32_whatever_the_precision(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = a_model(), some_data()
    expected = a_model().pipeline
    seen: list[tuple[torch.dtype, bool]] = []
    pipeline_forward, net_forward = model.pipeline.forward, model.net.forward
    net_dtypes: set[torch.dtype] = set()

    def checked_pipeline(images: Tensor, cell: Tensor, seed: int, epoch: int, augment: bool) -> Tensor:
        inputs = pipeline_forward(images, cell, seed, epoch, augment)
        reference = expected(images, cell, seed, epoch, augment)
        seen.append((inputs.dtype, torch.equal(inputs, reference)))
        return inputs

    def checked_net(inputs: Tensor) -> Tensor:
        logits = net_forward(inputs)
        net_dtypes.add(logits.dtype)
        return logits

    monkeypatch.setattr(model.pipeline, "forward", checked_pipeline)
    monkeypatch.setattr(model.net, "forward", checked_net)
    fitted(tmp_path, model, data, max_epochs=1, precision=precision)
    assert len(seen) == 6  # three training batches, three of validation
    assert set(seen) == {(torch.float32, True)}
    assert net_dtypes == {torch.float32 if precision == "32-true" else torch.bfloat16}


@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize(("bad_step", "value"), [(0, math.nan), (1, math.inf), (2, math.nan)])
def test_a_loss_that_is_no_number_is_named_by_step_and_rate_and_leaves_no_checkpoint(
    bad_step: int, value: float, accumulated: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = fitted(tmp_path / "a", a_model(), in_pieces(accumulated))
    model, step, rates = a_model(), CellClassifier.training_step, []

    def diverging(self: CellClassifier, batch: Any, batch_idx: int) -> Tensor:
        rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        if self.current_epoch == 1 and batch_idx // accumulated == bad_step:
            batch["inputs"] = torch.full_like(batch["inputs"], value)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(CellClassifier, "training_step", diverging)
    with pytest.raises(TrainingError) as raised:
        fitted(tmp_path / "b", model, in_pieces(accumulated))
    expected = {"nan_epoch": 1, "nan_step": bad_step, "nan_global_step": 3 + bad_step}
    assert raised.value.facts == expected | {"nan_lr": rates[(3 + bad_step) * accumulated]}
    assert f"at step {bad_step} of epoch 1 (step {3 + bad_step} of the run" in str(raised.value)
    assert "lower optim.lr (now 0.001)" in str(raised.value)
    for name in (BEST, LAST):
        content = torch.load(tmp_path / "b" / "checkpoints" / name, weights_only=True)
        assert content["epoch"] == 0
        assert all(value.isfinite().all() for value in content["state_dict"].values())
    monkeypatch.undo()
    assert equal(undisturbed, fitted(tmp_path / "b", a_model(), in_pieces(accumulated)))


def in_pieces(accumulated: int) -> CellDataModule:
    data = some_data()
    data.accumulate(accumulated)
    return data


@pytest.mark.parametrize(
    ("spoilt", "what"),
    [("weight", "norm of the weights is"), ("running_var", "outputs for the validation part are")],
)
def test_a_net_that_the_last_step_of_an_epoch_spoils_is_neither_drawn_nor_kept(
    spoilt: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    step = CellClassifier.training_step

    def noted(self: CellClassifier, batch: Any, batch_idx: int) -> Tensor:
        rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return step(self, batch, batch_idx)

    def spoil(self: CellClassifier, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.current_epoch == 1 and batch_idx == 2:
            norm = next(layer for layer in self.net.modules() if isinstance(layer, torch.nn.BatchNorm2d))
            with torch.no_grad():
                getattr(norm, spoilt)[0] = math.nan

    monkeypatch.setattr(CellClassifier, "training_step", noted)
    monkeypatch.setattr(CellClassifier, "on_train_batch_end", spoil)
    monkeypatch.setattr(validation_curves, "DRAWING_SHARE", math.inf)
    with pytest.raises(TrainingError, match=f"{what} NaN or infinite after step 2") as raised:
        fitted(tmp_path, a_model(), some_data(), callbacks=[validation_curves.ValidationCurves([])])
    facts = {"nan_epoch": 1, "nan_step": 2, "nan_global_step": 5, "nan_lr": rates[-1]}
    assert raised.value.facts == facts
    assert torch.load(tmp_path / "checkpoints" / LAST, weights_only=True)["epoch"] == 0


def test_a_stop_after_the_last_step_is_no_less_a_stop(tmp_path: Path) -> None:
    class StopAtTheEnd(Callback):
        def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedRunError):
        fitted(tmp_path / "a", a_model(), some_data(), callbacks=[StopAtTheEnd()])
    resumed = fitted(tmp_path / "a", a_model(), some_data())
    assert equal(resumed, fitted(tmp_path / "b", a_model(), some_data()))


def test_early_stopping_waits_for_patience(tmp_path: Path) -> None:
    result = a_fit(tmp_path, max_epochs=20, patience=2, optim=OPTIM | {"lr": 1e-12})
    assert result.n_epochs < 20
    assert result.images_per_second is not None
    assert result.images_per_second > 0


def test_prediction_takes_as_many_cells_at_a_time_as_fit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = a_model(), some_data()
    keywords: dict[str, Any] = {"output": "logits", "precision": "32-true", "deterministic": True}
    expected = predict(model, data, "val", **keywords)
    fitting, forward, sizes = 3, model.net.forward, []

    def greedy(inputs: Tensor) -> Tensor:
        sizes.append(len(inputs))
        if len(inputs) > fitting:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(inputs)

    monkeypatch.setattr(model.net, "forward", greedy)
    np.testing.assert_allclose(predict(model, data, "val", **keywords), expected, rtol=1e-5)
    assert sizes == [7, 4, *[2] * 10]
    assert "out of memory predicting 8 cells at a time: going on with 4" in capsys.readouterr().err
    fitting = 0
    with pytest.raises(TrainingError, match="predicting a single cell"):
        predict(model, data, "val", **keywords)
