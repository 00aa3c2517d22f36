"""Memory that runs out and losses that are no numbers, through the real command: what is kept, done again, recorded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_runs import DATA, DONE, SOME_FAILED, record_of

from leukemia_lab import train
from leukemia_lab.runs import record

# What a device does whose memory holds `cells` cells in training, and twice as many outside.
GREEDY_NETS = """
import torch
from torch import nn

class Greedy(nn.Module):
    num_features = 8

    def __init__(self, in_channels, n_classes, image_size, cells=1000, from_call=0, norm=False):
        super().__init__()
        norms = [nn.BatchNorm2d(8)] if norm else []
        self.body = nn.Sequential(nn.Conv2d(in_channels, 8, 3, stride=2), *norms, nn.ReLU())
        self.head = nn.Linear(8, n_classes)
        self.cells, self.left = cells, from_call

    def forward_features(self, images):
        if not images.is_meta:
            self.left -= 1
            if self.left < 0 and len(images) > self.cells * (1 if self.training else 2):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return self.body(images).mean(dim=(2, 3))

    def forward(self, images):
        return self.head(self.forward_features(images))

    def stages(self):
        return {"body": [self.body], "head": [self.head]}
"""


@pytest.fixture(scope="module", autouse=True)
def greedy_nets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("nets")
    (folder / "greedy_nets.py").write_text(GREEDY_NETS)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    sys.modules.pop("greedy_nets", None)


@pytest.fixture(scope="module")
def ample(greedy_nets: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has memory enough: two batches of 13 cells an epoch, two of validation."""
    folder = tmp_path_factory.mktemp("ample") / "run"
    about = trained(folder)
    assert (about["accumulated_batches"], about["batch_in_memory"], about["out_of_memory"]) == (1, 13, [])
    return folder


def trained(folder: Path, *overrides: str, expected: int = DONE) -> dict[str, Any]:
    own = ["model=own", "model.net._target_=greedy_nets.Greedy", "trainer.max_epochs=3", "optim.lr=0.01"]
    own += ["pipeline.image_size=32", "trainer.batch_size=16", "trainer.precision=32-true"]
    assert (
        train.main([*DATA, *own, "balance=class_weight", *overrides, f"hydra.run.dir={folder}"]) == expected
    )
    return record_of(folder)


def history(folder: Path) -> pd.DataFrame:
    table = pd.read_csv(folder / record.HISTORY)
    return table[[name for name in table if not name.startswith(("speed/", "memory/"))]]


def probabilities(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / record.PREDICTIONS).filter(like="prob_")


def assert_same_result(folder: Path, other: Path) -> None:
    for table in (history, probabilities):
        np.testing.assert_allclose(table(folder), table(other), rtol=1e-4, atol=1e-5)


def test_a_run_that_runs_out_of_memory_ends_with_the_same_result(
    ample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = trained(tmp_path / "short", "+model.net.cells=3")
    assert short["accumulated_batches"] == 8
    assert short["batch_in_memory"] == 2
    assert short["out_of_memory"] == [
        {"epoch": 0, "batch_in_memory": cells, "device": "cpu"} for cells in (13, 7, 4)
    ]
    assert short["batch_norm_note"] is None
    said = capsys.readouterr().err
    assert said.count("out of memory in epoch 0") == 3
    assert "so that the effective batch stays 16" in said
    assert_same_result(tmp_path / "short", ample)


def test_memory_that_runs_out_later_costs_no_finished_epoch(ample: Path, tmp_path: Path) -> None:
    second_epochs_second_batch = 5
    short = trained(
        tmp_path / "short", "+model.net.cells=9", f"+model.net.from_call={second_epochs_second_batch}"
    )
    assert [happening["epoch"] for happening in short["out_of_memory"]] == [1]
    assert short["accumulated_batches"] == 2
    assert_same_result(tmp_path / "short", ample)


def test_a_resumed_run_begins_with_the_pieces_that_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leukemia_lab.estimators.neural import CellClassifier

    step = CellClassifier.training_step

    def interrupted(self: CellClassifier, batch: Any, batch_idx: int) -> Any:
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    monkeypatch.setattr(CellClassifier, "training_step", interrupted)
    trained(tmp_path / "run", "+model.net.cells=9", expected=3)
    monkeypatch.undo()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(CellClassifier, "on_fit_start", lambda self: pieces.append(self.trainer))
    pieces: list[Any] = []
    about = trained(tmp_path / "run", "+model.net.cells=9")
    assert [trainer.accumulate_grad_batches for trainer in pieces] == [2]
    assert len(about["out_of_memory"]) == 1


def test_no_memory_for_the_least_piece_ends_the_run_and_a_repeat_tries_whole_batches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    about = trained(tmp_path / "run", "+model.net.cells=0", expected=SOME_FAILED)
    assert about["status"] == "failed"
    assert "out of memory training 1 cell(s) at a time, which is the least" in about["error"]
    assert [happening["batch_in_memory"] for happening in about["out_of_memory"]][-1] == 1
    assert about["accumulated_batches"] == 1
    assert "trainer.resident=false" in capsys.readouterr().err


def test_batch_normalisation_over_pieces_is_noted_and_keeps_two_cells(tmp_path: Path) -> None:
    about = trained(tmp_path / "run", "+model.net.cells=3", "+model.net.norm=true", "trainer.max_epochs=1")
    assert about["batch_norm_note"] == "batch normalisation saw at most 3 cells at a time, not 16"
    about = trained(tmp_path / "none", "+model.net.cells=1", "+model.net.norm=true", expected=SOME_FAILED)
    assert about["out_of_memory"][-1]["batch_in_memory"] == 3


def test_a_loss_that_is_no_number_stands_in_the_record_until_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from leukemia_lab.estimators import neural

    loss = neural.classification_loss
    calls = iter(range(100))
    with monkeypatch.context() as patched:
        patched.setattr(
            neural,
            "classification_loss",
            lambda *a, **k: loss(*a, **k) * (float("nan") if next(calls) == 3 else 1),
        )
        about = trained(tmp_path / "run", expected=SOME_FAILED)
    assert about["status"] == "failed"
    facts = {name: about[name] for name in about if name.startswith("nan_")}
    assert facts.pop("nan_lr") > 0
    assert facts == {"nan_epoch": 1, "nan_step": 1, "nan_global_step": 3}
    assert "at step 1 of epoch 1" in about["error"]
    assert "lower optim.lr" in capsys.readouterr().err
    about = trained(tmp_path / "run")  # what was wrong is gone
    assert about["status"] == "finished"
    assert not {"error", "traceback", "nan_step", "nan_lr"} & about.keys()
