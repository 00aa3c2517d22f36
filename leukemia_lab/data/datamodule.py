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

from leukemia_lab.data.host_augment import HostAugment, HostPolicy, one_thread
from leukemia_lab.errors import ConfigError

RESIDENT_SHARE = 0.5  # of the device's free memory that the decoded cells may take


class CellBatch(TypedDict, total=False):
    """image uint8 [B, 3, H, W]; cell int64 [B], the row in the index; draw int64 [B], what augmentation is drawn by;
    label int64 [B]; inputs as the net gets them.
    """

    image: Tensor
    cell: Tensor
    draw: Tensor
    label: Tensor
    inputs: Tensor


class EpochBatches(Sampler[tuple[Tensor, int]]):
    """Batches of draws (int64 [B]) and their epoch, which thereby reaches workers that outlive it.

    A draw is a row of the index, plus the number of all cells for each further copy of the row in one epoch.
    The order is shuffled by (seed, epoch), so that a resumed run goes on as if never stopped; without a seed it
    is that of `rows`, in epoch 0. The draws are dealt into batches that differ in size by one at most: no cell is
    dropped, no batch is tiny.
    """

    def __init__(self, rows: Tensor, batch_size: int, seed: int | None) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    @property
    def n_draws(self) -> int:
        """The number of draws of every epoch."""
        return len(self.rows)

    def draws(self, generator: torch.Generator) -> Tensor:
        """The draws of one epoch before they are shuffled, int64 [n_draws]."""
        return self.rows

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.n_draws // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        draws, epoch = self.rows, 0
        if self.seed is not None:
            epoch = self.epoch
            generator = torch.Generator().manual_seed((self.seed << 20) + epoch)
            draws = self.draws(generator)
            draws = draws[torch.randperm(len(draws), generator=generator).to(draws.device)]
        return iter([(batch, epoch) for batch in draws.tensor_split(len(self))])


class BalancedBatches(EpochBatches):
    """Batches of an epoch in which every class has as many draws as the largest.

    Each cell is repeated as often as that number allows for all of its class; the rest is drawn without
    replacement, anew each epoch. `labels` int64 [N] are those of all cells, `rows` the part's.
    """

    def __init__(self, rows: Tensor, batch_size: int, seed: int, labels: Tensor) -> None:
        super().__init__(rows, batch_size, seed)
        self.n_cells = len(labels)
        classes, counts = torch.unique(labels[rows], return_counts=True)
        self.members = [rows[labels[rows] == label] for label in classes]
        self.n_each = int(counts.max())

    @property
    def n_draws(self) -> int:
        """The number of draws of every epoch: that of the largest class for each class."""
        return self.n_each * len(self.members)

    def draws(self, generator: torch.Generator) -> Tensor:
        """The draws of one epoch before they are shuffled, int64 [n_draws]."""
        draws = []
        for members in self.members:
            n_copies, n_rest = divmod(self.n_each, len(members))
            rest = torch.randperm(len(members), generator=generator)[:n_rest]
            draws += [members + copy * self.n_cells for copy in range(n_copies)]
            draws.append(members[rest.to(members.device)] + n_copies * self.n_cells)
        return torch.cat(draws)


class Cells(Dataset[CellBatch]):
    """The decoded cells uint8 [N, H, W, 3] and their labels int64 [N]; indexed by a batch of draws and the epoch.

    `augment` changes each image on the host. A memory map is pickled as its place in the file: spawned workers
    map it too instead of copying it.
    """

    def __init__(
        self, images: Tensor | npt.NDArray[np.uint8], labels: Tensor, augment: HostAugment | None = None
    ) -> None:
        self.images = images
        self.labels = labels
        self.augment = augment

    def __getitem__(self, batch: tuple[Tensor, int]) -> CellBatch:
        draws, epoch = batch
        rows = draws % len(self.labels)
        images = self.images[rows] if isinstance(self.images, Tensor) else self._copied(draws, rows, epoch)
        return {"image": images.permute(0, 3, 1, 2), "cell": rows, "draw": draws, "label": self.labels[rows]}

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
        self.device, self.resident, self.oversample = device, resident, oversample
        where = device if resident else torch.device("cpu")
        self.cells = Cells(
            torch.from_numpy(np.array(images)).to(where) if resident else images,
            torch.from_numpy(labels).to(where),
        )
        augment = None if host_policy is None else HostAugment(host_policy, seed)
        self.train_cells = Cells(self.cells.images, self.cells.labels, augment)
        self.rows = {part: torch.from_numpy(rows).to(where) for part, rows in parts.items()}

    def class_counts(self, part: str, n_classes: int) -> list[int]:
        """The number of cells of each class in `part`, as they are: not oversampled."""
        return torch.bincount(self.cells.labels[self.rows[part]], minlength=n_classes).tolist()

    def loader(self, part: str, *, limit: int | None = None) -> DataLoader[CellBatch]:
        """Batches of `part`, or of `limit` evenly spaced cells of it, each cell once and as it is, in order."""
        return self._loader(
            self.cells, EpochBatches(evenly_spaced(self.rows[part], limit), self.batch_size, None)
        )

    def train_dataloader(self) -> DataLoader[CellBatch]:
        """The training part, shuffled, oversampled and augmented on the host anew each epoch."""
        rows = self.rows["train"]
        if self.oversample:
            batches: EpochBatches = BalancedBatches(rows, self.batch_size, self.seed, self.cells.labels)
        else:
            batches = EpochBatches(rows, self.batch_size, self.seed)
        if self.trainer is not None:
            # After a resume Lightning starts the first epoch's iterator before it tells the sampler which epoch.
            finished: Any = self.trainer.fit_loop.epoch_progress.current
            batches.set_epoch(finished.processed)
        return self._loader(self.train_cells, batches)

    def val_dataloader(self) -> DataLoader[CellBatch]:
        """The validation part, in the order of the index."""
        return self.loader("val")

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


def fits_on_device(nbytes: int, device: torch.device) -> bool:
    """Whether `nbytes` take no more than RESIDENT_SHARE of a CUDA device's free memory; False on a CPU."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return nbytes <= RESIDENT_SHARE * free
