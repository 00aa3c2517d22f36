"""Which cells are in which batch: drawn from (seed, epoch), cut into pieces where memory or devices ask for it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

# draws, epoch, and of a piece the draws of its whole batch
Dealt = tuple[Tensor, int] | tuple[Tensor, int, Tensor]


class EpochBatches(Sampler[Dealt]):
    """Batches of draws (int64 [B]) and their epoch, which thereby reaches workers that outlive it.

    A draw is a row of the index, plus the number of all cells for each further copy of the row in one epoch.
    The order is shuffled by (seed, epoch), so that a resumed run goes on as if never stopped; without a seed it
    is that of `rows`, in epoch 0. The draws are dealt into batches that differ in size by one at most: no cell is
    dropped, no batch is tiny. Each batch may be cut into `pieces`, which too differ by one at most; of these it gives
    `mine`, one after the other, each with the draws of the whole batch. The draws and the batches are the same for
    any number of pieces.
    """

    def __init__(
        self,
        rows: Tensor,
        batch_size: int,
        seed: int | None,
        pieces: int = 1,
        mine: range = range(1),
    ) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.pieces, self.mine = pieces, mine
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

    @property
    def n_batches(self) -> int:
        """The number of whole batches of every epoch, which is that of the optimiser's steps."""
        return -(-self.n_draws // self.batch_size)

    @property
    def largest(self) -> int:
        """The number of cells of the largest batch."""
        return -(-self.n_draws // self.n_batches)

    @property
    def smallest(self) -> int:
        """The number of cells of the smallest batch."""
        return self.n_draws // self.n_batches

    def __len__(self) -> int:
        return self.n_batches * len(self.mine)

    def __iter__(self) -> Iterator[Dealt]:
        draws, epoch = self.rows, 0
        if self.seed is not None:
            epoch = self.epoch
            generator = torch.Generator().manual_seed((self.seed << 20) + epoch)
            draws = self.draws(generator)
            draws = draws[torch.randperm(len(draws), generator=generator).to(draws.device)]
        batches = draws.tensor_split(self.n_batches)
        if self.pieces == 1:
            return iter([(batch, epoch) for batch in batches])
        cut = [(batch, batch.tensor_split(self.pieces)) for batch in batches]
        return iter([(pieces[k], epoch, batch) for batch, pieces in cut for k in self.mine])


class BalancedBatches(EpochBatches):
    """Batches of an epoch in which every class has as many draws as the largest.

    Each cell is repeated as often as that number allows for all of its class; the rest is drawn without
    replacement, anew each epoch. `labels` int64 [N] are those of all cells, `rows` the part's.
    """

    def __init__(
        self,
        rows: Tensor,
        batch_size: int,
        seed: int,
        labels: Tensor,
        pieces: int = 1,
        mine: range = range(1),
    ) -> None:
        super().__init__(rows, batch_size, seed, pieces, mine)
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
