"""Writes a synthetic look-alike of C-NMC 2019 in its archive's layout, so that all commands run anywhere."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import struct
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from leukemia_lab.data.layouts import SYNTHETIC_MANIFEST as MANIFEST
from leukemia_lab.data.synthetic_cells import FRAME_PX, SubjectLook, draw_cell
from leukemia_lab.data.synthetic_plan import (
    PRELIMINARY,
    Subject,
    SyntheticSpec,
    cell_names,
    check_spec,
    plan_subjects,
    subject_looks,
    twin_pairs,
)
from leukemia_lab.errors import DataError
from leukemia_lab.progress import CONSOLE, progress

__all__ = ["GENERATOR_VERSION", "MANIFEST", "SyntheticSpec", "tree_name", "twin_pairs", "write_tree"]

GENERATOR_VERSION = 1  # raise it with every change of a pixel or a name
PRELIMINARY_FOLDER = "C-NMC_test_prelim_phase_data"
PRELIMINARY_LABELS = f"{PRELIMINARY_FOLDER}/C-NMC_test_prelim_phase_data_labels.csv"

# Bytes of the two DIB headers that C-NMC uses, for its training and its preliminary files.
TRAINING_DIB, PRELIMINARY_DIB = 40, 124
TWIN_KINDS = ("identical", "header", "shift", "grey")


@dataclass(frozen=True)
class PlannedCell:
    """One file to write: `source` is the subject that is drawn, another one than `subject` for a twin."""

    path: str
    name: str
    subject: Subject
    source: Subject
    ordinal: int

    @property
    def twin_kind(self) -> str | None:
        """How a twin's cell differs from its source's."""
        return None if self.subject is self.source else TWIN_KINDS[self.ordinal % len(TWIN_KINDS)]

    @property
    def dib_bytes(self) -> int:
        """Size of the file's DIB header."""
        is_other = self.subject.part == PRELIMINARY or self.twin_kind == "header"
        return PRELIMINARY_DIB if is_other else TRAINING_DIB

    @property
    def n_bytes(self) -> int:
        """Size of the file."""
        return 14 + self.dib_bytes + FRAME_PX * _row_bytes(FRAME_PX)


def tree_name(spec: SyntheticSpec) -> str:
    """Name of the folder for `spec`: it changes with every value of the spec and with the generator."""
    return f"synthetic-{hashlib.sha256(json.dumps(_identity(spec)).encode()).hexdigest()[:12]}"


def write_tree(root: Path, spec: SyntheticSpec) -> bool:
    """Write the tree of `spec` to `root` unless it is there and whole; return whether anything was written.

    An interrupted tree is completed; two processes may ask for the same tree at once. `synthetic.json` in
    `root` names the spec, the files with their sizes and the twins; it says `"complete": true` only at the
    end. Raises DataError if the spec is impossible, `root` holds anything else, or it cannot be written.
    """
    check_spec(spec)
    # `.` has no name for its lock. Path.resolve would raise where a link leads to itself.
    root = Path(os.path.realpath(root))
    cells = _planned_cells(spec)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root.parent / f"{root.name}.lock"):
            was_complete = _own_tree(root, spec)
            missing = [cell for cell in cells if _size(root / cell.path) != cell.n_bytes]
            labels = _preliminary_labels(cells)
            if was_complete and not missing and _size(root / PRELIMINARY_LABELS) == len(labels):
                return False
            _write_manifest(root, spec, cells, len(labels), complete=False)
            _write_cells(root, spec, cells, missing)
            _write(root / PRELIMINARY_LABELS, labels)
            _write_manifest(root, spec, cells, len(labels), complete=True)
    except OSError as error:
        raise DataError(
            f"Cannot write synthetic data to {root}: {error}. "
            f"It takes {_megabytes(cells):.0f} MB: set data.root or LEUKEMIA_LAB_CACHE to a folder with room."
        ) from error
    return True


def _identity(spec: SyntheticSpec) -> dict[str, object]:
    return {"generator_version": GENERATOR_VERSION, "spec": asdict(spec)}


def _megabytes(cells: Iterable[PlannedCell]) -> float:
    return sum(cell.n_bytes for cell in cells) / 1e6


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _planned_cells(spec: SyntheticSpec) -> list[PlannedCell]:
    subjects = plan_subjects(spec)
    by_name = {subject.name: subject for subject in subjects}
    cells, preliminary = [], []
    for subject in subjects:
        source = subject if subject.source is None else by_name[subject.source]
        for ordinal, name in enumerate(cell_names(spec, subject)):
            if subject.part == PRELIMINARY:
                preliminary.append((name, subject, ordinal))
            else:
                path = f"C-NMC_training_data/{subject.part}/{subject.label}/{name}"
                cells.append(PlannedCell(path, name, subject, source, ordinal))
    # As in the archive, the number of a preliminary file says nothing about its class.
    order = np.random.default_rng(np.random.SeedSequence([spec.seed, 3])).permutation(len(preliminary))
    for number, i in enumerate(order, start=1):
        name, subject, ordinal = preliminary[i]
        path = f"{PRELIMINARY_FOLDER}/{PRELIMINARY_FOLDER}/{number}.bmp"
        cells.append(PlannedCell(path, name, subject, subject, ordinal))
    return cells


def _preliminary_labels(cells: Iterable[PlannedCell]) -> bytes:
    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerow(["Patient_ID", "new_names", "labels"])
    for cell in cells:
        if cell.subject.part == PRELIMINARY:
            rows.writerow([cell.name, Path(cell.path).name, int(cell.subject.label == "all")])
    return table.getvalue().encode()


def _own_tree(root: Path, spec: SyntheticSpec) -> bool:
    """Whether `root` was completed for `spec`; False if new or interrupted. DataError if it is not ours."""
    if not root.exists():
        return False
    if root.is_dir() and {path.name for path in root.iterdir()} <= {_partial(MANIFEST)}:
        return False
    try:
        manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        identity = {key: manifest[key] for key in _identity(spec)}
        complete = manifest["complete"] is True
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{root} is not empty and has no readable {MANIFEST}: it is not our synthetic data. "
            "Nothing was written. Give a new or empty folder."
        ) from error
    if identity != _identity(spec):
        raise DataError(
            f"{root} holds synthetic data of {identity}, asked for was {_identity(spec)}. "
            "Nothing was written. Give another folder, or delete this one."
        )
    return complete


def _write_manifest(
    root: Path, spec: SyntheticSpec, cells: list[PlannedCell], label_bytes: int, *, complete: bool
) -> None:
    manifest = {
        "stamp": "SYNTHETIC",
        "complete": complete,
        **_identity(spec),
        "twins": twin_pairs(spec),
        "files": {**{cell.path: cell.n_bytes for cell in cells}, PRELIMINARY_LABELS: label_bytes},
    }
    _write(root / MANIFEST, json.dumps(manifest, indent=1).encode())


def _partial(name: str) -> str:
    return f".{name}.partial"


def _write(path: Path, content: bytes) -> None:
    """Atomic: a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(_partial(path.name))
    partial.write_bytes(content)
    partial.replace(path)


def _write_cells(
    root: Path, spec: SyntheticSpec, cells: list[PlannedCell], missing: list[PlannedCell]
) -> None:
    looks = subject_looks(spec, plan_subjects(spec))
    CONSOLE.print(
        f"SYNTHETIC data: {len(missing)} of {len(cells)} cells, {_megabytes(missing):.0f} MB, to {root}"
    )
    pool = ThreadPoolExecutor()
    try:
        with progress("drawing SYNTHETIC cells", len(missing), "cells") as advance:
            for _ in pool.map(lambda cell: _write(root / cell.path, _bmp(cell, spec, looks)), missing):
                advance(1)
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C must not wait for a thousand queued cells


def _bmp(cell: PlannedCell, spec: SyntheticSpec, looks: dict[str, SubjectLook]) -> bytes:
    """The file's bytes. Every cell has a random stream of its own, so that the order of drawing is free."""
    stream = np.random.SeedSequence([spec.seed, 4, cell.source.number, cell.ordinal])
    image = draw_cell(cell.source.label, looks[cell.source.name], np.random.default_rng(stream))
    if cell.twin_kind is not None:
        stream = np.random.SeedSequence([spec.seed, 5, cell.subject.number, cell.ordinal])
        image = _near_copy(image, cell.twin_kind, np.random.default_rng(stream))
    return encode_bmp(image, cell.dib_bytes)


def _near_copy(image: npt.NDArray[np.uint8], kind: str, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A twin's version of `image`: moved by 1-3 px, or its foreground 1-2 levels brighter or darker."""
    foreground = image.max(axis=2) > 0
    if kind == "shift":
        # Towards the middle of the frame, so that nothing of a cell at the border wraps around.
        ends = np.array([axis.min() + axis.max() for axis in np.nonzero(foreground)])
        steps = np.where(ends < FRAME_PX, 1, -1) * rng.integers(1, 4, size=2)
        return np.roll(image, steps, axis=(0, 1))
    if kind == "grey":
        levels = image.astype(np.int16) + rng.choice([-2, -1, 1, 2])
        return np.where(foreground[..., None], levels.clip(1, 255), 0).astype(np.uint8)
    return image


def _row_bytes(width: int) -> int:
    return (3 * width + 3) // 4 * 4


def encode_bmp(image: npt.NDArray[np.uint8], dib_bytes: int) -> bytes:
    """RGB uint8 of shape (height, width, 3) as 24-bit BMP; its DIB header has 40 or 124 bytes."""
    height, width, _ = image.shape
    row_bytes = _row_bytes(width)
    rows = np.zeros((height, row_bytes), np.uint8)
    rows[:, : 3 * width] = image[::-1, :, ::-1].reshape(height, -1)  # bottom row first, blue first
    offset = 14 + dib_bytes
    header = struct.pack("<2sIII", b"BM", offset + rows.size, 0, offset)
    dib = struct.pack("<IiiHHIIiiII", dib_bytes, width, height, 1, 24, 0, rows.size, 3779, 3779, 0, 0)
    if dib_bytes > len(dib):
        dib += struct.pack("<4I4s", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, b"BGRs")
    return header + dib.ljust(dib_bytes, b"\0") + rows.tobytes()
