from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from leukemia_lab.auditing.inspection import crossings, inventory, part_names, suspicions

NO_COPIES = pd.DataFrame(columns=["a", "b", "kind", "distance"])


def cells(*rows: dict[str, Any]) -> pd.DataFrame:
    """Cells of 100 px with one piece in the middle, but for what each row says."""
    usual = {
        "mode": "RGB", "width": 100, "height": 100, "foreground_px": 900, "n_components": 1,
        "box_x": 30, "box_y": 30, "box_w": 30, "box_h": 30, "label": "ALL", "subject": None,
        "official_fold": None, "official_part": None, "source": None,
    }  # fmt: skip
    table = pd.DataFrame([{"cell_id": f"{at}.bmp"} | usual | row for at, row in enumerate(rows)])
    for name in ("subject", "official_part", "source"):
        table[name] = table[name].astype(object).where(table[name].notna(), None)
    return table.astype({"official_fold": "Int64"})


def copies(*pairs: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame([(a, b, "near", 0.01234) for a, b in pairs], columns=list(NO_COPIES))


@pytest.mark.parametrize(
    ("odd", "fault", "detail"),
    [
        ({"mode": "L"}, "wrong mode", "L, most files are RGB"),
        ({"n_components": 2}, "several components", "2 separate pieces"),
        ({"box_x": 0}, "touches the border", "left"),
        ({"box_y": 70, "box_x": 70}, "touches the border", "right, bottom"),
        ({"box_y": 0, "n_components": 1}, "touches the border", "top"),
    ],
)
def test_an_odd_cell(odd: dict[str, Any], fault: str, detail: str) -> None:
    (found,) = suspicions(cells({}, odd, {}), NO_COPIES)
    assert (found.file, found.fault, found.detail) == ("1.bmp", fault, detail)


def test_usual_cells_are_not_odd() -> None:
    assert suspicions(cells({}, {}), NO_COPIES) == []
    grey = cells({"mode": "L"}, {"mode": "L"}, {"mode": "RGB"})
    assert suspicions(grey, NO_COPIES) == []
    bright = {"foreground_px": 9900, "n_components": 3, "box_x": 0, "box_y": 0, "box_w": 100, "box_h": 100}
    assert suspicions(cells(bright), NO_COPIES) == []


def test_a_subject_in_two_classes() -> None:
    table = cells({"subject": "1"}, {"subject": "1", "label": "HEM"}, {"subject": "2"}, {"label": "HEM"})
    found = suspicions(table, NO_COPIES)
    assert [(fault.file, fault.fault) for fault in found] == [
        ("0.bmp", "subject in two classes"),
        ("1.bmp", "subject in two classes"),
    ]
    assert found[0].detail == "1: ALL, HEM"


def test_copies_of_two_classes_contradict_each_other() -> None:
    table = cells({}, {"label": "HEM"}, {})
    found = suspicions(table, copies(("0.bmp", "1.bmp"), ("0.bmp", "2.bmp")))
    assert [(fault.file, fault.detail) for fault in found] == [
        ("0.bmp", "ALL, its copy 1.bmp is HEM"),
        ("1.bmp", "HEM, its copy 0.bmp is ALL"),
    ]


def test_the_parts_of_a_data_set() -> None:
    table = cells(
        {"official_fold": 2, "official_part": "train"},
        {"official_part": "prelim"},
        {"official_part": "train"},
        {},
    )
    assert list(part_names(table)) == ["fold_2", "prelim", "train", "all"]


def test_the_inventory_counts_cells_and_subjects_and_names_what_is_absent() -> None:
    table = cells(
        {"official_fold": 0, "subject": "1"},
        {"official_fold": 0, "subject": "1"},
        {"official_fold": 0, "label": "HEM", "subject": "H2"},
        {"source": "ours", "subject": "OURS:1"},
    )
    rows = inventory(table, {("fold_0", "ALL"): (3, 1), ("fold_1", "HEM"): (7, 2)})
    assert [tuple(row.values()) for row in rows] == [
        ("fold_0", "ALL", 2, 1, 3, 1),
        ("fold_0", "HEM", 1, 1, None, None),
        ("fold_1", "HEM", 0, 0, 7, 2),
        ("ours: all", "ALL", 1, 1, None, None),
    ]


def test_what_copies_cross() -> None:
    table = cells(
        {"subject": "1", "official_fold": 0, "official_part": "train"},
        {"subject": "2", "official_fold": 1, "official_part": "train"},
        {"subject": "1", "official_part": "prelim", "label": "HEM", "source": "ours"},
        {"subject": "1", "official_fold": 0, "official_part": "train"},
    )
    found = crossings(copies(("0.bmp", "1.bmp"), ("0.bmp", "2.bmp"), ("0.bmp", "3.bmp")), table)
    assert [pair["crosses"] for pair in found] == [
        ["subject", "fold"],
        ["fold", "part", "class", "source"],
        [],
    ]
    assert found[0]["distance"] == 0.0123
    assert (found[0]["subject_a"], found[0]["subject_b"]) == ("1", "2")
