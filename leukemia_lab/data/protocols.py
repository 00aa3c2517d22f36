"""Protocols: the rules by which cells are cut into train, val and test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from leukemia_lab.data.spreading import spread_blocks
from leukemia_lab.errors import SplitError
from leukemia_lab.wording import nearest

PARTS = ("train", "val", "test")

# The values that shape each protocol's split; the others never reach its hash.
SHAPED_BY: dict[str, tuple[str, ...]] = {
    "subject_holdout": ("val_share", "test_share", "seed", "twins"),
    "subject_kfold": ("val_share", "n_folds", "fold", "seed", "twins"),
    "challenge": ("val_share", "seed", "twins"),
    "official_folds": ("val_share", "fold", "seed", "twins"),
    "leave_one_source_out": ("val_share", "source", "seed", "twins"),
    "random_cells": ("val_share", "test_share", "seed"),
}
SHAPED_BY_OF_CELL_FOLDS = ("val_share", "n_folds", "fold", "seed")
ProtocolName = Literal[
    "subject_holdout", "subject_kfold", "challenge", "official_folds", "leave_one_source_out", "random_cells"
]


@dataclass(frozen=True)
class Protocol:
    """How to split.

    `val_share` and `test_share` lie in (0, 1) and are shares of all cells; where the test part is given
    otherwise (a fold, the preliminary test set), `val_share` is a share of the cells outside it. `random_cells` has
    folds where `n_folds` is above 0.
    `source` is the one tested by leave_one_source_out. `twins` says what was done beforehand with subjects that
    share cells: merged into one `group`, all but one dropped, or nothing.
    """

    name: ProtocolName
    val_share: float
    test_share: float
    n_folds: int
    fold: int
    seed: int
    twins: Literal["merge", "drop", "ignore"]
    source: str | None = None

    @property
    def grouped(self) -> bool:
        """Whether the protocol keeps all cells of a group in one part."""
        return self.name != "random_cells"

    @property
    def shaped_by(self) -> tuple[str, ...]:
        """The values that shape the split."""
        of_cell_folds = self.name == "random_cells" and self.n_folds != 0
        return SHAPED_BY_OF_CELL_FOLDS if of_cell_folds else SHAPED_BY[self.name]

    def shape(self) -> dict[str, str | int | float]:
        """The name and those values that shape the split."""
        return {"name": self.name} | {key: getattr(self, key) for key in self.shaped_by}


@dataclass(frozen=True)
class Assignment:
    """Part and test fold of the cells that a protocol uses: `cells` with the columns `part`, `fold`."""

    cells: pd.DataFrame
    notes: tuple[str, ...]


def check_protocol(protocol: Protocol) -> None:
    """Raise SplitError where a value of the protocol cannot be used by it."""
    if protocol.name not in SHAPED_BY:
        raise SplitError(f"protocol.name is {protocol.name!r}; choose one of {', '.join(SHAPED_BY)}.")
    used = protocol.shaped_by
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
    pool, prelim = training_pool(cells), cells[cells["official_part"] == "prelim"]
    pool = pool.assign(part="train", fold=pd.array([pd.NA] * len(pool), dtype="Int64"))
    if pool.empty:
        raise SplitError("there are no training cells: all cells belong to the preliminary test set.")
    match protocol.name:
        case "subject_holdout":
            return _subject_holdout(pool, protocol)
        case "subject_kfold":
            return _subject_kfold(pool, protocol)
        case "challenge":
            return _challenge(pool, prelim, protocol)
        case "official_folds":
            return _official_folds(pool, protocol)
        case "leave_one_source_out":
            return _leave_one_source_out(pool, protocol)
        case "random_cells":
            return (_random_cells if protocol.n_folds == 0 else _random_folds)(pool, protocol)


def training_pool(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells outside the preliminary test set."""
    return cells[cells["official_part"] != "prelim"]


def sources_of(pool: pd.DataFrame) -> list[str]:
    """The sources of the cells in sorted order; SplitError where they cannot be held out one by one."""
    known = sorted(pool["source"].dropna().unique())
    if pool["source"].isna().any() or len(known) < 2:
        n_without = int(pool["source"].isna().sum())
        raise SplitError(
            f"protocol leave_one_source_out: {n_without} of {len(pool)} cells have no source, the others are from "
            f"{len(known)} ({', '.join(known)}). Use data=combined, or a metadata.csv with a column source that has "
            "two values or more and none empty."
        )
    return known


def _subject_holdout(pool: pd.DataFrame, protocol: Protocol) -> Assignment:
    _require_groups(pool, 3, "subject_holdout needs 3 or more, one each for train, val and test")
    shares = (1 - protocol.val_share - protocol.test_share, protocol.val_share, protocol.test_share)
    parts = spread_blocks(pool, shares, seed=(protocol.seed, 0))
    return Assignment(pool.assign(part=pool["block"].map(parts.map(dict(enumerate(PARTS))))), ())


def _subject_kfold(pool: pd.DataFrame, protocol: Protocol) -> Assignment:
    n_folds = protocol.n_folds
    _require_fold(protocol)
    _require_groups(pool, n_folds, f"{n_folds} folds need {n_folds} or more; lower protocol.n_folds")
    folds = spread_blocks(pool, [1 / n_folds] * n_folds, seed=(protocol.seed, 0))
    return Assignment(_test_one_fold(pool, pool["block"].map(folds), protocol), ())


def _require_fold(protocol: Protocol) -> None:
    if not 0 <= protocol.fold < protocol.n_folds:
        raise SplitError(
            f"protocol.fold is {protocol.fold}; with n_folds={protocol.n_folds} it is 0 to {protocol.n_folds - 1}."
        )


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
    cells_per_fold = pd.crosstab(pool["block"], pool["official_fold"].astype(int))
    home = cells_per_fold.idxmax(axis=1)
    moved = cells_per_fold.sum(axis=1) - cells_per_fold.max(axis=1)
    notes = tuple(
        f"group {group}: {n} cells moved to official fold {fold}, which holds most of the group"
        for group, fold, n in zip(home.index, home, moved, strict=True)
        if n > 0
    )
    return Assignment(_test_one_fold(pool, pool["block"].map(home), protocol), notes)


def _test_one_fold(pool: pd.DataFrame, folds: pd.Series[int], protocol: Protocol) -> pd.DataFrame:
    pool = pool.assign(fold=folds.astype("Int64"))
    is_test = pool["fold"] == protocol.fold
    val_blocks = _val_blocks(pool[~is_test], protocol, stream=1 + protocol.fold)
    part = np.select([is_test, pool["block"].isin(val_blocks)], ["test", "val"], default="train")
    return pool.assign(part=part)


def _leave_one_source_out(pool: pd.DataFrame, protocol: Protocol) -> Assignment:
    """One source is the test part; blocks that stand in it as well as elsewhere leave the training side."""
    known = sources_of(pool)
    if protocol.source not in known:
        hint = nearest(str(protocol.source), known)
        raise SplitError(
            f"protocol.source is {protocol.source!r}; the sources here are {', '.join(known)}, or all.{hint}"
        )
    is_test = pool["source"] == protocol.source
    places = {name: place for place, name in enumerate(known)}
    pool = pool.assign(fold=pd.array([places[source] for source in pool["source"]], dtype="Int64"))
    test, rest = pool[is_test].assign(part="test"), pool[~is_test]
    return _test_elsewhere(
        rest, test, protocol, f"source {protocol.source}", stream=1 + known.index(protocol.source)
    )


def _challenge(pool: pd.DataFrame, prelim: pd.DataFrame, protocol: Protocol) -> Assignment:
    if prelim.empty:
        raise SplitError(
            "protocol challenge tests on the preliminary test set, and the data has no such cells. "
            "Set protocol=subject_holdout."
        )
    test = prelim.assign(part="test", fold=pd.array([pd.NA] * len(prelim), dtype="Int64"))
    return _test_elsewhere(pool, test, protocol, "the preliminary test set", stream=0)


def _test_elsewhere(
    pool: pd.DataFrame, test: pd.DataFrame, protocol: Protocol, where: str, stream: int
) -> Assignment:
    """Train and val from `pool`, without the blocks of a test part that is given."""
    shared = pool["block"].isin(test["block"])
    notes = tuple(
        f"group {group}: {n} training cells left out, the group shares cells with {where}"
        for group, n in pool.loc[shared, "group"].value_counts().sort_index().items()
    )
    pool = pool[~shared]
    if pool.empty:
        raise SplitError(f"nothing is left to train on: all groups share cells with {where}.")
    val_blocks = _val_blocks(pool, protocol, stream)
    pool = pool.assign(part=np.where(pool["block"].isin(val_blocks), "val", "train"))
    return Assignment(pd.concat([pool, test]), notes)


def _val_blocks(rest: pd.DataFrame, protocol: Protocol, stream: int) -> list[str]:
    _require_groups(rest, 2, "outside the test part 2 or more are needed, one each for train and val")
    shares = (1 - protocol.val_share, protocol.val_share)
    parts = spread_blocks(rest, shares, seed=(protocol.seed, stream))
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


def _random_folds(pool: pd.DataFrame, protocol: Protocol) -> Assignment:
    """The papers' split of cells as folds: each class is dealt evenly, and each cell is tested once."""
    _require_fold(protocol)
    rng = np.random.default_rng([protocol.seed, 0])
    rng_val = np.random.default_rng([protocol.seed, 1 + protocol.fold])
    fold, part = pool["fold"].copy(), pool["part"].copy()
    for label, members in pool.groupby("label")["cell_id"]:
        n_needed = max(protocol.n_folds, 4)  # one to test in each fold, and two beside it
        if len(members) < n_needed:
            raise SplitError(
                f"class {label} has {len(members)} cells; {protocol.n_folds} folds of cells need {n_needed} or more. "
                f"Add cells of it, or lower protocol.n_folds."
            )
        dealt = pd.Series(np.arange(len(members)) % protocol.n_folds, index=rng.permutation(members.index))
        fold.loc[dealt.index] = dealt
        rest = rng_val.permutation(dealt.index[dealt != protocol.fold])
        part.loc[dealt.index[dealt == protocol.fold]] = "test"
        part.loc[rest[: min(max(1, round(len(rest) * protocol.val_share)), len(rest) - 1)]] = "val"
    return Assignment(pool.assign(part=part, fold=fold), ())


def _require_groups(cells: pd.DataFrame, n_needed: int, why: str) -> None:
    for label, members in cells.groupby("label"):
        n_groups, n_subjects = members["block"].nunique(), members["subject"].nunique()
        if n_groups < n_needed:
            merged = f" in {n_groups} groups" if n_groups < n_subjects else ""
            raise SplitError(
                f"class {label} has {n_subjects} subjects{merged}; {why}. Add subjects of this class, "
                "or set protocol=random_cells (its results are stamped LEAKY)."
            )
