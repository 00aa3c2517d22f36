"""What C-NMC 2019 is known to hold (doi 10.7937/tcia.2019.dc64i46r), and how a tree differs from it."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

# By official part and class, as published.
EXPECTED_CELLS = {
    ("fold_0", "ALL"): 2397,
    ("fold_0", "HEM"): 1130,
    ("fold_1", "ALL"): 2418,
    ("fold_1", "HEM"): 1163,
    ("fold_2", "ALL"): 2457,
    ("fold_2", "HEM"): 1096,
    ("prelim", "ALL"): 1219,
    ("prelim", "HEM"): 648,
}
# Subject names, of which some share cells: 101 names, of which 73 in the training folds.
EXPECTED_SUBJECTS = {
    ("fold_0", "ALL"): 19,
    ("fold_0", "HEM"): 9,
    ("fold_1", "ALL"): 11,
    ("fold_1", "HEM"): 3,
    ("fold_2", "ALL"): 17,
    ("fold_2", "HEM"): 14,
    ("prelim", "ALL"): 13,
    ("prelim", "HEM"): 15,
}
# By part; the preliminary files have a longer header, the final ones more pixels.
EXPECTED_FILE_BYTES = {"train": 608_454, "prelim": 608_538, "final": 1_080_054}
EXPECTED_SIDE_PX = {"train": 450, "prelim": 450, "final": 600}


class PartCount(NamedTuple):
    """Cells and subject names of one class in one official part, found and published."""

    part: str
    label: str
    cells: int
    subjects: int
    expected_cells: int
    expected_subjects: int


def count_parts(table: pd.DataFrame) -> list[PartCount]:
    """Count the cells of an index's `table` by official part and class, in the order of EXPECTED_CELLS."""
    rows = zip(table["official_part"], table["official_fold"], strict=True)
    parts = [part if part == "prelim" else f"fold_{fold}" for part, fold in rows]
    subjects = {key: cells["subject"] for key, cells in table.groupby([parts, table["label"]])}
    none = pd.Series(dtype=object)
    return [
        PartCount(*key, len(found), found.nunique(), n_cells, EXPECTED_SUBJECTS[key])
        for key, n_cells in EXPECTED_CELLS.items()
        for found in [subjects.get(key, none)]
    ]


def differences(counts: list[PartCount]) -> list[str]:
    """What differs from what was published: `fold_0 ALL: 29 cells, 2397 expected`."""
    return [
        f"{count.part} {count.label}: {found} {what}, {expected} expected"
        for count in counts
        for found, what, expected in (
            (count.cells, "cells", count.expected_cells),
            (count.subjects, "subjects", count.expected_subjects),
        )
        if found != expected
    ]
