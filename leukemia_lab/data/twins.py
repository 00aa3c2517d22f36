"""Near copies of one cell under different subject names, and the groups that must not be split.

C-NMC 2019 stores some subjects more than once, so its official folds leak. Two cells count as copies where
their silhouettes have the same size and their fingerprints nearly agree; subjects that share a copy become
one group. Joining too much never leaks, so one copy is enough. Copies that were scaled, turned or mirrored
are not found, nor are shifted copies of images without a black background.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from leukemia_lab.data.images import FINGERPRINT, GRID_SIDE, GRID_STEPS_PER_SD
from leukemia_lab.data.index import CellIndex

# Mean absolute difference of two fingerprints in standard deviations of a cell's grey levels. Measured on 62
# real C-NMC cells: stored copies differ by 0.001, re-saved ones (±2 grey levels, JPEG at quality 95, 3 px
# shift) by at most 0.06, different cells by at least 0.26 (0.17 in the synthetic look-alike).
MAX_DISTANCE = 0.10
MAX_SIZE_DIFFERENCE_PX = 2
_COARSE_SIDE = 4


def find_near_copies(table: pd.DataFrame) -> pd.DataFrame:
    """Pairs of cells of different groups that show the same cell.

    Returns:
        Columns `a`, `b` (cell ids, a < b) and `distance` (0 for equal pixels, up to MAX_DISTANCE), by a, b.
    """
    prints = np.frombuffer(b"".join(table["fingerprint"]), dtype=FINGERPRINT)
    grids = np.divide(prints["grid"], GRID_STEPS_PER_SD, dtype=np.float32)
    a, b = _candidates(grids)
    groups = table["group"].to_numpy()
    apart = groups[a] != groups[b]
    for side in ("width", "height"):
        pixels = prints[side].astype(np.int64)
        apart &= np.abs(pixels[a] - pixels[b]) <= MAX_SIZE_DIFFERENCE_PX
    a, b = a[apart], b[apart]
    distance = np.abs(grids[a] - grids[b]).mean(axis=(1, 2))
    near = distance <= MAX_DISTANCE
    cell_ids = table["cell_id"].to_numpy()
    pairs = pd.DataFrame({"a": cell_ids[a[near]], "b": cell_ids[b[near]], "distance": distance[near]})
    return pairs.sort_values(["a", "b"], ignore_index=True)


def merge_twins(index: CellIndex) -> CellIndex:
    """Give subjects that share a near copy one group, named by them in natural order (`51+75+78`)."""
    table = index.table
    codes, groups = pd.factorize(table["group"])
    code_of_cell = dict(zip(table["cell_id"], codes, strict=True))
    pairs = _known_near_copies(tuple(table["cell_id"]), tuple(table["group"]), tuple(table["fingerprint"]))
    edges = [[code_of_cell[cell] for cell in pairs[side]] for side in ("a", "b")]
    graph = coo_array((np.ones(len(pairs)), edges), shape=(len(groups), len(groups)))
    _, component_of_group = connected_components(graph, directed=False)
    joined = replace(index, table=table.assign(group=component_of_group[codes]))
    names = {component: "+".join(members) for component, members in _members(joined).items()}
    return replace(index, table=table.assign(group=joined.table["group"].map(names)))


@lru_cache(maxsize=4)
def _known_near_copies(
    cell_id: tuple[str, ...], group: tuple[str, ...], fingerprint: tuple[bytes, ...]
) -> pd.DataFrame:
    """`find_near_copies`, once for all runs of a process over the same cells.

    The key is all that the search reads: `CellIndex.fingerprint` is equal before and after a merge.
    """
    return find_near_copies(pd.DataFrame({"cell_id": cell_id, "group": group, "fingerprint": fingerprint}))


def merged_groups(index: CellIndex) -> list[list[str]]:
    """The groups of two or more subjects (cells, where there are no subjects), each in natural order."""
    return sorted(
        (members for members in _members(index).values() if len(members) > 1),
        key=lambda members: [_natural(name) for name in members],
    )


def _members(index: CellIndex) -> dict[Hashable, list[str]]:
    names = index.table["subject" if index.has_subjects else "cell_id"]
    return {
        group: sorted(set(members), key=_natural) for group, members in names.groupby(index.table["group"])
    }


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key by which H3 comes before H10, and 20 before H2."""
    parts = re.findall(r"\d+|\D+", name)
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def _candidates(grids: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """All pairs a < b that can be near, and few others.

    Averaging cannot enlarge a mean absolute difference, so a pair within MAX_DISTANCE is within it on the
    coarse grid too, where a tree finds it without looking at all pairs.
    """
    block = GRID_SIDE // _COARSE_SIDE
    coarse = grids.reshape(-1, _COARSE_SIDE, block, _COARSE_SIDE, block).mean(axis=(2, 4))
    tree = KDTree(coarse.reshape(len(grids), -1))
    # Averages of float32 are rounded: a pair at the very limit must not be lost.
    radius = MAX_DISTANCE * _COARSE_SIDE**2 + 1e-4
    pairs = tree.query_pairs(radius, p=1, output_type="ndarray")
    return pairs[:, 0], pairs[:, 1]
