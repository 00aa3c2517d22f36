"""history.csv: a row an epoch, the same after an interruption, and what the meters put into it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from small_models import OPTIM, a_fit, a_model, fitted, some_data
from torch import Tensor

from leukemia_lab.data.datamodule import CellDataModule
from leukemia_lab.estimators.averaging import FiniteMean
from leukemia_lab.estimators.epoch_metrics import EpochMetrics
from leukemia_lab.estimators.history import TrainingHistory, read_history
from leukemia_lab.evaluation.metrics import metric_values

DIFFERS = ("speed/", "memory/")
SGD = OPTIM | {
    "weight_decay": 0.0,
    "schedule": "constant",
    "warmup_epochs": 0,
    "optimizer": {"_target_": "torch.optim.SGD"},
}


class StopAt(Callback):
    """Ends the process's work within an epoch, or in its validation."""

    def __init__(self, epoch: int, *, in_validation: bool) -> None:
        self.epoch, self.in_validation = epoch, in_validation

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.current_epoch == self.epoch and not self.in_validation:
            raise RuntimeError("killed")

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == self.epoch and self.in_validation:
            raise RuntimeError("killed")


def history(
    folder: Path, *, max_epochs: int = 4, callbacks: tuple[Callback, ...] = (), **changes: Any
) -> pd.DataFrame:
    path = folder / "history.csv"
    watching = [TrainingHistory(path), *callbacks]
    fitted(folder, a_model(**changes), some_data(), max_epochs=max_epochs, callbacks=watching)
    return read_history(path)


def same(table: pd.DataFrame) -> pd.DataFrame:
    return table[[name for name in table.columns if not name.startswith(DIFFERS)]]


def test_every_epoch_has_a_row_with_all_that_was_logged(tmp_path: Path) -> None:
    table = history(tmp_path, max_epochs=3)
    assert list(table["epoch"]) == [0, 1, 2]
    assert list(table.columns[:3]) == ["epoch", "train/loss", "val/loss"]
    assert {"val/auroc", "val/ece", "val/brier", "optim/lr", "optim/gradient_norm"} <= set(table.columns)
    assert {"speed/images_per_second", "speed/data_wait_share", "memory/process_bytes"} <= set(table.columns)
    assert "step" not in table.columns
    assert table.notna().all().all()
    assert (table["optim/gradient_norm"] > 0).all()
    assert table["speed/data_wait_share"].between(0, 1).all()
    assert (table["memory/process_bytes"] > 50e6).all()


@pytest.mark.parametrize("in_validation", [False, True])
def test_an_interrupted_run_ends_with_the_history_of_an_undisturbed_one(
    in_validation: bool, tmp_path: Path
) -> None:
    undisturbed = history(tmp_path / "a")
    with pytest.raises(RuntimeError, match="killed"):
        history(tmp_path / "b", callbacks=(StopAt(2, in_validation=in_validation),))
    before = read_history(tmp_path / "b" / "history.csv")
    assert list(before["epoch"]) == [0, 1]
    resumed = history(tmp_path / "b")
    pd.testing.assert_frame_equal(same(resumed), same(undisturbed))
    pd.testing.assert_frame_equal(resumed.iloc[:2], before)  # speeds of the first two are those measured then


def test_rows_of_epochs_that_come_again_are_dropped_at_once(tmp_path: Path) -> None:
    history(tmp_path, max_epochs=2)
    path = tmp_path / "history.csv"
    table = pd.read_csv(path)
    ahead = table.iloc[[1]].assign(epoch=2) * [1, *[9.0] * (len(table.columns) - 1)]
    pd.concat([table, ahead]).to_csv(
        path, index=False
    )  # killed between the row and the checkpoint of epoch 2
    seen: list[list[int]] = []

    class Look(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            seen.append(list(read_history(path)["epoch"]))

    history(tmp_path, max_epochs=3, callbacks=(Look(),))
    assert seen[0] == [0, 1]
    assert list(read_history(path)["epoch"]) == [0, 1, 2]


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", b"other\n1\n"])
def test_a_damaged_file_is_written_anew(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_bytes(content)
    assert list(history(tmp_path, max_epochs=2)["epoch"]) == [0, 1]


def test_the_gradient_norm_is_that_of_the_step_before_it_is_clipped(tmp_path: Path) -> None:
    data = some_data(batch_size=40)  # one step an epoch
    start = a_model(optim=SGD)
    before = [weight.detach().clone() for weight in start.net.parameters()]
    free, clipped = tmp_path / "a" / "history.csv", tmp_path / "b" / "history.csv"
    fitted(
        tmp_path / "a", start, data, max_epochs=1, gradient_clip_norm=None, callbacks=[TrainingHistory(free)]
    )
    moved = [(new.detach() - old) for new, old in zip(start.net.parameters(), before, strict=True)]
    norm = float(np.sqrt(sum(float(step.double().square().sum()) for step in moved))) / SGD["lr"]
    assert read_history(free)["optim/gradient_norm"][0] == pytest.approx(norm, rel=1e-4)
    callbacks = [TrainingHistory(clipped)]
    model = a_model(optim=SGD)
    fitted(tmp_path / "b", model, data, max_epochs=1, gradient_clip_norm=norm / 10, callbacks=callbacks)
    assert read_history(clipped)["optim/gradient_norm"][0] == pytest.approx(norm, rel=1e-4)


def test_the_mean_of_gradient_norms_leaves_out_steps_that_overflowed() -> None:
    mean = FiniteMean()
    assert np.isnan(mean.pop())
    for value in (1.0, float("inf"), 3.0, float("nan")):
        mean.add(torch.tensor(value))
    assert mean.pop() == 2.0
    assert np.isnan(mean.pop())


def test_a_slow_loader_shows_as_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def share(folder: Path, delay: float) -> float:
        data = some_data()
        original = data.train_cells.__class__.__getitem__

        def slow(self: Any, batch: tuple[Tensor, int]) -> Any:
            if self is data.train_cells:
                time.sleep(delay)
            return original(self, batch)

        with monkeypatch.context() as patched:
            patched.setattr(data.train_cells.__class__, "__getitem__", slow)
            path = folder / "history.csv"
            fitted(folder, a_model(), data, max_epochs=2, callbacks=[TrainingHistory(path)])
        return float(read_history(path)["speed/data_wait_share"].iloc[-1])

    assert isinstance(some_data(), CellDataModule)
    assert share(tmp_path / "slow", 0.3) > 0.5
    assert share(tmp_path / "fast", 0.0) < 0.5


@pytest.mark.parametrize(("n_classes", "positive"), [(2, 0), (2, 1), (2, None), (4, None)])
def test_calibration_by_epoch_is_that_of_the_final_metrics(n_classes: int, positive: int | None) -> None:
    rng = np.random.default_rng(n_classes)
    probs = rng.dirichlet(np.ones(n_classes), 60)
    truth = rng.integers(0, n_classes, 60)
    metrics = EpochMetrics(n_classes, positive)
    for rows in np.array_split(np.arange(60), 7):
        metrics.update(
            torch.from_numpy(probs[rows]).float(), torch.from_numpy(truth[rows]), torch.from_numpy(rows)
        )
    expected = metric_values(truth, probs, positive)
    found = metrics.compute()
    assert float(found["ece"]) == pytest.approx(expected["ece"], abs=1e-6)
    assert float(found["brier"]) == pytest.approx(expected["brier"], abs=1e-6)
    metrics.reset()
    metrics.update(torch.eye(n_classes), torch.arange(n_classes), torch.arange(n_classes))
    assert len(metrics.seen()[1]) == n_classes


def test_scalars_stand_over_the_epoch_not_the_step(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    a_fit(tmp_path, max_epochs=3)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    for tag in ("train/loss", "val/loss", "optim/gradient_norm", "speed/images_per_second"):
        assert [event.step for event in events.Scalars(tag)] == [0, 1, 2], tag
