"""Batches of cells: order drawn from (seed, epoch), pixels from the decoded cache or resident on the device."""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

RESIDENT_SHARE = 0.5  # of the device's free memory that the decoded cells may take


class CellBatch(TypedDict, total=False):
    """image uint8 [B, 3, H, W]; cell int64 [B], the row in the index; label int64 [B]; inputs as the net gets them."""

    image: Tensor
    cell: Tensor
    label: Tensor
    inputs: Tensor


class EpochBatches(Sampler[Tensor]):
    """Batches of row numbers: shuffled by (seed, epoch), so that a resumed run goes on as if never stopped.

    The rows are dealt into batches that differ in size by one at most: no cell is dropped, no batch is tiny.
    """

    def __init__(self, rows: Tensor, batch_size: int, seed: int | None) -> None:
        self.rows = rows
        self.n_batches = -(-len(rows) // batch_size)
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Tensor]:
        rows = self.rows
        if self.seed is not None:
            generator = torch.Generator().manual_seed((self.seed << 20) + self.epoch)
            order = torch.randperm(len(rows), generator=generator)
            rows = rows[order.to(rows.device)]
        return iter(rows.tensor_split(self.n_batches))


class Cells(Dataset[CellBatch]):
    """The decoded cells uint8 [N, H, W, 3] and their labels int64 [N]; indexed by a batch of rows.

    A memory map is pickled as its place in the file: spawned workers map it too instead of copying it.
    """

    def __init__(self, images: Tensor | npt.NDArray[np.uint8], labels: Tensor) -> None:
        self.images = images
        self.labels = labels

    def __getitem__(self, rows: Tensor) -> CellBatch:
        images = self.images[rows] if isinstance(self.images, Tensor) else _copied(self.images, rows)
        return {"image": images.permute(0, 3, 1, 2), "cell": rows, "label": self.labels[rows]}

    def __getstate__(self) -> dict[str, Any]:
        images = self.images
        base: Any = images.base if isinstance(images, np.memmap) else None
        if isinstance(base, mmap):  # only of a whole map: a slice reports the offset of the whole
            place = {name: getattr(images, name) for name in ("filename", "dtype", "shape", "offset")}
            return {"place": place, "labels": self.labels}
        return vars(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.labels = state["labels"]
        self.images = np.memmap(**state["place"], mode="r") if "place" in state else state["images"]


def _copied(images: npt.NDArray[np.uint8], rows: Tensor) -> Tensor:
    return torch.from_numpy(images[rows.numpy()])  # fancy indexing copies out of the read-only map


class CellDataModule(LightningDataModule):
    """Loaders for the parts of one split.

    images uint8 [N, H, W, 3] (a read-only memory map), labels int64 [N], parts: rows of each part.
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
    ) -> None:
        super().__init__()
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        self.device, self.resident = device, resident
        where = device if resident else torch.device("cpu")
        self.cells = Cells(
            torch.from_numpy(np.array(images)).to(where) if resident else images,
            torch.from_numpy(labels).to(where),
        )
        self.rows = {part: torch.from_numpy(rows).to(where) for part, rows in parts.items()}

    def loader(self, part: str, *, shuffle: bool = False, limit: int | None = None) -> DataLoader[CellBatch]:
        """Batches of `part`, or of `limit` evenly spaced cells of it."""
        workers = 0 if self.resident else self.num_workers
        return DataLoader(
            self.cells,
            sampler=EpochBatches(
                _spread(self.rows[part], limit), self.batch_size, self.seed if shuffle else None
            ),
            batch_size=None,  # the sampler yields whole batches
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.device.type == "cuda" and not self.resident,
        )

    def train_dataloader(self) -> DataLoader[CellBatch]:
        """The training part, shuffled anew each epoch."""
        loader = self.loader("train", shuffle=True)
        if self.trainer is not None and isinstance(loader.sampler, EpochBatches):
            # After a resume Lightning starts the first epoch's iterator before it tells the sampler which epoch.
            finished: Any = self.trainer.fit_loop.epoch_progress.current
            loader.sampler.set_epoch(finished.processed)
        return loader

    def val_dataloader(self) -> DataLoader[CellBatch]:
        """The validation part, in the order of the index."""
        return self.loader("val")


def _spread(rows: Tensor, limit: int | None) -> Tensor:
    if limit is None or len(rows) <= limit:
        return rows
    return rows[torch.linspace(0, len(rows) - 1, limit, device=rows.device).long()]


def fits_on_device(nbytes: int, device: torch.device) -> bool:
    """Whether `nbytes` take no more than RESIDENT_SHARE of a CUDA device's free memory; False on a CPU."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return nbytes <= RESIDENT_SHARE * free
