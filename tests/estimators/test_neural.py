"""The LightningModule inside a real Trainer: precision, float32 pipeline, reproducibility, device."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from leukemia_lab.data.datamodule import CellDataModule, EpochBatches, fits_on_device
from leukemia_lab.errors import RunError, TrainingError
from leukemia_lab.estimators.checkpoints import BEST, LAST
from leukemia_lab.estimators.epoch_metrics import EpochMetrics
from leukemia_lab.estimators.fit import FitResult, fit, load_model, predict
from leukemia_lab.estimators.neural import CellClassifier, learning_rate_factor
from leukemia_lab.evaluation.metrics import part_metrics
from leukemia_lab.evaluation.predictions import predictions_table
from leukemia_lab.runs.tensorboard import run_logger

LOG: dict[str, Any] = {
    "mode": "append",
    "stencil": "kornia",
    "sigma_px": 1.0,
    "gaussian_size": None,
    "laplacian_size": 3,
    "strength": 1.0,
}
NET = {"_target_": "leukemia_lab.nets.small.simple_cnn", "width": 4, "dropout": 0.2}
OPTIM: dict[str, Any] = {
    "lr": 1e-3,
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup_epochs": 1,
    "label_smoothing": 0.0,
    "optimizer": {"_target_": "torch.optim.AdamW", "betas": [0.9, 0.999]},
}


def a_model(seed: int = 0, **changes: Any) -> CellClassifier:
    torch.manual_seed(seed)
    arguments: dict[str, Any] = {
        "net": NET,
        "class_names": ["ALL", "HEM"],
        "positive": "ALL",
        "image_size": 32,
        "log": LOG,
        "augment": {"_target_": "leukemia_lab.ops.augment.Dihedral"},
        "mean": None,
        "std": None,
        "optim": OPTIM,
        "seed": seed,
    }
    return CellClassifier(**(arguments | changes))


def some_data(n_cells: int = 40, batch_size: int = 8, **changes: Any) -> CellDataModule:
    rng = np.random.default_rng(1)
    labels = np.arange(n_cells) % 2
    images = rng.integers(0, 120, (n_cells, 32, 32, 3), dtype=np.uint8)
    images[labels == 1] += 60
    rows = np.arange(n_cells)
    arguments: dict[str, Any] = {
        "batch_size": batch_size,
        "seed": 0,
        "num_workers": 0,
        "device": torch.device("cpu"),
        "resident": False,
    }
    parts = {"train": rows[: n_cells // 2], "val": rows[n_cells // 2 :]}
    return CellDataModule(images, labels, parts, **(arguments | changes))


def fitted(folder: Path, model: CellClassifier, data: CellDataModule, **changes: Any) -> dict[str, Tensor]:
    arguments: dict[str, Any] = {
        "max_epochs": 3,
        "patience": None,
        "precision": "32-true",
        "deterministic": True,
        "gradient_clip_norm": 1.0,
    }
    fit(model, data, checkpoints=folder / "checkpoints", logger=run_logger(folder), **(arguments | changes))
    return {name: value.clone() for name, value in model.state_dict().items()}


def a_fit(folder: Path, max_epochs: int, patience: int | None = None, **changes: Any) -> FitResult:
    return fit(
        a_model(**changes),
        some_data(),
        checkpoints=folder / "checkpoints",
        logger=run_logger(folder),
        max_epochs=max_epochs,
        patience=patience,
        precision="32-true",
        deterministic=True,
        gradient_clip_norm=1.0,
    )


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


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
    predict(model, data, "val", precision="32-true", deterministic=True)
    assert len(augmented) == 3


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


def test_epoch_metrics_equal_the_final_ones(tmp_path: Path) -> None:
    data = some_data(60, 16)
    model = a_model()
    fitted(tmp_path, model, data, max_epochs=1)
    best = load_model(tmp_path / "checkpoints" / BEST)
    logits = predict(best, data, "val", precision="32-true", deterministic=True)
    import pandas as pd

    labels = [("ALL", "HEM")[label] for label in data.cells.labels[data.rows["val"]]]
    cells = pd.DataFrame({"cell_id": [str(row) for row in range(len(labels))], "label": labels})
    cells = cells.assign(subject=None, group=cells["cell_id"], part="val", fold=pd.NA)
    final = part_metrics(predictions_table(cells, logits, ("ALL", "HEM"), "r"), ("ALL", "HEM"), "ALL")
    running = EpochMetrics(2, positive=0)
    running.update(torch.from_numpy(logits).softmax(1), data.cells.labels[data.rows["val"]])
    for name, value in running.compute().items():
        if final[name]["value"] is not None:
            assert float(value) == pytest.approx(final[name]["value"], abs=1e-6), name


def test_the_checkpoint_holds_names_and_numbers_alone(tmp_path: Path) -> None:
    fitted(tmp_path, a_model(), some_data(), max_epochs=1)
    content = torch.load(tmp_path / "checkpoints" / BEST, weights_only=True)
    assert content["hyper_parameters"]["net"] == NET
    assert not any("of_all" in name for name in content["state_dict"])


def test_a_missing_or_foreign_checkpoint_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is missing"):
        load_model(tmp_path / "absent.ckpt")
    (tmp_path / "foreign.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(RunError, match="cannot be loaded"):
        load_model(tmp_path / "foreign.ckpt")


def test_batches_deal_every_row_once_and_nearly_evenly() -> None:
    rows = torch.arange(101)
    batches = EpochBatches(rows, batch_size=25, seed=0)
    dealt = list(batches)
    assert len(batches) == len(dealt) == 5
    assert {len(batch) for batch in dealt} == {20, 21}
    assert torch.equal(torch.cat(dealt).sort().values, rows)
    batches.set_epoch(1)
    assert not torch.equal(torch.cat(list(batches)), torch.cat(dealt))
    batches.set_epoch(0)
    assert torch.equal(torch.cat(list(batches)), torch.cat(dealt))
    assert torch.equal(torch.cat(list(EpochBatches(rows, 25, None))), rows)


def test_workers_give_the_same_batches() -> None:
    alone, helped = some_data(), some_data(num_workers=2)
    for left, right in zip(alone.train_dataloader(), helped.train_dataloader(), strict=True):
        assert all(torch.equal(left[key], right[key]) for key in ("image", "cell", "label"))


def test_resident_cells_give_the_same_batches() -> None:
    mapped, resident = some_data(), some_data(resident=True)
    for left, right in zip(mapped.train_dataloader(), resident.train_dataloader(), strict=True):
        assert torch.equal(left["image"], right["image"])
    assert not fits_on_device(1, torch.device("cpu"))


def test_a_limited_loader_spreads_over_the_part() -> None:
    batches = list(some_data().loader("train", limit=5))
    assert torch.cat([batch["cell"] for batch in batches]).tolist() == [0, 4, 9, 14, 19]


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    factors = [learning_rate_factor(step, 10, 2, cosine=True) for step in range(11)]
    assert factors[0] == pytest.approx(1 / 3)
    assert factors[2] == 1.0
    assert factors[6] == pytest.approx(0.5)
    assert factors[10] == pytest.approx(0.0)
    assert [learning_rate_factor(step, 10, 0, cosine=False) for step in range(3)] == [1.0, 1.0, 1.0]
