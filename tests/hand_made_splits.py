"""A small tree with twins, and splits of it written by hand that keep them together or part them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from small_runs import record_of
from small_trees import class_tree, plant_copies

from leukemia_lab.data.split_files import read_split, write_split
from leukemia_lab.data.splits import SCHEMA, Split, from_arrow, to_arrow
from leukemia_lab.runs import record

N_SUBJECTS, CELLS_EACH = 8, 5
TWINS, TIED = ("B1", "B5"), ("N2", "N7")
SUBJECTS = {
    label: [f"{letter}{n}" for n in range(N_SUBJECTS)] for label, letter in (("blast", "b"), ("normal", "n"))
}


def tree_with_twins(root: Path) -> Path:
    """80 cells of 16 names: B1 and B5 are one subject, N2 and N7 share a single near copy."""
    class_tree(root, SUBJECTS, CELLS_EACH)
    plant_copies(root, "blast", "b1", "b5", CELLS_EACH)
    plant_copies(root, "normal", "n2", "n7", 1)
    return root


def table_with_apart(*apart: tuple[str, str]) -> pd.DataFrame:
    """A split's rows by hand: a fourth of each class in val and test, the names of each pair in train and test."""
    rows = []
    for label, names in SUBJECTS.items():
        for number, name in enumerate(names):
            subject = name.upper()
            part = "val" if number in (0, 3) else "test" if number in (4, 6) else "train"
            part = next(
                (
                    side
                    for pair in apart
                    for side, owner in zip(("train", "test"), pair, strict=True)
                    if owner == subject
                ),
                part,
            )
            rows += [
                (f"{label}/{name}_{n}.png", subject, subject, label, part, None) for n in range(CELLS_EACH)
            ]
    table = pd.DataFrame(rows, columns=SCHEMA.names).astype({"fold": "Int64"})
    return from_arrow(to_arrow(table.sort_values("cell_id")))


def manifest(path: Path, *apart: tuple[str, str], own: bool) -> Path:
    """That split in a file: one of one's own with cells and parts only, or as the package writes it."""
    table = table_with_apart(*apart)
    if not own:
        write_split(Split(table, {"name": "subject_holdout"}, (), ()), path)
    elif path.suffix == ".csv":
        table[["cell_id", "part"]].to_csv(path, index=False)
    else:
        table[["cell_id", "part"]].to_parquet(path)
    return path


def of_file(path: Path) -> list[str]:
    return ["protocol=manifest", f"protocol.file={path}"]


def replaced(run: Path, table: pd.DataFrame) -> None:
    """Put another split in the place of a run's own, its hash in the record too."""
    split = Split(table, read_split(run / record.SPLIT).protocol, (), ())
    write_split(split, run / record.SPLIT)
    (run / record.RECORD).write_text(json.dumps(record_of(run) | {"split_hash": split.hash}))
