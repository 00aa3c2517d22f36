"""Fitting in a real Trainer: the same weights twice and after a resume, early stopping, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from small_models import OPTIM, a_fit, a_model, equal, fitted, some_data
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from leukemia_lab.errors import TrainingError
from leukemia_lab.estimators.checkpoints import BEST, LAST
from leukemia_lab.estimators.fit import load_model, predict


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


def test_a_loss_that_is_no_number_stops_the_run_and_says_what_to_lower(tmp_path: Path) -> None:
    model = a_model()
    with torch.no_grad():
        next(model.net.parameters()).fill_(math.nan)
    with pytest.raises(TrainingError, match=r"epoch 0: lower optim.lr \(now 0.001\)"):
        fitted(tmp_path, model, some_data())


def test_early_stopping_waits_for_patience(tmp_path: Path) -> None:
    result = a_fit(tmp_path, max_epochs=20, patience=2, optim=OPTIM | {"lr": 1e-12})
    assert result.n_epochs < 20
    assert result.images_per_second is not None
    assert result.images_per_second > 0
