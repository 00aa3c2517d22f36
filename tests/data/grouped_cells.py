"""Tables of cells in groups of known classes, subjects and folds."""

from __future__ import annotations

from typing import Any

import pandas as pd


def cells_of(groups: list[dict[str, Any]]) -> pd.DataFrame:
    """A table of cells; a group has labels (one a cell) and may have subjects, folds and parts by cell."""
    rows = []
    for number, group in enumerate(groups):
        n = len(group["labels"])
        folds = group.get("folds", [number % 3] * n)
        parts = group.get("parts", ["train"] * n)
        subjects = group.get("subjects", [f"S{number}"] * n)
        for i, (label, fold, part, subject) in enumerate(
            zip(group["labels"], folds, parts, subjects, strict=True)
        ):
            fold = None if part == "prelim" else fold
            rows.append((f"c{number}_{i}", label, subject, f"G{number}", fold, part))
    columns = ["cell_id", "label", "subject", "group", "official_fold", "official_part"]
    return pd.DataFrame(rows, columns=columns).astype({"official_fold": "Int64"})


def blocks_of(groups: list[dict[str, Any]]) -> pd.DataFrame:
    """The cells of the groups, each of which is a block."""
    cells = cells_of(groups)
    return cells.assign(block=cells["group"])


def simple_cells(n_groups: int = 9, size: int = 10, prelim: bool = False) -> pd.DataFrame:
    groups: list[dict[str, Any]] = [
        {"labels": [label] * size} for _ in range(n_groups) for label in ("ALL", "HEM")
    ]
    if prelim:
        groups += [{"labels": [label] * 7, "parts": ["prelim"] * 7} for label in ("ALL", "HEM")]
    return cells_of(groups)
