"""Trees of small drawn cells in class folders, with copies planted between subjects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 64
PATTERN = "data.subject_pattern='/(?P<subject>[^_/]+)_'"


def textured_cell(seed: int, side: int = SIDE) -> npt.NDArray[np.uint8]:
    """A textured ellipse on black, uint8 [side, side, 3]; the seed sets size and texture."""
    rng = np.random.default_rng(seed)
    radii = rng.uniform(0.25, 0.4, 2) * side
    rows, columns = np.mgrid[:side, :side]
    inside = ((rows - side / 2) / radii[0]) ** 2 + ((columns - side / 2) / radii[1]) ** 2 < 1
    grain = Image.fromarray(rng.integers(30, 200, (9, 9, 3), dtype=np.uint8))
    texture = np.asarray(grain.resize((side, side), Image.Resampling.BILINEAR))
    return np.where(inside[:, :, np.newaxis], texture, 0).astype(np.uint8)


def near_copy(cell: npt.NDArray[np.uint8], seed: int) -> npt.NDArray[np.uint8]:
    """The cell with each grey level of its foreground changed by up to 2."""
    noise = np.random.default_rng(seed).integers(-2, 3, cell.shape)
    return np.where(cell.any(axis=2, keepdims=True), (cell + noise).clip(1, 255), 0).astype(np.uint8)


def save(path: Path, image: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def class_tree(root: Path, subjects: dict[str, list[str]], cells_each: int, seed: int = 0) -> Path:
    """Write `<class>/<subject>_<n>.png`, n from 0, for the subjects of each class; returns `root`."""
    number = seed
    for label, names in subjects.items():
        for name in names:
            for n in range(cells_each):
                save(root / label / f"{name}_{n}.png", textured_cell(number))
                number += 1
    return root


def plant_copies(root: Path, label: str, source: str, twin: str, n_shared: int) -> None:
    """Replace the first cells of `twin` by near copies of those of `source`."""
    for n in range(n_shared):
        with Image.open(root / label / f"{source}_{n}.png") as image:
            save(root / label / f"{twin}_{n}.png", near_copy(np.asarray(image), seed=n))
