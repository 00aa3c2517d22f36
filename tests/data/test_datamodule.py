from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.utils.data import DataLoader

from leukemia_lab.data.datamodule import CellBatch, Cells, EpochBatches

N_CELLS, SIDE = 1000, 60  # 10.8 MB
OFFSET = 16
ROWS = torch.tensor([0, 999, 17, 17])


@pytest.fixture
def pixels() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (N_CELLS, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture
def mapped(tmp_path: Path, pixels: npt.NDArray[np.uint8]) -> Cells:
    file = tmp_path / "cells.u8"
    file.write_bytes(bytes(OFFSET) + pixels.tobytes())
    images = np.memmap(file, np.uint8, mode="r", offset=OFFSET, shape=pixels.shape)
    return Cells(images, torch.arange(N_CELLS) % 2)


def assert_equal(left: CellBatch, right: CellBatch) -> None:
    assert left.keys() == right.keys() == {"image", "cell", "label"}
    for name in ("image", "cell", "label"):
        assert torch.equal(left[name], right[name]), name


def test_a_memory_map_is_pickled_as_its_place(mapped: Cells, pixels: npt.NDArray[np.uint8]) -> None:
    pickled = pickle.dumps(mapped)
    assert len(pickled) < 100_000
    again = pickle.loads(pickled)
    assert isinstance(again.images, np.memmap)
    assert not again.images.flags.writeable
    assert_equal(again[ROWS], mapped[ROWS])
    assert torch.equal(again[ROWS]["image"], torch.from_numpy(pixels[ROWS.numpy()]).permute(0, 3, 1, 2))


@pytest.mark.parametrize("kind", ["array", "tensor", "slice of a map", "copy of a map"])
def test_all_else_is_pickled_by_value(mapped: Cells, kind: str) -> None:
    """A slice of a map names the file of the whole, and a copy of it none at all."""
    whole = mapped.images
    assert isinstance(whole, np.memmap)
    images = {
        "array": np.array(whole),
        "tensor": torch.from_numpy(np.array(whole)),
        "slice of a map": whole[300:],
        "copy of a map": whole[300:].copy(),
    }[kind]
    cells = Cells(images, mapped.labels)
    again = pickle.loads(pickle.dumps(cells))
    rows = torch.tensor([0, 699])
    assert_equal(again[rows], cells[rows])


def test_a_spawned_worker_gives_the_same_batches(mapped: Cells) -> None:
    """The way of macOS and Windows, where a worker inherits nothing and gets all that it has by pickle."""
    batches = EpochBatches(torch.arange(0, N_CELLS, 10), batch_size=25, seed=3)
    alone = DataLoader(mapped, sampler=batches, batch_size=None)
    spawned = DataLoader(
        mapped, sampler=batches, batch_size=None, num_workers=1, multiprocessing_context="spawn"
    )
    for left, right in zip(alone, spawned, strict=True):
        assert_equal(left, right)
