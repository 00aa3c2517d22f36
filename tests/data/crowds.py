"""Tables of names that share verified copies, without a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from leukemia_lab.data.copies import COPY_COLUMNS, clusters
from leukemia_lab.data.index import CellIndex
from leukemia_lab.data.twins import Evidence


def cells_of(subjects: Sequence[str | None]) -> pd.DataFrame:
    """Cells c0000, c0001, ... of these subjects."""
    ids = [f"c{number:04}" for number in range(len(subjects))]
    table = pd.DataFrame({"cell_id": ids, "subject": pd.Series(subjects, dtype=object)})
    table["group"] = table["subject"].where(table["subject"].notna(), table["cell_id"])
    return table.assign(label="ALL", official_part="train")


def copied(table: pd.DataFrame, pairs: Sequence[tuple[int, int]]) -> Evidence:
    """Verified copies, by the numbers of the cells."""
    ids = table["cell_id"]
    rows = [(ids[a], ids[b], "near", 0.1) for a, b in pairs]
    copies = pd.DataFrame(rows, columns=list(COPY_COLUMNS))
    return Evidence(copies, clusters(list(ids), copies).to_numpy(), has_pixels=True)


def crowd(
    n_cells: int, shared: Mapping[tuple[str, str], int], others: int = 12
) -> tuple[pd.DataFrame, Evidence]:
    """Names with `n_cells` each, of which two share so many cells; `others` share nothing."""
    names = [*dict.fromkeys(name for pair in shared for name in pair), *(f"X{n}" for n in range(others))]
    table = cells_of([name for name in names for _ in range(n_cells)])
    free = {name: iter(table.index[table["subject"] == name]) for name in names}
    pairs = [(next(free[a]), next(free[b])) for (a, b), n in shared.items() for _ in range(n)]
    return table, copied(table, pairs)


def index_of(table: pd.DataFrame, has_pixels: bool = True) -> CellIndex:
    has_subjects = bool(table["subject"].notna().any())
    return CellIndex(Path(), table, ("ALL", "HEM"), "ALL", has_subjects, (), (), {}, has_pixels)
