"""Batches of cells with their pixels, from the decoded cache or resident on the device."""

from __future__ import annotations

from collections.abc import Hashable
from mmap import mmap
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from leukemia_lab.data.batches import BalancedBatches, Dealt, EpochBatches
from leukemia_lab.data.host_augment import HostAugment, HostPolicy, one_thread
from leukemia_lab.errors import ConfigError
from leukemia_lab.sharing import LastOne

RESIDENT_SHARE = 0.5  # of the device's free memory that the decoded cells may take
_RESIDENT: LastOne[Tensor] = LastOne()  # shared by the runs of a process


class CellBatch(TypedDict, total=False):
    """image uint8 [B, 3, H, W]; cell int64 [B], the row in the index; draw int64 [B], what augmentation is drawn by;
    label int64 [B]; whole int64 [B'], the labels of the whole batch that this is a piece of; inputs as the net gets
    them.
    """

    image: Tensor
    cell: Tensor
    draw: Tensor
    label: Tensor
    whole: Tensor
    inputs: Tensor


class Cells(Dataset[CellBatch]):
    """The decoded cells uint8 [N, H, W, 3] and their labels int64 [N]; indexed by what `EpochBatches` deals.

    `augment` changes each image on the host. A memory map is pickled as its place in the file: spawned workers
    map it too instead of copying it.
    """

    def __init__(
        self, images: Tensor | npt.NDArray[np.uint8], labels: Tensor, augment: HostAugment | None = None
    ) -> None:
        self.images = images
        self.labels = labels
        self.augment = augment

    def __getitem__(self, dealt: Dealt) -> CellBatch:
        draws, epoch, *whole = dealt
        rows = draws % len(self.labels)
        images = self.images[rows] if isinstance(self.images, Tensor) else self._copied(draws, rows, epoch)
        batch: CellBatch = {
            "image": images.permute(0, 3, 1, 2),
            "cell": rows,
            "draw": draws,
            "label": self.labels[rows],
        }
        for all_draws in whole:
            batch["whole"] = self.labels[all_draws % len(self.labels)]
        return batch

    def _copied(self, draws: Tensor, rows: Tensor, epoch: int) -> Tensor:
        images = np.asarray(self.images)[rows.numpy()]  # fancy indexing copies out of the read-only map
        if self.augment is not None:
            images = self.augment(images, draws.tolist(), epoch)
        return torch.from_numpy(images)

    def __getstate__(self) -> dict[str, Any]:
        images = self.images
        base: Any = images.base if isinstance(images, np.memmap) else None
        if isinstance(base, mmap):  # only of a whole map: a slice reports the offset of the whole
            place = {name: getattr(images, name) for name in ("filename", "dtype", "shape", "offset")}
            return vars(self) | {"images": None, "place": place}
        return vars(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        place = state.pop("place", None)
        vars(self).update(state)
        if place is not None:
            self.images = np.memmap(**place, mode="r")


class CellDataModule(LightningDataModule):
    """Loaders for the parts of one split.

    images uint8 [N, H, W, 3] (a read-only memory map), labels int64 [N], parts: rows of each part. `oversample`
    (see `BalancedBatches`) and `host_policy` (see `host_augment`) act on `train_dataloader` alone.

    A training batch is cut into `accumulated` pieces for each of `n_ranks` devices, of which this one, `rank`, gets
    its own, one after the other; `evaluation_batch` is the size of all other batches.

    Raises:
        ConfigError: a host policy is to augment cells that are resident on the device.
    """

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.int64],
        parts: dict[str, npt.NDArray[np.int64]],
        *,
        batch_size: int,
        seed: int,
        num_workers: int,
        device: torch.device,
        resident: bool,
        oversample: bool,
        host_policy: HostPolicy | None,
    ) -> None:
        super().__init__()
        if resident and host_policy is not None:
            raise ConfigError(
                "trainer.resident: augment.on_host changes cells on the host, so they cannot stay on the device: "
                "set trainer.resident=false"
            )
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        self.accumulated, self.rank, self.n_ranks = 1, 0, 1
        self.evaluation_batch = batch_size
        self.device, self.resident, self.oversample = device, resident, oversample
        where = device if resident else torch.device("cpu")
        if resident:
            on_device = _RESIDENT.get(_key(images, device), lambda: _moved(images, device))
            self.cells = Cells(on_device, _moved(labels, device))
        else:
            _RESIDENT.clear()
            self.cells = Cells(images, torch.from_numpy(labels))
        augment = None if host_policy is None else HostAugment(host_policy, seed)
        self.train_cells = Cells(self.cells.images, self.cells.labels, augment)
        self.rows = {part: torch.from_numpy(rows).to(where) for part, rows in parts.items()}

    def class_counts(self, part: str, n_classes: int) -> list[int]:
        """The number of cells of each class in `part`, as they are: not oversampled."""
        return torch.bincount(self.cells.labels[self.rows[part]], minlength=n_classes).tolist()

    def loader(self, part: str, *, limit: int | None = None) -> DataLoader[CellBatch]:
        """Batches of `part`, or of `limit` evenly spaced cells of it, each cell once and as it is, in order."""
        return self._plain_loader(evenly_spaced(self.rows[part], limit))

    @property
    def batch_in_memory(self) -> int:
        """The most training cells that a device has in memory at a time."""
        batches = self.train_batches()
        return -(-batches.largest // batches.pieces)

    def accumulate(self, n_pieces: int) -> None:
        """Cut each training batch into so many pieces for each device; other batches become smaller in proportion."""
        self.accumulated = n_pieces
        self.evaluation_batch = min(self.evaluation_batch, -(-self.batch_size // n_pieces))

    def train_batches(self) -> EpochBatches:
        """The batches of training, from epoch 0, or this device's pieces of them.

        Raises:
            ConfigError: a batch has fewer cells than it is to have pieces.
        """
        rows, pieces = self.rows["train"], self.accumulated * self.n_ranks
        mine = range(self.rank * self.accumulated, (self.rank + 1) * self.accumulated)
        batches = (
            BalancedBatches(rows, self.batch_size, self.seed, self.cells.labels, pieces, mine)
            if self.oversample
            else EpochBatches(rows, self.batch_size, self.seed, pieces, mine)
        )
        if pieces > batches.smallest:
            raise ConfigError(
                f"trainer.batch_size={self.batch_size}: the smallest training batch has {batches.smallest} cells, "
                f"too few for {pieces} pieces ({self.n_ranks} devices, {self.accumulated} one after the other on "
                "each); use fewer devices, or larger batches"
            )
        return batches

    def train_dataloader(self) -> DataLoader[CellBatch]:
        """The training part, shuffled, oversampled and augmented on the host anew each epoch."""
        batches = self.train_batches()
        if self.trainer is not None:
            # After a resume Lightning starts the first epoch's iterator before it tells the sampler which epoch.
            finished: Any = self.trainer.fit_loop.epoch_progress.current
            batches.set_epoch(finished.processed)
        return self._loader(self.train_cells, batches)

    def val_dataloader(self) -> DataLoader[CellBatch]:
        """The validation part, in the order of the index, or this device's share of it.

        Raises:
            ConfigError: it has fewer cells than there are devices.
        """
        rows = self.rows["val"]
        if len(rows) < self.n_ranks:
            raise ConfigError(
                f"trainer.devices={self.n_ranks}: the validation part has {len(rows)} cells, one for each device at "
                "least is needed; use fewer devices"
            )
        return self._plain_loader(rows.tensor_split(self.n_ranks)[self.rank])

    def _plain_loader(self, rows: Tensor) -> DataLoader[CellBatch]:
        return self._loader(self.cells, EpochBatches(rows, self.evaluation_batch, None))

    def _loader(self, cells: Cells, batches: EpochBatches) -> DataLoader[CellBatch]:
        workers = 0 if self.resident else self.num_workers
        return DataLoader(
            cells,
            sampler=batches,
            batch_size=None,  # the sampler yields whole batches
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=None if cells.augment is None else one_thread,
            pin_memory=self.device.type == "cuda" and not self.resident,
        )


def evenly_spaced(rows: Tensor, limit: int | None) -> Tensor:
    """`rows`, or `limit` of them from the first to the last where there are more."""
    if limit is None or len(rows) <= limit:
        return rows
    return rows[torch.linspace(0, len(rows) - 1, limit, device=rows.device).long()]


def fits_on_device(images: npt.NDArray[np.uint8], device: torch.device) -> bool:
    """Whether `images` are there already, or take no more than RESIDENT_SHARE of its free memory; False on a CPU."""
    if device.type != "cuda":
        return False
    if _RESIDENT.key == _key(images, device):
        return True
    _RESIDENT.clear()
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes <= RESIDENT_SHARE * free


def _moved(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(np.array(array)).to(device)


def _key(images: npt.NDArray[np.uint8], device: torch.device) -> Hashable:
    """What tells the images on a device from all others: the device, and their file as it is now."""
    filename = getattr(images, "filename", None)
    if filename is None:
        return object()  # equal to no other
    stat = Path(filename).stat()
    return filename, images.shape, stat.st_mtime_ns, stat.st_ino, device
