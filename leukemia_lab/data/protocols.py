"""Protocols: the rules by which cells are cut into train, val and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from leukemia_lab.errors import SplitError

PARTS = ("train", "val", "test")
MIN_DRAWS, MAX_DRAWS, GROUPS_DRAWN = 20, 300, 10_000  # few groups are hard to balance, and quick to draw
GOOD_BALANCE = 0.01

# The values that shape each protocol's split; the others never reach its hash.
SHAPED_BY: dict[str, tuple[str, ...]] = {
    "subject_holdout": ("val_share", "test_share", "seed", "twins"),
    "subject_kfold": ("val_share", "n_folds", "fold", "seed", "twins"),
    "challenge": ("val_share", "seed", "twins"),
    "official_folds": ("val_share", "fold", "seed", "twins"),
    "random_cells": ("val_share", "test_share", "seed"),
}


@dataclass(frozen=True)
class Protocol:
    """How to split.

    `val_share` and `test_share` lie in (0, 1) and are shares of all cells; where the test part is given
    otherwise (a fold, the preliminary test set), `val_share` is a share of the cells outside it.
    `twins` says whether subjects that share cells were merged into one `group` beforehand.
    """

    name: Literal["subject_holdout", "subject_kfold", "challenge", "official_folds", "random_cells"]
    val_share: float
    test_share: float
    n_folds: int
    fold: int
    seed: int
    twins: Literal["merge", "ignore"]

    @property
    def grouped(self) -> bool:
        """Whether the protocol keeps all cells of a group in one part."""
        return self.name != "random_cells"

    def shape(self) -> dict[str, str | int | float]:
        """The name and those values that shape the split."""
        return {"name": self.name} | {key: getattr(self, key) for key in SHAPED_BY[self.name]}


@dataclass(frozen=True)
class Assignment:
    """Part and test fold of the cells that a protocol uses: `cells` with the columns `part`, `fold`."""

    cells: pd.DataFrame
    notes: tuple[str, ...]


def check_protocol(protocol: Protocol) -> None:
    """Raise SplitError where a value of the protocol cannot be used by it."""
    if protocol.name not in SHAPED_BY:
        raise SplitError(f"protocol.name is {protocol.name!r}; choose one of {', '.join(SHAPED_BY)}.")
    used = SHAPED_BY[protocol.name]
    for key in ("val_share", "test_share"):
        share = getattr(protocol, key)
        if key in used and not 0 < share < 1:
            raise SplitError(f"protocol.{key} is {share}; the {key[:-6]} part needs a share between 0 and 1.")
    if "test_share" in used and protocol.val_share + protocol.test_share >= 1:
        taken = f"{protocol.val_share} + {protocol.test_share}"
        raise SplitError(f"protocol.val_share + test_share is {taken}: nothing is left to train on.")
    if "n_folds" in used and protocol.n_folds < 2:
        raise SplitError(f"protocol.n_folds is {protocol.n_folds}; cross-validation needs 2 or more.")
    if protocol.seed < 0:
        raise SplitError(f"protocol.seed is {protocol.seed}; give 0 or more.")


def assign(cells: pd.DataFrame, protocol: Protocol) -> Assignment:
    """Carry out `protocol` on cells sorted by `cell_id`; see `splits.make_split` for the columns."""
    is_prelim = cells["official_part"] == "prelim"
    pool = cells[~is_prelim].assign(part="train", fold=pd.array([pd.NA] * (~is_prelim).sum(), dtype="Int64"))
    if pool.empty:
        raise SplitError("there are no training cells: all cells belong to the preliminary test set.")
    match protocol.name:
        case "subject_holdout":
            return _subject_holdout(pool, protocol)
        case "subject_kfold":
            return _subject_kfold(pool, protocol)
        case "challenge":
            return _challenge(pool, cells[is_prelim], protocol)
        case "official_folds":
            return _official_folds(pool, protocol)
        case "random_cells":
            return _random_cells(pool, protocol)


def _subject_holdout(pool: pd.DataFrame, protocol: Protocol) -> Assignment:
    _require_groups(pool, 3, "subject_holdout needs 3 or more, one each for train, val and test")
    shares = (1 - protocol.val_share - protocol.test_share, protocol.val_share, protocol.test_share)
    parts = spread_groups(pool, shares, seed=(protocol.seed, 0))
    return Assignment(pool.assign(part=pool["group"].map(parts.map(dict(enumerate(PARTS))))), ())


def _subject_kfold(pool: pd.DataFrame, protocol: Protocol) -> Assignment:
    n_folds = protocol.n_folds
    if not 0 <= protocol.fold < n_folds:
        raise SplitError(
            f"protocol.fold is {protocol.fold}; with n_folds={n_folds} it is 0 to {n_folds - 1}."
        )
    _require_groups(pool, n_folds, f"{n_folds} folds need {n_folds} or more; lower protocol.n_folds")
    folds = spread_groups(pool, [1 / n_folds] * n_folds, seed=(protocol.seed, 0))
    return Assignment(_test_one_fold(pool, pool["group"].map(folds), protocol), ())


def _official_folds(pool: pd.DataFrame, protocol: Protocol) -> Assignment:
    """Official fold k is the test part; a group that spans folds moves to the one with most of its cells."""
    n_without = int(pool["official_fold"].isna().sum())
    if n_without > 0:
        raise SplitError(
            f"protocol official_folds: {n_without} of {len(pool)} cells have no official fold "
            f"(first: {pool.loc[pool['official_fold'].isna(), 'cell_id'].iloc[0]}). "
            "Set protocol=subject_kfold for folds of your own."
        )
    known = sorted(int(fold) for fold in pool["official_fold"].unique())
    if protocol.fold not in known:
        raise SplitError(f"protocol.fold is {protocol.fold}; the official folds here are {known}.")
    cells_per_fold = pd.crosstab(pool["group"], pool["official_fold"].astype(int))
    home = cells_per_fold.idxmax(axis=1)
    moved = cells_per_fold.sum(axis=1) - cells_per_fold.max(axis=1)
    notes = tuple(
        f"group {group}: {n} cells moved to official fold {fold}, which holds most of the group"
        for group, fold, n in zip(home.index, home, moved, strict=True)
        if n > 0
    )
    return Assignment(_test_one_fold(pool, pool["group"].map(home), protocol), notes)


def _test_one_fold(pool: pd.DataFrame, folds: pd.Series[int], protocol: Protocol) -> pd.DataFrame:
    pool = pool.assign(fold=folds.astype("Int64"))
    is_test = pool["fold"] == protocol.fold
    val_groups = _val_groups(pool[~is_test], protocol, stream=1 + protocol.fold)
    part = np.select([is_test, pool["group"].isin(val_groups)], ["test", "val"], default="train")
    return pool.assign(part=part)


def _challenge(pool: pd.DataFrame, prelim: pd.DataFrame, protocol: Protocol) -> Assignment:
    if prelim.empty:
        raise SplitError(
            "protocol challenge tests on the preliminary test set, and the data has no such cells. "
            "Set protocol=subject_holdout."
        )
    shared = pool["group"].isin(prelim["group"])
    notes = tuple(
        f"group {group}: {n} training cells left out, the group stands in the preliminary test set"
        for group, n in pool.loc[shared, "group"].value_counts().sort_index().items()
    )
    pool = pool[~shared]
    val_groups = _val_groups(pool, protocol, stream=0)
    pool = pool.assign(part=np.where(pool["group"].isin(val_groups), "val", "train"))
    test = prelim.assign(part="test", fold=pd.array([pd.NA] * len(prelim), dtype="Int64"))
    return Assignment(pd.concat([pool, test]), notes)


def _val_groups(rest: pd.DataFrame, protocol: Protocol, stream: int) -> list[str]:
    _require_groups(rest, 2, "outside the test part 2 or more are needed, one each for train and val")
    shares = (1 - protocol.val_share, protocol.val_share)
    parts = spread_groups(rest, shares, seed=(protocol.seed, stream))
    return list(parts.index[parts == 1])


def _random_cells(pool: pd.DataFrame, protocol: Protocol) -> Assignment:
    """The split of the papers: cells of one subject fall on both sides."""
    rng = np.random.default_rng(protocol.seed)
    part = pool["part"].copy()
    for label, members in pool.groupby("label")["cell_id"]:
        n = len(members)
        if n < 3:
            raise SplitError(f"class {label} has {n} cells; random_cells needs 3 or more. Add cells of it.")
        shuffled = rng.permutation(members.index.to_numpy())
        n_test = min(max(1, round(n * protocol.test_share)), n - 2)
        n_val = min(max(1, round(n * protocol.val_share)), n - 1 - n_test)
        part.loc[shuffled[:n_test]] = "test"
        part.loc[shuffled[n_test : n_test + n_val]] = "val"
    return Assignment(pool.assign(part=part), ())


def _require_groups(cells: pd.DataFrame, n_needed: int, why: str) -> None:
    for label, members in cells.groupby("label"):
        n_groups, n_subjects = members["group"].nunique(), members["subject"].nunique()
        if n_groups < n_needed:
            merged = f" in {n_groups} groups" if n_groups < n_subjects else ""
            raise SplitError(
                f"class {label} has {n_subjects} subjects{merged}; {why}. Add subjects of this class, "
                "or set protocol=random_cells (its results are stamped LEAKY)."
            )


def spread_groups(cells: pd.DataFrame, shares: Sequence[float], seed: Sequence[int]) -> pd.Series[int]:
    """Bin of every group: whole groups in bins that hold about `shares` of every class.

    The best of some seeded greedy draws, by the shares of cells and of groups reached: a test part of
    few large subjects would say little about new ones. Returns a series of bin numbers indexed by group
    name; it does not depend on the row order of `cells` (columns `group`, `label`). Raises SplitError
    where no draw puts every class in every bin.
    """
    table = pd.crosstab(cells["group"], cells["label"])
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
