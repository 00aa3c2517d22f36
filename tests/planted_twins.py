"""Small trees in C-NMC's layout with planted twins: subject names that share cells, and how the copies differ."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from leukemia_lab.data.synthetic import (
    MANIFEST,
    PRELIMINARY_DIB,
    PRELIMINARY_FOLDER,
    PRELIMINARY_LABELS,
    TRAINING_DIB,
    encode_bmp,
)
from leukemia_lab.data.synthetic_cells import SubjectLook, draw_cell

Cell = npt.NDArray[np.uint8]
N_FOLDS = 3
SAME_FOLD, OTHER_FOLD, PRELIMINARY = "same fold", "other fold", "preliminary part"
PLACES = (SAME_FOLD, OTHER_FOLD, PRELIMINARY)


@dataclass(frozen=True)
class Planted:
    """A second name for subject `source` (0 … n_subjects - 1) that holds copies of `share` of its cells.

    `share` is 0.1 to 1.0, rounded up to whole cells; the rest of the twin's cells are its own.
    """

    source: int
    share: float
    kind: str
    place: str


@dataclass(frozen=True)
class Twins:
    """What was planted: the two names, and how many cells they share."""

    subjects: frozenset[str]
    n_shared: int
    planted: Planted


def plant_twins(
    root: Path, rng: np.random.Generator, n_subjects: int, cells_per_subject: int, plan: Sequence[Planted]
) -> list[Twins]:
    """Draw `n_subjects` and a twin for each entry of `plan` into `root`; returns the truth in the plan's order."""
    unknown = [planted for planted in plan if not 0 <= planted.source < n_subjects]
    if unknown:
        raise ValueError(f"sources are 0 to {n_subjects - 1}: {unknown}")
    (root / PRELIMINARY_FOLDER / PRELIMINARY_FOLDER).mkdir(parents=True)
    (root / MANIFEST).write_text(json.dumps({"stamp": "SYNTHETIC"}), encoding="utf-8")
    tree = _Tree(root)
    truth: dict[int, Twins] = {}
    for number in range(n_subjects):
        look = SubjectLook(*rng.standard_normal(len(fields(SubjectLook))))
        cells = _draw_cells(number, look, cells_per_subject, rng)
        tree.add(number, name_of(number), _fold(number), [(cell, TRAINING_DIB) for cell in cells])
        for position, planted in enumerate(plan):
            if planted.source == number:
                n_shared = math.ceil(round(planted.share * cells_per_subject, 6))
                own = _draw_cells(number, look, cells_per_subject - n_shared, rng)
                chosen = rng.choice(cells_per_subject, n_shared, replace=False)
                copies = [COPIES[planted.kind](cells[i], rng) for i in chosen]
                twin = name_of(number, n_subjects + position)
                tree.add(number, twin, _place(planted), _files(planted, copies, own))
                truth[position] = Twins(frozenset((name_of(number), twin)), n_shared, planted)
    tree.write_labels()
    return [truth[position] for position in range(len(plan))]


def name_of(number: int, own_number: int | None = None) -> str:
    """Name of subject `number`; even ones are ALL, odd ones HEM. A twin has the class of its source."""
    return f"{'' if number % 2 == 0 else 'H'}{(number if own_number is None else own_number) + 1}"


def _draw_cells(number: int, look: SubjectLook, n_cells: int, rng: np.random.Generator) -> list[Cell]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda own: draw_cell(_label(number), look, own), rng.spawn(n_cells)))


def _label(number: int) -> str:
    return "all" if number % 2 == 0 else "hem"


def _fold(number: int) -> int:
    return number // 2 % N_FOLDS


def _place(planted: Planted) -> int | None:
    """The twin's fold; None for the preliminary part."""
    if planted.place == PRELIMINARY:
        return None
    return (_fold(planted.source) + (planted.place == OTHER_FOLD)) % N_FOLDS


def _files(planted: Planted, copies: list[Cell], own: list[Cell]) -> list[tuple[Cell, int]]:
    """The twin's cells with the sizes of their headers; identical files have the header of their source."""
    usual, other = TRAINING_DIB, PRELIMINARY_DIB
    if planted.place == PRELIMINARY:
        usual = PRELIMINARY_DIB
    header = {"identical": TRAINING_DIB, "header": other}.get(planted.kind, usual)
    return [*((cell, header) for cell in copies), *((cell, usual) for cell in own)]


def _shifted(cell: Cell, rng: np.random.Generator) -> Cell:
    """Moved by 1-3 px towards the middle of the frame, so that nothing wraps around."""
    ends = np.array([axis.min() + axis.max() for axis in np.nonzero(cell.any(axis=2))])
    steps = np.where(ends < len(cell), 1, -1) * rng.integers(1, 4, size=2)
    return np.roll(cell, steps, axis=(0, 1))


def _regrained(cell: Cell, rng: np.random.Generator) -> Cell:
    """Each level of the foreground changed by up to 2."""
    levels = (cell + rng.integers(-2, 3, cell.shape)).clip(1, 255)
    return np.where(cell.any(axis=2, keepdims=True), levels, 0).astype(np.uint8)


def _recompressed(cell: Cell, _: np.random.Generator) -> Cell:
    file = io.BytesIO()
    Image.fromarray(cell).save(file, "JPEG", quality=90)
    return np.asarray(Image.open(file))


COPIES: dict[str, Callable[[Cell, np.random.Generator], Cell]] = {
    "identical": lambda cell, _: cell,
    "header": lambda cell, _: cell,
    "shift": _shifted,
    "grey": _regrained,
    "jpeg": _recompressed,
}


class _Tree:
    """Writes subjects in the archive's layout and keeps the rows of the preliminary part's CSV."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows: list[tuple[str, str, int]] = []

    def add(self, number: int, name: str, fold: int | None, cells: list[tuple[Cell, int]]) -> None:
        label = _label(number)
        folder = self.root / f"C-NMC_training_data/fold_{fold}/{label}"
        if fold is None:
            folder = self.root / PRELIMINARY_FOLDER / PRELIMINARY_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        for i, (cell, dib_bytes) in enumerate(cells, start=1):
            file = f"UID_{name}_1_{i}_{label}.bmp"
            if fold is None:
                self.rows.append((file, f"{len(self.rows) + 1}.bmp", int(label == "all")))
                file = self.rows[-1][1]
            (folder / file).write_bytes(encode_bmp(cell, dib_bytes))

    def write_labels(self) -> None:
        with (self.root / PRELIMINARY_LABELS).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("Patient_ID", "new_names", "labels"), *self.rows])
