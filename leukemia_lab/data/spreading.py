"""Whole blocks of subjects spread over the parts of a split, so that each part gets its share of every class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from leukemia_lab.errors import SplitError

MIN_DRAWS, MAX_DRAWS, GROUPS_DRAWN = 20, 300, 10_000  # few groups are hard to balance, and quick to draw
GOOD_BALANCE = 0.01


def spread_blocks(cells: pd.DataFrame, shares: Sequence[float], seed: Sequence[int]) -> pd.Series[int]:
    """Bin of every block: whole blocks in bins that hold about `shares` of every class.

    A block is a group, or groups that a copy ties together.

    The best of some seeded greedy draws, by the shares of cells and of groups reached: a test part of
    few large subjects would say little about new ones. Returns a series of bin numbers indexed by block
    name; it does not depend on the row order of `cells` (columns `block`, `label`). Raises SplitError
    where no draw puts every class in every bin.
    """
    table = pd.crosstab(cells["block"], cells["label"])
    counts, wanted = table.to_numpy(), np.asarray(shares)[:, None]
    rng = np.random.default_rng(seed)
    best, best_imbalance = None, np.inf
    for _ in range(min(MAX_DRAWS, max(MIN_DRAWS, GROUPS_DRAWN // len(counts)))):
        bins = _draw(counts, np.asarray(shares), rng)
        n_cells = np.stack([counts[bins == b].sum(axis=0) for b in range(len(shares))])
        n_groups = np.stack([(counts[bins == b] > 0).sum(axis=0) for b in range(len(shares))])
        imbalance = sum(np.abs(n / n.sum(axis=0) - wanted).max() for n in (n_cells, n_groups))
        if n_groups.all() and imbalance < best_imbalance:
            best, best_imbalance = bins, imbalance
        if best_imbalance < GOOD_BALANCE:
            break
    if best is None:
        raise SplitError(
            f"no way was found to put every class in each of {len(shares)} parts without cutting a group in "
            "two: too few groups hold several classes. Add subjects, or set protocol=random_cells."
        )
    return pd.Series(best, index=table.index)


def _draw(
    counts: npt.NDArray[np.int64], shares: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """One greedy draw: bin per row of `counts` [groups, classes], groups of several classes first, then by size.

    A group goes to a bin with room for it, drawn in proportion to what the bins still lack, so that large
    subjects are tested too and the seed matters; to the least overfull bin where it fits nowhere.
    """
    lacking = np.outer(shares, counts.sum(axis=0))
    unseen = np.ones(lacking.shape, dtype=bool)
    groups_left = (counts > 0).sum(axis=0)
    bins = np.empty(len(counts), dtype=np.int64)
    shuffled = rng.permutation(len(counts))
    hardest_first = np.lexsort((-counts.sum(axis=1)[shuffled], -(counts > 0).sum(axis=1)[shuffled]))
    for group in shuffled[hardest_first]:
        held = counts[group] > 0
        # The last groups of a class are owed to the bins that have none of it yet.
        owed = held & (groups_left <= unseen.sum(axis=0))
        n_owed = unseen[:, owed].sum(axis=1)
        allowed = n_owed == n_owed.max()
        room = (lacking - counts[group])[:, held].min(axis=1)
        if (fits := allowed & (room >= 0)).any():
            weight = np.where(fits, lacking[:, held].sum(axis=1), 0)
            chosen = int(rng.choice(len(shares), p=weight / weight.sum()))
        else:
            chosen = int(np.where(allowed, room, -np.inf).argmax())
        bins[group] = chosen
        lacking[chosen] -= counts[group]
        unseen[chosen] &= ~held
        groups_left -= held
    return bins
