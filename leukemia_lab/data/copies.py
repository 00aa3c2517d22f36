"""Which files of a data set show the same cell: equal bytes, equal pixels, or verified near copies.

A near copy was re-saved, recompressed, shifted by a few pixels, or made a little brighter or darker. Candidates
are found by the fingerprints of the index; each is verified on the pixels of both files. Copies that were scaled,
turned or mirrored are not found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from leukemia_lab.data.images import (
    FINGERPRINT,
    GRID_SIDE,
    GRID_STEPS_PER_SD,
    SILHOUETTE_LEVEL,
    WHOLE_FRAME,
    ImageArray,
    ImageFileError,
    read_rgb,
)
from leukemia_lab.data.index import CellIndex
from leukemia_lab.data.measures import pixels_hash
from leukemia_lab.data.storage import read_memo, write_memo
from leukemia_lab.progress import progress

IDENTICAL, PIXELS, NEAR = "identical", "pixels", "near"
COPY_COLUMNS = ("a", "b", "kind", "distance")

# Measured by benchmarks/bench_copies.py (table in docs/twins.md), on copies shifted by 3 px, ±2 grey levels, noise
# of ±2, JPEG of quality 90: the mean absolute difference of two fingerprints, in standard deviations of a cell's
# grey levels, is at most 0.163, silhouettes differ by up to 5 px; different real cells are 0.22 apart or more. The
# correlation of the textures, which decides, is at least 0.96 for copies down to JPEG 50 and at most 0.71 for
# different cells (0.90 for the two most alike of 2.4 million pairs of smooth drawn ones).
MAX_DISTANCE = 0.18
MAX_SIZE_DIFFERENCE_PX = 8
MIN_CORRELATION = 0.93
_COARSE_SIDE = 4
_CHUNK = 512
_NEIGHBOURS = 24  # candidates of a cell: hundreds of equal files must not make hundreds of thousands of pairs
_MARGIN_PX = 8
_SHADING_PX, _NOISE_PX = 15.0, 1.5  # standard deviations of Gaussians
_FLAT_SD = 1.0  # grey levels; below it there is no pattern to correlate
_ALL_PAIRS_OF = 24  # of that many equal files every pair is named; of more, each with the first
_MEMO_VERSION = 2


class _PixelPair(NamedTuple):
    """Two images by the hashes of their pixels, the smaller first."""

    first: str
    second: str


def find_copies(index: CellIndex, cache_dir: Path) -> pd.DataFrame:
    """Pairs of cells that show the same cell, within and across subjects, classes, folds and parts.

    Returns:
        Columns `a`, `b` (cell ids, a < b), `kind` (identical: equal bytes; pixels: equal pixels; near) and
        `distance` of the fingerprints (0 for equal pixels, up to MAX_DISTANCE), by a, b. Of more than
        24 equal files each is paired with the first one only; a near copy of equal files is paired with one of them.

    Raises:
        CacheError: `cache_dir`, where verified pairs are kept, cannot be written.
    """
    columns = ("cell_id", "sha256", "pixels", "fingerprint")
    key = tuple(tuple(index.table[name]) for name in columns)
    return _find_copies(_Cells(index, cache_dir, key)).copy()


class _Cells:
    """An index by what the search reads of it, so that a process searches once: merging twins changes nothing."""

    def __init__(self, index: CellIndex, cache_dir: Path, key: tuple[tuple[object, ...], ...]) -> None:
        self.index, self.cache_dir = index, cache_dir
        self._key = (index.root.resolve(), *index.trees.items(), *key)
        self._hash = hash(self._key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Cells) and self._key == other._key


@lru_cache(maxsize=4)
def _find_copies(cells: _Cells) -> pd.DataFrame:
    table = cells.index.table
    equal = equal_files(table, "pixels")
    near = _near_pairs(cells.index, cells.cache_dir)
    pairs = pd.concat([equal, near]).sort_values(["a", "b"], ignore_index=True)
    return pairs.astype({"distance": float})[list(COPY_COLUMNS)]


def clusters(cell_ids: Sequence[str], copies: pd.DataFrame) -> pd.Series[int]:
    """The number of the cluster that each cell is in: cells joined by copies have one number, in order of the ids."""
    codes = {cell_id: code for code, cell_id in enumerate(cell_ids)}
    edges = [[codes[cell] for cell in copies[side]] for side in ("a", "b")]
    graph = coo_array((np.ones(len(copies)), edges), shape=(len(codes), len(codes)))
    return pd.Series(connected_components(graph, directed=False)[1], index=list(codes), dtype=int)


def equal_files(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Pairs of cells that are equal in `column` (a hash of pixels or bytes), in the columns of `find_copies`."""
    rows = []
    sha256 = dict(zip(table["cell_id"], table["sha256"], strict=True))
    for _, cell_ids in table.groupby(column, sort=False)["cell_id"]:
        members = sorted(cell_ids)
        many = len(members) > _ALL_PAIRS_OF
        pairs: Iterable[tuple[str, str]] = (
            ((members[0], other) for other in members[1:]) if many else combinations(members, 2)
        )
        rows += [(a, b, IDENTICAL if sha256[a] == sha256[b] else PIXELS, 0.0) for a, b in pairs]
    return pd.DataFrame(rows, columns=list(COPY_COLUMNS))


def _near_pairs(index: CellIndex, cache_dir: Path) -> pd.DataFrame:
    """Verified pairs of cells with unequal pixels; of cells with equal pixels one stands for all."""
    cells = index.table.drop_duplicates("pixels")
    a, b, distance = candidates(cells["fingerprint"])
    cell_ids, pixels = cells["cell_id"].to_numpy(), cells["pixels"].to_numpy()
    keys = [_PixelPair(*sorted(pair)) for pair in zip(pixels[a], pixels[b], strict=True)]
    verified = _verify(index, keys, dict(zip(pixels, cell_ids, strict=True)), cache_dir)
    is_copy = np.array([verified.get(key, 0.0) >= MIN_CORRELATION for key in keys], dtype=bool)
    pairs = [tuple(sorted(pair)) for pair in zip(cell_ids[a[is_copy]], cell_ids[b[is_copy]], strict=True)]
    frame = pd.DataFrame(pairs, columns=["a", "b"])
    return frame.assign(kind=NEAR, distance=distance[is_copy])


def candidates(
    fingerprints: Sequence[bytes] | pd.Series[bytes],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Pairs a < b of fingerprints that may be near copies, and their distance; about 24 of each cell at most.

    Averaging cannot enlarge a mean absolute difference, so a pair within MAX_DISTANCE is within it on a coarse
    grid too, where all pairs are quickly looked at.
    """
    prints = np.frombuffer(b"".join(fingerprints), dtype=FINGERPRINT)
    if len(prints) < 2:
        none = np.empty(0, dtype=np.intp)
        return none, none, np.empty(0, dtype=np.float32)
    order = np.argsort(prints["width"], kind="stable")  # cells of like width then stand in one stretch
    grids = np.divide(prints["grid"][order], GRID_STEPS_PER_SD, dtype=np.float32)
    sizes = np.stack([prints["width"], prints["height"]], axis=1).astype(np.int64)[order]
    block = GRID_SIDE // _COARSE_SIDE
    coarse = grids.reshape(-1, _COARSE_SIDE, block, _COARSE_SIDE, block).mean(axis=(2, 4))
    coarse = coarse.reshape(len(grids), -1)
    pairs, distances = [], []
    for start in range(0, len(grids), _CHUNK):
        for row, alike in enumerate(_alike(coarse, sizes, start), start=start):
            others = start + np.flatnonzero(alike)
            distance = np.abs(grids[others] - grids[row]).mean(axis=(1, 2))
            nearest = np.argsort(distance, kind="stable")[:_NEIGHBOURS]
            nearest = nearest[distance[nearest] <= MAX_DISTANCE]
            pairs.append(np.stack([np.full(len(nearest), row), others[nearest]]))
            distances.append(distance[nearest])
    a, b = np.sort(order[np.concatenate(pairs, axis=1)], axis=0)
    return a, b, np.concatenate(distances)


def _alike(
    coarse: npt.NDArray[np.float32], sizes: npt.NDArray[np.int64], start: int
) -> npt.NDArray[np.bool_]:
    """Which cells from `start` on are near a cell of the chunk on the coarse grid, and alike in size.

    Each pair is there once, under its first cell. `sizes` are sorted by their first column.
    """
    rows = slice(start, start + _CHUNK)
    end = np.searchsorted(sizes[:, 0], sizes[rows, 0][-1] + MAX_SIZE_DIFFERENCE_PX, side="right")
    others = slice(start, int(end))
    # Averages of float32 are rounded: a pair at the very limit must not be lost.
    radius = MAX_DISTANCE * _COARSE_SIDE**2 + 1e-4
    near = cdist(coarse[rows], coarse[others], "cityblock") <= radius
    for side in range(2):
        near &= np.abs(sizes[rows, side, None] - sizes[None, others, side]) <= MAX_SIZE_DIFFERENCE_PX
    return np.asarray(np.triu(near, k=1))


def _verify(
    index: CellIndex, keys: Sequence[_PixelPair], cell_of: dict[str, str], cache_dir: Path
) -> dict[_PixelPair, float]:
    """The correlation of the pixels of each pair, from the memo where it is known; no entry for changed files."""
    path = _memo_path(index, cache_dir)
    columns = (*_PixelPair._fields, "correlation")
    known = {_PixelPair(*row[:2]): row[2] for row in read_memo(path, columns)}
    unknown = [key for key in dict.fromkeys(keys) if key not in known]

    def correlate(key: _PixelPair) -> float | None:
        images = [_as_indexed(index.path_of(cell_of[pixels]), pixels) for pixels in key]
        return None if images[0] is None or images[1] is None else correlation(images[0], images[1])

    if unknown:
        with progress("Comparing", len(unknown), "pairs") as advance, ThreadPoolExecutor() as pool:
            for key, value in zip(unknown, pool.map(correlate, unknown), strict=True):
                if value is not None:
                    known[key] = value
                advance(1)
        write_memo(path, ((*key, value) for key, value in known.items()), columns)
    return known


def _as_indexed(path: Path, pixels: str) -> ImageArray | None:
    """The image whose pixels have this hash; None where the file has changed or gone since it was indexed.

    What reads such a file next will say so; here nothing wrong must be remembered of it.
    """
    try:
        image = read_rgb(path)
    except ImageFileError:
        return None
    return image if pixels_hash(image) == pixels else None


def correlation(a: ImageArray, b: ImageArray) -> float:
    """How well `a` is found again in `b`, uint8 [H, W, 3]: the best correlation over shifts of up to 8 px.

    Compared is the texture inside the silhouette of `a`, so that neither an equal outline nor an equal shading
    makes copies of two cells; of images without a black background the frame's outer 8 px are left out.
    1 is equal but for brightness and contrast.
    """
    inside_a, inside_b = (image.max(axis=2) > SILHOUETTE_LEVEL for image in (a, b))
    if not inside_a.any() or not inside_b.any():
        return 0.0
    has_background = bool(inside_a.mean() < WHOLE_FRAME)
    if not has_background:
        inside_a, inside_b = np.ones_like(inside_a), np.ones_like(inside_b)
    window_a, window_b = (
        _window(inside, 0 if has_background else _MARGIN_PX) for inside in (inside_a, inside_b)
    )
    template, inside = _texture(a, inside_a)[window_a], inside_a[window_a].astype(np.uint8)
    height, width = template.shape
    top, left = window_b[0].start, window_b[1].start  # with the margin these are 8 px before the silhouette
    around = np.pad(_texture(b, inside_b), _MARGIN_PX)
    around = around[top : top + height + 2 * _MARGIN_PX, left : left + width + 2 * _MARGIN_PX]
    if min(height, width) == 0 or around.shape[0] < height or around.shape[1] < width:
        return 0.0
    core = cv2.erode(inside, np.ones((5, 5), np.uint8), borderValue=0 if has_background else 1)
    mask = core if core.any() else inside
    levels = _grey(a)[window_a][mask > 0]
    if levels.std() < _FLAT_SD:
        return float(abs(levels.mean() - _grey(b)[inside_b].mean()) < 2 * _FLAT_SD)
    found = cv2.matchTemplate(around, template, cv2.TM_CCOEFF_NORMED, mask=mask.astype(np.float32))
    usable = found[np.isfinite(found) & (np.abs(found) < 1.01)]  # a constant patch has no correlation
    return float(usable.max().clip(-1, 1)) if usable.size > 0 else 0.0


def _texture(image: ImageArray, inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Grey levels without shading (wider than 15 px) and noise (finer than 1.5 px), averaged inside only."""
    texture = np.zeros(inside.shape, np.float32)
    window = _window(inside, 0)
    weight = inside[window].astype(np.float32)
    grey = _grey(image)[window] * weight
    fine, coarse = (
        _blurred(grey, sd) / np.maximum(_blurred(weight, sd), 1e-3) for sd in (_NOISE_PX, _SHADING_PX)
    )
    texture[window] = (fine - coarse) * weight
    return texture


def _blurred(plane: npt.NDArray[np.float32], sd: float) -> npt.NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sd, borderType=cv2.BORDER_CONSTANT), np.float32)


def _grey(image: ImageArray) -> npt.NDArray[np.float32]:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)


def _window(inside: npt.NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    """The rows and columns of what is inside, without a margin."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    edges = [(int(found[0]) + margin, int(found[-1]) + 1 - margin) for found in (rows, columns)]
    return slice(edges[0][0], max(edges[0])), slice(edges[1][0], max(edges[1]))


def _memo_path(index: CellIndex, cache_dir: Path) -> Path:
    roots = [str(root.resolve()) for root in (index.trees.values() if index.trees else [index.root])]
    digest = hashlib.sha256("\n".join(roots).encode()).hexdigest()[:16]
    return cache_dir / "copies" / f"{digest}-v{_MEMO_VERSION}.parquet"
