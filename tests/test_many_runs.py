"""Many runs in one process: what they share, and that memory returns to its level after each."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import DATA

import leukemia_lab.shared_cells
from leukemia_lab.config import Composer, checked
from leukemia_lab.data.datamodule import CellDataModule
from leukemia_lab.indexing import read_data
from leukemia_lab.schema import TrainCommandSettings, TrainSettings
from leukemia_lab.shared_cells import _key, shared_cells, shared_known_cells
from leukemia_lab.sharing import LastOne

# Runs that differ in seed, net and end: a diverging one fails.
TWENTY_RUNS = """
import sys
from pathlib import Path

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

from leukemia_lab import train

words, levels = sys.argv[1:], []
for k in range(20):
    own = ["optim.lr=1e30"] if k % 5 == 4 else ["model.net.width=48"] if k % 5 == 3 else []
    status = train.main([*words, "trainer.max_epochs=2", *own, f"seed={k}", f"hydra.run.dir=run_{k}"])
    assert status == (1 if k % 5 == 4 else 0), status
    levels.append(resident_bytes())
print(*levels)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc to read the memory in use")
def test_memory_after_twenty_runs_is_that_after_three(tmp_path: Path) -> None:
    words = [word for word in DATA if "image_size" not in word] + ["pipeline.image_size=64"]
    done = subprocess.run(
        [sys.executable, "-c", TWENTY_RUNS, *words, "trainer.batch_size=16"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    levels = [int(word) for word in done.stdout.splitlines()[-1].split()]
    assert len(levels) == 20
    assert levels[-1] <= 1.1 * levels[2], levels


def settings(*overrides: str) -> TrainSettings:
    config = Composer("train", TrainCommandSettings, None).compose([*DATA, *overrides])
    return checked(TrainCommandSettings, config).as_training()


def test_the_last_one_is_kept_and_let_go_before_another_is_made() -> None:
    kept: LastOne[list[str]] = LastOne()
    first = kept.get("a", lambda: ["a"])
    assert kept.get("a", list) is first
    assert kept.get("b", lambda: [str(kept.key)]) == ["None"]
    kept.clear()
    assert kept.get("b", list) == []


def test_equal_data_and_protocol_are_split_once() -> None:
    cells = shared_cells(settings())
    assert shared_cells(settings("optim.lr=0.5", "seed=3")) is cells
    other = shared_cells(settings("protocol.test_share=0.3"))
    assert other.split.hash != cells.split.hash
    again = shared_cells(settings())
    assert again is not cells
    assert again.split.hash == cells.split.hash


def test_folds_and_other_protocols_share_the_search_for_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    shared_cells(settings("data.seed=7"))
    monkeypatch.setattr(leukemia_lab.shared_cells, "search_twins", None)  # no second time
    known = shared_known_cells(settings("data.seed=7", "protocol=subject_kfold", "protocol.fold=all"))
    assert shared_known_cells(settings("data.seed=7", "optim.lr=0.5")) is known
    monkeypatch.undo()
    assert shared_known_cells(settings("data.seed=7", "protocol.twins=ignore")) is not known


@pytest.mark.parametrize("column", ["sha256", "subject", "label", "cell_id"])
def test_cells_that_have_changed_are_split_anew(column: str) -> None:
    node = settings()
    index = read_data(node.data)
    table = index.table.copy()
    assert _key(replace(index, table=table), node) == _key(index, node)
    table.loc[3, column] = "changed"
    assert _key(replace(index, table=table), node) != _key(index, node)
    assert _key(replace(index, root=Path("elsewhere")), node) != _key(index, node)


def resident(images: Any) -> CellDataModule:
    return CellDataModule(
        images,
        np.zeros(len(images), dtype=np.int64),
        {"train": np.arange(2), "val": np.arange(2)},
        batch_size=2,
        seed=0,
        num_workers=0,
        device=torch.device("cpu"),
        resident=True,
        oversample=False,
        host_policy=None,
    )


def test_resident_images_are_shared_while_their_file_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "cells.u8"
    file.write_bytes(bytes(24))
    first, second = (resident(np.memmap(file, np.uint8, "r", shape=(2, 2, 2, 3))) for _ in range(2))
    assert first.cells.images is second.cells.images
    file.unlink()
    file.write_bytes(bytes([1] * 24))
    third = resident(np.memmap(file, np.uint8, "r", shape=(2, 2, 2, 3)))
    assert isinstance(third.cells.images, torch.Tensor)
    assert third.cells.images.unique().tolist() == [1]
    array = np.zeros((2, 2, 2, 3), dtype=np.uint8)
    assert resident(array).cells.images is not resident(array).cells.images
