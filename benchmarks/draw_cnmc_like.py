"""Draws a look-alike of C-NMC 2019 in full size, stamped SYNTHETIC: each cell fills the box that a manifest gives.

`python benchmarks/draw_cnmc_like.py --root DIR` writes 12,528 files (7.6 GB); the same command again completes a
tree that was interrupted. Files with equal hashes in the manifest are equal here, and names that share cells by
their boxes (FEWEST_SHARED or more) get near copies. The preliminary manifest has no boxes: sides are drawn.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from leukemia_lab.atomic import replacing
from leukemia_lab.data.images import Box
from leukemia_lab.data.synthetic import (
    MANIFEST,
    PRELIMINARY_DIB,
    PRELIMINARY_FOLDER,
    PRELIMINARY_LABELS,
    TRAINING_DIB,
    encode_bmp,
)
from leukemia_lab.data.synthetic_cells import FRAME_PX, NUCLEUS, RIM, TEXTURE_AXIS
from leukemia_lab.progress import progress

REPOSITORY = Path(__file__).resolve().parents[1]
FEWEST_SHARED = 5  # equal boxes of two subject names; by chance there are two at most
SIDES_PX = {"all": (221, 27), "hem": (187, 31)}  # mean and standard deviation of a box's side
LACE = {"all": 0.8, "hem": 0.2}  # of the chromatin, 0: coarse clumps, 1: a fine net
IRREGULARITY = {"all": 0.030, "hem": 0.018}
OUTLINE_POINTS = 256

Mask = npt.NDArray[np.uint8]
Image = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Cell:
    """One file: `drawing` names what is drawn, `noise` what is laid over it (None: nothing)."""

    path: str
    label: str
    box: Box
    drawing: str
    noise: str | None
    dib_bytes: int


def training_cells(manifest: pd.DataFrame) -> list[Cell]:
    """Cells of the training folds, from columns file, fold, label, subject, sha256, x, y, w, h."""
    first = drawn_as(manifest)
    shas = list(manifest["sha256"])
    return [
        Cell(
            f"C-NMC_training_data/{row.fold}/{row.label}/{row.file}",
            row.label,
            Box(row.x, row.y, row.w + 1, row.h + 1),  # w and h are last minus first: one less than the extent
            manifest["file"].iloc[first[i]],
            None if row.sha256 == shas[first[i]] else row.sha256,
            TRAINING_DIB,
        )
        for i, row in enumerate(manifest.itertuples())
    ]


def drawn_as(manifest: pd.DataFrame) -> list[int]:
    """For each row the first row that shows the same cell: equal bytes, or equal boxes of names that share many."""
    groups = manifest.groupby(["label", "x", "y", "w", "h"]).indices.values()
    pairs = [pair for rows in groups for pair in itertools.combinations(sorted(rows), 2)]
    subjects, shas = list(manifest["subject"]), list(manifest["sha256"])
    shared = Counter(frozenset((subjects[i], subjects[j])) for i, j in pairs)
    same = [
        (i, j)
        for i, j in pairs
        if shas[i] == shas[j] or shared[frozenset((subjects[i], subjects[j]))] >= FEWEST_SHARED
    ]
    rows, columns = zip(*same, strict=True) if same else ((), ())
    graph = coo_array((np.ones(len(same)), (rows, columns)), shape=(len(manifest), len(manifest)))
    _, component = connected_components(graph, directed=False)
    first: dict[int, int] = {}
    return [first.setdefault(number, i) for i, number in enumerate(component)]


def preliminary_cells(manifest: pd.DataFrame, seed: int) -> list[Cell]:
    """Cells of the preliminary part, from columns file, label; the boxes are drawn."""
    folder = f"{PRELIMINARY_FOLDER}/{PRELIMINARY_FOLDER}"
    return [
        Cell(
            f"{folder}/{row.file}",
            row.label,
            random_box(row, seed),
            f"prelim/{row.file}",
            None,
            PRELIMINARY_DIB,
        )
        for row in manifest.itertuples()
    ]


def random_box(row: tuple[str, ...], seed: int) -> Box:
    rng = stream(seed, "box", row.file)
    width, height = rng.normal(*SIDES_PX[row.label], size=2).clip(90, FRAME_PX - 10).round().astype(int)
    ends = FRAME_PX - np.array([width, height])
    x, y = (ends / 2 + rng.normal(0, 6.5, size=2)).clip(0, ends).round().astype(int)
    return Box(int(x), int(y), int(width), int(height))


def stream(seed: int, *names: str) -> np.random.Generator:
    """A random stream of its own for each name, whatever is drawn before."""
    digest = hashlib.sha256("/".join(names).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8])])


def draw(cell: Cell, seed: int) -> Image:
    """RGB uint8 [450, 450, 3]: one solid piece that touches all sides of `cell.box`, background 0."""
    rng = stream(seed, "cell", cell.drawing)
    x, y, width, height = cell.box
    mask = outline_mask(width, height, IRREGULARITY[cell.label], rng)
    levels = stained(mask, LACE[cell.label], rng)
    if cell.noise is not None:
        levels = levels + stream(seed, "noise", cell.noise).integers(-2, 3, (height, width, 1), np.int16)
    frame = np.zeros((FRAME_PX, FRAME_PX, 3), np.uint8)
    frame[y : y + height, x : x + width] = levels.clip(1, 255) * mask[..., None]
    return frame


def outline_mask(width: int, height: int, irregularity: float, rng: np.random.Generator) -> Mask:
    """A star-shaped outline, its radius a random Fourier series, stretched to [height, width]."""
    angle = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False)
    order = np.arange(2, 14)
    amplitude = irregularity * (3 / order) ** 1.2 * rng.standard_normal(order.size)
    phase = rng.uniform(0, 2 * np.pi, order.size)
    radius = 1 + amplitude @ np.cos(order[:, None] * angle + phase[:, None])
    points = np.maximum(radius, 0.3)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = (points - points.min(axis=0)) / np.ptp(points, axis=0) * (width - 1, height - 1)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], (1,))
    return mask


def stained(mask: Mask, lace: float, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Levels of a stained nucleus with a pale rim and chromatin, int16 [height, width, 3]."""
    net = np.abs(smooth_noise(6.0, mask.shape, rng))
    chromatin = np.sqrt(1 - lace) * smooth_noise(14.0, mask.shape, rng) + np.sqrt(lace) * (0.6 - net)
    chromatin *= rng.uniform(7, 10)
    chromatin += 4 * smooth_noise(40.0, mask.shape, rng) + rng.normal(0, 5)
    depth = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    rim = np.exp(depth * np.float32(-0.2))
    colours = zip(NUCLEUS, RIM, TEXTURE_AXIS, strict=True)
    return np.rint(
        cv2.merge([nucleus + rim * edge + chromatin * tone for nucleus, edge, tone in colours])
    ).astype(np.int16)


def smooth_noise(scale_px: float, shape: tuple[int, ...], rng: np.random.Generator) -> Plane:
    rows, columns = (int(side / scale_px) + 3 for side in shape)
    coarse = rng.standard_normal((rows, columns), np.float32)
    return cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def label_table(manifest: pd.DataFrame) -> bytes:
    """The preliminary part's CSV as published."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["Patient_ID", "new_names", "labels"])
    rows.writerows((row.orig, row.file, int(row.label == "all")) for row in manifest.itertuples())
    return text.getvalue().encode()


def write_tree(
    root: Path, train: pd.DataFrame, prelim: pd.DataFrame, *, seed: int, limit: int | None
) -> list[Cell]:
    """Write what is missing of the tree, or of `limit` of its cells by chance; returns the cells asked for."""
    cells = [*training_cells(train), *preliminary_cells(prelim, seed)]
    if limit is not None and limit < len(cells):
        chosen = np.random.default_rng(seed).choice(len(cells), limit, replace=False)
        cells = [cells[i] for i in sorted(chosen)]
    stamp = {"stamp": "SYNTHETIC", "generator": "benchmarks/draw_cnmc_like.py", "seed": seed}
    claim(root, json.dumps(stamp, indent=1))
    labels = root / PRELIMINARY_LABELS
    for folder in {labels.parent, *((root / cell.path).parent for cell in cells)}:
        folder.mkdir(parents=True, exist_ok=True)
    labels.write_bytes(label_table(prelim))
    file_bytes = FRAME_PX * (-(-3 * FRAME_PX // 4) * 4) + 14
    missing = [cell for cell in cells if file_size(root / cell.path) != file_bytes + cell.dib_bytes]

    def write(cell: Cell) -> None:
        with replacing(root / cell.path) as partial:
            partial.write_bytes(encode_bmp(draw(cell, seed), cell.dib_bytes))

    cv2.setNumThreads(1)  # the pool below has a thread for each core
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        progress("drawing SYNTHETIC", len(missing), "cells") as done,
    ):
        for _ in pool.map(write, missing):
            done(1)
    return cells


def claim(root: Path, stamp: str) -> None:
    """Stamp a new folder as synthetic; leave with a message if it holds anything that this script did not draw."""
    manifest = root / MANIFEST
    if not root.exists() or not any(root.iterdir()):
        root.mkdir(parents=True, exist_ok=True)
        manifest.write_text(stamp, encoding="utf-8")
    elif not manifest.is_file() or manifest.read_text(encoding="utf-8") != stamp:
        sys.exit(
            f"{root} holds other data than this script draws with this seed: give a new or empty --root."
        )


def file_size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def main(argv: Sequence[str] | None = None) -> None:
    shared = Path(os.environ.get("LEUKEMIA_LAB_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, default=shared / "cnmc_meta" / "train_manifest.csv")
    parser.add_argument("--prelim", type=Path, default=shared / "cnmc_meta" / "prelim_manifest.csv")
    parser.add_argument("--root", type=Path, required=True, help="folder of the tree, new or empty")
    parser.add_argument("--limit", type=int, help="draw this many cells, chosen by chance")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    tables = [pd.read_csv(path, dtype={"subject": str}) for path in (args.train, args.prelim)]
    write_tree(args.root, *tables, seed=args.seed, limit=args.limit)


if __name__ == "__main__":
    main()
