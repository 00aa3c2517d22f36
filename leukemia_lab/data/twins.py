"""Subject names that share more cells than chance allows: twins, which must not be split.

C-NMC 2019 stores some subjects under several names, so its official folds leak. A shared cell is a cluster of
verified copies that both names have a part in; where there are no pixels, an equal bounding box. Its number is tested
against what chance would give (see `chance_test`). Twins become one group. A copy between names that are no twins,
a file put under a wrong name for instance, merges nothing, but ties both names to one part of any split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import brentq
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import poisson

from leukemia_lab.data.copies import clusters, equal_files, find_copies
from leukemia_lab.data.index import CellIndex
from leukemia_lab.data.known_twins import NO_KNOWN_TWINS, KnownTwins
from leukemia_lab.wording import natural

# Of verified copies: at most so many of a name's cells lie under a wrong name too. More are no chance, which a tiny
# data set of twins alone could not tell by itself.
STRAY_SHARE = 0.01
FAMILYWISE = 0.001  # probability of merging any two names that share cells by chance alone
MERGED, BY_USER, TIED = "merged", "merged by the user", "tied"
APART, BY_CHANCE = "kept apart", "by chance"
_BOX = ["box_x", "box_y", "box_w", "box_h"]
PAIR_COLUMNS = ("a", "b", "shared", "expected", "p_value", "verdict")


@dataclass(frozen=True)
class Evidence:
    """What speaks for a shared cell: `copies` as `find_copies` gives them, and the number of each cell's cluster.

    Without pixels a cluster is an equal box, which may be chance, or an equal hash; `copies` holds equal hashes.
    """

    copies: pd.DataFrame
    cluster: npt.NDArray[np.int64]
    has_pixels: bool


@dataclass(frozen=True)
class Twins:
    """What is known of names that share cells.

    `pairs` has one row for each two names that share a cell: `a`, `b` in natural order, the number of cells `shared`,
    the number `expected` by chance, its one-sided `p_value`, and the verdict: merged, merged by the user, tied
    (copies, but no more than chance allows), kept apart (by the user) or by chance (equal boxes only).
    `group_of` gives each subject's group, named by its members: `51+75+78`.
    """

    pairs: pd.DataFrame
    group_of: Mapping[str, str]

    @property
    def groups(self) -> list[list[str]]:
        """The groups of two or more names, each in natural order."""
        members: dict[str, list[str]] = {}
        for subject in sorted(self.group_of, key=natural):
            members.setdefault(self.group_of[subject], []).append(subject)
        return [names for names in members.values() if len(names) > 1]


def evidence_of(index: CellIndex, cache_dir: Path) -> Evidence:
    """The evidence for shared cells in an index: verified copies, or what a manifest tells without pixels."""
    table = index.table
    if index.has_pixels:
        copies = find_copies(index, cache_dir)
        return Evidence(copies, np.asarray(clusters(list(table["cell_id"]), copies), dtype=np.int64), True)
    alike = pd.concat([_with_first_alike(table, columns) for columns in (_BOX, ["sha256"])])
    return Evidence(
        equal_files(table, "sha256"),
        np.asarray(clusters(list(table["cell_id"]), alike), dtype=np.int64),
        False,
    )


def _with_first_alike(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Each cell (`b`) with the first that is equal to it in `columns` (`a`); cells that lack one are left out."""
    keys = [table[name] for name in columns]
    return pd.DataFrame(
        {"a": table["cell_id"].groupby(keys).transform("first"), "b": table["cell_id"]}
    ).dropna()


def find_twins(cells: pd.DataFrame, evidence: Evidence, known: KnownTwins = NO_KNOWN_TWINS) -> Twins:
    """Find the twins among the subjects of an index's table; cells without a subject are left out.

    Raises:
        DataError: `known` names a subject that is not there, or keeps two names apart that a third one joins.
    """
    named = cells["subject"].notna().to_numpy()
    subjects, cluster = cells.loc[named, "subject"], evidence.cluster[named]
    # Boxes of one class are more alike than boxes of two: chance is estimated for each pair of classes apart.
    first = cells[named].drop_duplicates("subject")
    strata = None if evidence.has_pixels else dict(zip(first["subject"], first["label"], strict=True))
    subject_of = dict(zip(cells["cell_id"], cells["subject"], strict=True))
    sides = [[subject_of[cell] for cell in evidence.copies[side]] for side in ("a", "b")]
    copied = {tuple(sorted(pair, key=natural)) for pair in zip(*sides, strict=True) if None not in pair}
    tested = chance_test(subjects, cluster, strata, STRAY_SHARE if evidence.has_pixels else 1.0)
    if evidence.has_pixels:  # copies of copies are copies too
        copied = set(zip(tested["a"], tested["b"], strict=True))
    names = sorted(set(subjects), key=natural)
    known.require(names)
    pairs = _judge(tested, copied, known)
    group_of = _components(names, pairs[pairs["verdict"].isin([MERGED, BY_USER])])
    known.refuse_joined(group_of)
    return Twins(pairs, group_of)


def merge_twins(index: CellIndex, evidence: Evidence, twins: Twins) -> CellIndex:
    """Set `group` (twins have one, named by them) and `block` (groups that copies tie together, for splitting).

    Cells without a subject are a group by themselves, or with their copies.
    """
    table = index.table
    clusters_of_unnamed = table["cell_id"].groupby(evidence.cluster).transform("first")
    unnamed = clusters_of_unnamed if evidence.has_pixels else table["cell_id"]
    group = table["subject"].map(twins.group_of).where(table["subject"].notna(), unnamed)
    group_of = dict(zip(table["cell_id"], group, strict=True))
    ties = pd.DataFrame({side: evidence.copies[side].map(group_of) for side in ("a", "b")})
    block_of = _components(sorted(set(group), key=natural), ties)
    return replace(index, table=table.assign(group=group, block=group.map(block_of)))


def surplus(table: pd.DataFrame, evidence: Evidence, twins: Twins) -> pd.Series[bool]:
    """Which of the cells that a protocol uses `protocol.twins=drop` leaves out: no cell is there under two names.

    Of each group one name stays: one of the preliminary part, which is the challenge's test set, before others, then
    the one with most cells. Of copies under names that are no twins the cell of the name so preferred stays.
    """
    named = table["subject"].notna()
    n_cells = Counter(table.loc[named, "subject"])
    in_prelim = set(table.loc[named & (table["official_part"] == "prelim"), "subject"])
    ranked = sorted(n_cells, key=lambda name: (name not in in_prelim, -n_cells[name], natural(name)))
    rank = {name: place for place, name in enumerate(ranked)}
    first: dict[str, str] = {}
    for name in ranked:
        first.setdefault(twins.group_of[name], name)
    kept = ~named | (table["subject"] == table["subject"].map(twins.group_of).map(first))
    # A cell without a subject is a name of its own, after all others.
    unnamed = pd.Series(len(rank) + np.arange(len(table)), index=table.index)
    place = table["subject"].map(rank).where(named, unnamed).astype(float)
    copied = table["cell_id"].map(
        clusters(sorted({*evidence.copies["a"], *evidence.copies["b"]}), evidence.copies)
    )
    alone = pd.Series(-1 - np.arange(len(table)), index=table.index)
    clustered = copied.where(copied.notna(), alone).to_numpy()
    return ~kept | (place > place.where(kept).groupby(clustered).transform("min"))


def cells_with_twin_elsewhere(
    table: pd.DataFrame, evidence: Evidence, twins: Twins, place: pd.Series[int]
) -> dict[int, int]:
    """Of each place (a fold, by row of `table`) the number of cells that a twin has in another place too."""
    group = table["subject"].map(twins.group_of)
    shared = pd.DataFrame({"group": group.to_numpy(), "cluster": evidence.cluster, "place": place.to_numpy()})
    places = shared.groupby(["group", "cluster"])["place"].transform("nunique")
    return dict(Counter(int(place) for place in shared.loc[places > 1, "place"].dropna()))


def chance_test(
    subjects: pd.Series[str],
    cluster: npt.NDArray[np.int64],
    strata: Mapping[str, str] | None,
    stray_share: float = 1.0,
) -> pd.DataFrame:
    """Test for each two names that share a cell whether they share more than chance allows.

    Under chance the number is Poisson with a mean proportional to the product of the names' numbers of cells. Its
    rate is estimated from the share of pairs that share *nothing*, which twins hardly touch, anew without the pairs
    found until none is added; within each pair of strata where they are given. Chance is given `stray_share` of the
    smaller name's cells at most. Bonferroni over all pairs of names at FAMILYWISE.

    Returns:
        Columns `a`, `b`, `shared`, `expected`, `p_value`, `is_twin`.
    """
    names = sorted(set(subjects), key=natural)
    places = {name: place for place, name in enumerate(names)}
    first, second = np.triu_indices(len(names), 1)
    counts = _shared_cells(np.asarray(subjects.map(places), dtype=np.int64), cluster)
    n_cells = subjects.value_counts().loc[names].to_numpy(dtype=np.float64)
    exposure = np.asarray(n_cells[first] * n_cells[second], dtype=np.float64)
    observed = counts[first, second]
    stratum = np.zeros(len(observed), dtype=int)
    if strata is not None:
        label = np.array([strata[name] for name in names])
        pair_labels = ["\n".join(sorted(pair)) for pair in zip(label[first], label[second], strict=True)]
        stratum = np.unique(pair_labels, return_inverse=True)[1]
    most = stray_share * np.minimum(n_cells[first], n_cells[second])
    expected, p_value, is_twin = _step_down(observed, exposure, stratum, most)
    seen = observed > 0
    names_array = np.array(names, dtype=object)
    return pd.DataFrame(
        {
            "a": names_array[first[seen]],
            "b": names_array[second[seen]],
            "shared": observed[seen],
            "expected": expected[seen],
            "p_value": p_value[seen],
            "is_twin": is_twin[seen],
        }
    )


def _shared_cells(name: npt.NDArray[np.int64], cluster: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For each two names (by number) the number of clusters with cells of both, [n_names, n_names]."""
    shape = (int(name.max(initial=-1)) + 1, int(cluster.max(initial=-1)) + 1)
    has_cell = coo_array((np.ones(len(name), dtype=np.int64), (name, cluster)), shape=shape).tocsr()
    has_cell.data[:] = 1  # several cells of a cluster under one name are one
    return np.asarray((has_cell @ has_cell.T).toarray(), dtype=np.int64)


def _step_down(
    observed: npt.NDArray[np.int64],
    exposure: npt.NDArray[np.float64],
    stratum: npt.NDArray[np.intp],
    most: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Expected number, p-value and verdict of every pair; found pairs leave the estimate of chance."""
    is_twin = np.zeros(len(observed), dtype=bool)
    while True:
        expected = np.zeros(len(observed))
        for number in np.unique(stratum):
            inside = stratum == number
            expected[inside] = (
                _chance_rate(observed[inside & ~is_twin], exposure[inside & ~is_twin]) * exposure[inside]
            )
        expected = np.minimum(expected, most)
        p_value = poisson.sf(observed - 1, expected)
        found = is_twin | ((observed > 1) & (p_value < FAMILYWISE / max(len(observed), 1)))
        if (found == is_twin).all():
            return expected, p_value, is_twin
        is_twin = found


def _chance_rate(observed: npt.NDArray[np.int64], exposure: npt.NDArray[np.float64]) -> float:
    """The rate at which the expected number of pairs without a shared cell is the observed one."""
    n_without = int((observed == 0).sum())
    if n_without == len(observed):
        return 0.0
    target = max(n_without, 0.5)  # where all share something, half a pair stands for those that might not

    def excess(rate: float) -> float:
        return float(np.exp(-rate * exposure).sum() - target)

    return float(brentq(excess, 0.0, 100 / exposure.min()))


def _judge(tested: pd.DataFrame, copied: set[tuple[str, ...]], known: KnownTwins) -> pd.DataFrame:
    verdicts: dict[tuple[str, str], tuple[Any, ...]] = {}
    columns = (tested[name] for name in ("a", "b", "is_twin", "shared", "expected", "p_value"))
    for a, b, is_twin, *numbers in zip(*columns, strict=True):
        chance = TIED if (a, b) in copied else BY_CHANCE
        verdict = APART if known.keeps_apart(a, b) else (MERGED if is_twin else chance)
        verdicts[a, b] = (*numbers, verdict)
    for pair in known.merged_pairs():
        verdicts[pair] = (*verdicts.get(pair, (0, 0.0, 1.0))[:3], BY_USER)
    rows = [(*pair, *found) for pair, found in verdicts.items()]
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS))


def _components(names: Sequence[str], pairs: pd.DataFrame) -> dict[str, str]:
    """The group of each name when the pairs are joined, named by its members in natural order."""
    places = {name: place for place, name in enumerate(names)}
    edges = [[places[name] for name in pairs[side]] for side in ("a", "b")]
    graph = coo_array((np.ones(len(pairs)), edges), shape=(len(names), len(names)))
    component = connected_components(graph, directed=False)[1]
    members: dict[Hashable, list[str]] = {}
    for name, number in zip(names, component, strict=True):
        members.setdefault(number, []).append(name)
    return {name: "+".join(members[number]) for name, number in zip(names, component, strict=True)}
