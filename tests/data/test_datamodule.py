from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.utils.data import DataLoader

from leukemia_lab.data.batches import BalancedBatches, EpochBatches
from leukemia_lab.data.datamodule import CellBatch, CellDataModule, Cells
from leukemia_lab.data.host_augment import Albumentations, HostAugment, Image, cell_seed
from leukemia_lab.errors import ConfigError

N_CELLS, SIDE = 1000, 60  # 10.8 MB
OFFSET = 16
ROWS = torch.tensor([0, 999, 17, 17])
FLIPS = [{"name": "HorizontalFlip", "p": 0.5}, {"name": "Rotate", "limit": [-90.0, 90.0], "p": 0.5}]
N, N_TRAIN = 60, 40
LABELS = np.array([0] * 26 + [1] * 11 + [2] * 3 + [1, 2] * 10)  # three classes, unequal in the training part


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
    assert left.keys() == right.keys() == {"image", "cell", "draw", "label"}
    for name in ("image", "cell", "draw", "label"):
        assert torch.equal(left[name], right[name]), name


def test_a_memory_map_is_pickled_as_its_place(mapped: Cells, pixels: npt.NDArray[np.uint8]) -> None:
    pickled = pickle.dumps(mapped)
    assert len(pickled) < 100_000
    again = pickle.loads(pickled)
    assert isinstance(again.images, np.memmap)
    assert not again.images.flags.writeable
    assert_equal(again[ROWS, 0], mapped[ROWS, 0])
    assert torch.equal(again[ROWS, 0]["image"], torch.from_numpy(pixels[ROWS.numpy()]).permute(0, 3, 1, 2))


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
    assert_equal(again[rows, 0], cells[rows, 0])


def test_a_spawned_worker_gives_the_same_batches(mapped: Cells) -> None:
    """The way of macOS and Windows, where a worker inherits nothing and gets all that it has by pickle."""
    mapped.augment = HostAugment(Albumentations(FLIPS), seed=1)
    batches = EpochBatches(torch.arange(0, N_CELLS, 10), batch_size=25, seed=3)
    alone = DataLoader(mapped, sampler=batches, batch_size=None)
    spawned = DataLoader(
        mapped, sampler=batches, batch_size=None, num_workers=1, multiprocessing_context="spawn"
    )
    for left, right in zip(alone, spawned, strict=True):
        assert_equal(left, right)


def shifted(image: Image, seed: int) -> Image:
    """A host policy that shows its seed."""
    return np.full_like(image, seed % 256)


def a_module(**changes: Any) -> CellDataModule:
    images = np.random.default_rng(1).integers(0, 256, (N, 16, 16, 3), dtype=np.uint8)
    parts = {"train": np.arange(N_TRAIN), "val": np.arange(N_TRAIN, N)}
    arguments: dict[str, Any] = {
        "batch_size": 16,
        "seed": 0,
        "num_workers": 0,
        "device": torch.device("cpu"),
        "resident": False,
        "oversample": False,
        "host_policy": None,
    }
    return CellDataModule(images, LABELS, parts, **(arguments | changes))


def epoch_of(loader: DataLoader[CellBatch], epoch: int) -> dict[str, torch.Tensor]:
    """All cells of one epoch."""
    assert isinstance(loader.sampler, EpochBatches)
    loader.sampler.set_epoch(epoch)
    batches = list(loader)
    return {
        name: torch.cat([batch[name] for batch in batches]) for name in ("image", "cell", "draw", "label")
    }


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def test_the_order_is_that_of_the_generator_seeded_by_seed_and_epoch() -> None:
    rows = torch.arange(100, 201)
    batches = EpochBatches(rows, batch_size=25, seed=3)
    batches.set_epoch(2)
    dealt = list(batches)
    assert {epoch for _, epoch in dealt} == {2}
    assert [len(draws) for draws, _ in dealt] == [21, 20, 20, 20, 20]
    order = torch.randperm(101, generator=torch.Generator().manual_seed((3 << 20) + 2))
    assert torch.equal(torch.cat([draws for draws, _ in dealt]), rows[order])
    unshuffled = list(EpochBatches(rows, 25, None))
    assert torch.equal(torch.cat([draws for draws, _ in unshuffled]), rows)
    assert {epoch for _, epoch in unshuffled} == {0}


@pytest.mark.parametrize("n_workers", [0, 2])
def test_a_batch_knows_row_and_draw(n_workers: int) -> None:
    data = a_module(oversample=True, num_workers=n_workers)
    cells = epoch_of(data.train_dataloader(), 1)
    assert torch.equal(cells["cell"], cells["draw"] % N)
    assert torch.equal(
        cells["image"], torch.from_numpy(np.array(data.cells.images))[cells["cell"]].permute(0, 3, 1, 2)
    )
    assert torch.equal(cells["label"], torch.from_numpy(LABELS)[cells["cell"]])


def test_oversampling_gives_every_class_as_many_draws_as_the_largest() -> None:
    loader = a_module(oversample=True).train_dataloader()
    epochs = [epoch_of(loader, epoch) for epoch in range(3)]
    for cells in epochs:
        assert torch.bincount(cells["label"]).tolist() == [26, 26, 26]
        assert len(cells["draw"].unique()) == len(cells["draw"])  # every copy is augmented in its own way
        times = torch.bincount(cells["cell"], minlength=N)
        assert times[:26].tolist() == [1] * 26
        assert sorted(times[26:37].tolist()) == [2] * 7 + [3] * 4
        assert sorted(times[37:40].tolist()) == [8, 9, 9]
        assert not times[40:].any()
        copies = cells["draw"] // N
        assert copies[cells["label"] == 0].max() == 0
        assert set(copies[cells["cell"] == 39].tolist()) >= set(range(8))
    rest = [
        set(cells["cell"][(cells["label"] == 1) & (cells["draw"] // N == 2)].tolist()) for cells in epochs
    ]
    assert len(set(map(frozenset, rest))) > 1  # the rest is drawn anew each epoch
    assert len(loader) == 5  # 78 draws
    assert same(epoch_of(loader, 1), epochs[1])
    sizes = [len(draws) for draws, _ in BalancedBatches(torch.arange(40), 16, 0, torch.from_numpy(LABELS))]
    assert sizes == [16, 16, 16, 15, 15]


def test_oversampling_of_equal_classes_changes_the_order_alone() -> None:
    rows = torch.arange(20)
    balanced = BalancedBatches(rows, 5, 0, torch.arange(30) % 2)
    assert torch.equal(torch.cat([draws for draws, _ in balanced]).sort().values, rows)


@pytest.mark.parametrize("change", [{"oversample": True}, {"host_policy": shifted}])
def test_balance_and_host_policies_change_the_training_part_only(change: dict[str, Any]) -> None:
    plain, changed = a_module(), a_module(**change)
    assert not same(epoch_of(plain.train_dataloader(), 0), epoch_of(changed.train_dataloader(), 0))
    for part in ("train", "val"):  # in order: statistics and predictions
        for limit in (None, 7):
            assert same(
                epoch_of(plain.loader(part, limit=limit), 0), epoch_of(changed.loader(part, limit=limit), 0)
            )
        cells = epoch_of(changed.loader(part), 0)
        assert torch.equal(cells["draw"], changed.rows[part])
    assert same(epoch_of(plain.val_dataloader(), 0), epoch_of(changed.val_dataloader(), 0))
    assert changed.class_counts("train", 3) == [26, 11, 3]
    assert changed.class_counts("val", 4) == [0, 10, 10, 0]


def test_a_host_policy_is_seeded_by_seed_epoch_and_draw() -> None:
    data = a_module(host_policy=shifted, oversample=True, seed=5)
    cells = epoch_of(data.train_dataloader(), 3)
    expected = [cell_seed(5, 3, draw) % 256 for draw in cells["draw"].tolist()]
    assert cells["image"].amax(dim=(1, 2, 3)).tolist() == expected
    assert len(set(expected)) > 50


def test_workers_give_the_same_pixels_and_the_next_epoch_others() -> None:
    policy = Albumentations(FLIPS)
    alone = a_module(host_policy=policy).train_dataloader()
    helped = a_module(host_policy=policy, num_workers=3).train_dataloader()
    for epoch in (0, 1, 7):  # the same workers in all three
        assert same(epoch_of(alone, epoch), epoch_of(helped, epoch))
    by_cell = [
        cells["image"][cells["cell"].argsort()] for cells in (epoch_of(alone, epoch) for epoch in (0, 1))
    ]
    assert (by_cell[0] != by_cell[1]).flatten(1).any(dim=1).float().mean() > 0.5


def test_resident_cells_are_dealt_alike_and_take_no_host_policy() -> None:
    mapped, resident = a_module(oversample=True), a_module(oversample=True, resident=True, num_workers=2)
    assert same(epoch_of(mapped.train_dataloader(), 2), epoch_of(resident.train_dataloader(), 2))
    with pytest.raises(ConfigError, match=r"set trainer\.resident=false"):
        a_module(resident=True, host_policy=shifted)
