"""A small table of cells, splits of it, and split files as users write them."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd

from leukemia_lab.data.index import INDEX_COLUMNS, CellIndex
from leukemia_lab.data.protocols import Protocol
from leukemia_lab.data.split_files import load_manifest
from leukemia_lab.data.splits import Split, make_split

Row = dict[str, str]
HOLDOUT = Protocol("subject_holdout", 0.2, 0.2, n_folds=3, fold=0, seed=0, twins="merge", source="a")


SUFFIXES = ("parquet", "csv")


def cells_table() -> pd.DataFrame:
    """Nine subjects a class with four cells each, two of the preliminary test set; one group is a pair of twins."""
    rows = [
        {
            "cell_id": f"fold_{number % 3}/{'hem' if number % 2 else 'all'}/S{number}_{i}.bmp",
            "label": "HEM" if number % 2 else "ALL",
            "subject": f"S{number}",
            "group": "S0+S2" if number in (0, 2) else f"S{number}",
            "official_fold": number % 3 if number < 18 else None,
            "official_part": "train" if number < 18 else "prelim",
            "source": "ab"[number // 2 % 2],
        }
        for number in range(20)
        for i in range(4)
    ]
    return pd.DataFrame(rows).astype({"official_fold": "Int64"}).sort_values("cell_id", ignore_index=True)


def index_of(cells: pd.DataFrame) -> CellIndex:
    class_names = tuple(sorted(set(cells["label"])))
    has_subjects = bool(cells["subject"].notna().any())
    table = cells.reindex(columns=list(INDEX_COLUMNS))
    return CellIndex(Path("/data"), table, class_names, None, has_subjects, (), (), {})


def loaded(path: Path, cells: pd.DataFrame | None = None, **policies: bool) -> Split:
    index = index_of(cells_table() if cells is None else cells)
    return load_manifest(path, index, **({"leaky": False, "ignore_twins": False} | policies))


def own_rows() -> list[Row]:
    """A split of one's own as `csv` would write it: cell and part."""
    split = make_split(cells_table(), HOLDOUT).table
    return [
        {"cell_id": cell, "part": part} for cell, part in zip(split["cell_id"], split["part"], strict=True)
    ]


def own_file(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def changed(rows: list[Row], place: int, **values: str) -> list[Row]:
    return [row | values if number == place else row for number, row in enumerate(rows)]
