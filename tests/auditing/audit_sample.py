"""An audit document as C-NMC might give it: wrong in every way that the page has words for."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt

BORDERS = ("subject", "fold", "part", "class", "source")
INVENTORY = (
    ("fold_0", "ALL", 2396, 19, 2397, 19),
    ("fold_0", "HEM", 1130, 9, 1130, 9),
    ("fold_1", "ALL", 2418, 11, 2418, 11),
    ("fold_1", "HEM", 1163, 3, 1163, 3),
    ("fold_2", "ALL", 2457, 17, 2457, 17),
    ("fold_2", "HEM", 1096, 14, 1096, 14),
    ("prelim", "ALL", 1219, 13, 1219, 13),
    ("prelim", "HEM", 648, 15, None, None),
)


def sample() -> dict[str, Any]:
    """A document of its own for each caller, who may spoil it."""
    keys = ("part", "label", "cells", "subjects", "expected_cells", "expected_subjects")
    faults = [fault(f"fold_0/all/UID_1_{k}_1_all.bmp", "touches the border", True) for k in range(12)]
    return {
        "version": 1,
        "data": {"name": "cnmc", "root": "/data/C-NMC", "fingerprint": "5b" * 32},
        "made": "2026-11-22T05:00:00+00:00",
        "command": "python -m leukemia_lab.audit data=cnmc data.root=/data/C-NMC",
        "versions": {"python": "3.11.9", "leukemia_lab": "0.1.0", "numpy": "2.4.6"},
        "stamps": ["SYNTHETIC"],
        "has_pixels": True,
        "n_files": 12531,
        "n_cells": 12527,
        "n_subjects": 101,
        "n_groups": 93,
        "class_counts": {"ALL": 8490, "HEM": 4037},
        "files": {"cells": 12527, "unusable": 1, "label_files": 1, "ignored": 2},
        "ignored": [
            {"file": "x/readme.txt", "reason": "hidden or not an image"},
            {"file": "testing_data/1.bmp", "reason": "final phase, no label"},
        ],
        "inventory": [dict(zip(keys, row, strict=True)) for row in INVENTORY],
        "expected": {
            "known": True,
            "agrees": False,
            "differences": ["fold_0 ALL: 2,396 cells, 2,397 expected"],
            "rows_without_file": ["5.bmp"],
            "files_without_row": ["7.bmp"],
            "manifests": [
                {
                    "file": "m.csv",
                    "checked": 10661,
                    "differing": ["a.bmp"],
                    "missing": [],
                    "not_listed": 3,
                }
            ],
        },
        "faults": [fault("fold_0/all/UID_1_1_1_all.bmp", "truncated", False), *faults],
        "fault_counts": {"touches the border": 12, "truncated": 1},
        "pairs": [
            *(pair(k, "identical", 0.0, ["subject", "fold"]) for k in range(90)),
            *(pair(k, "near", 0.021, ["subject"]) for k in range(90, 190)),
            pair(190, "pixels", 0.0, ["subject", "part"]),
            pair(191, "identical", 0.0, ["class"]),
            pair(192, "near", 0.0634, []),
        ],
        "pair_counts": {"identical": 91, "pixels": 1, "near": 101},
        "groups": [["20", "21"], ["51", "75", "78"], ["H2", "H4", "H5", "H6", "H7"]],
        "twins": [
            twin("20", "21", 71, 0.004, 1e-200, "merged", ["fold"]),
            twin("51", "78", 86, 0.1, 3.2e-180, "merged", ["fold"]),
            twin("51", "75", 59, 0.05, 0.0, "merged", ["fold"]),
            twin("H2", "H4", 7, 0.00002, 2e-8, "merged by the user", []),
            twin("17", "18", 1, 0.0121, 0.012, "tied", []),
            twin("8", "9", 2, 0.01, 4e-4, "kept apart", ["part"]),
        ],
        "confounds": confounds(),
        "notes": ["Subject h3 is read as H3: one subject is stored in lower case."],
    }


def fault(file: str, name: str, usable: bool) -> dict[str, Any]:
    return {"file": file, "fault": name, "detail": "what was seen", "usable": usable}


def pair(number: int, kind: str, distance: float, crosses: list[str]) -> dict[str, Any]:
    return {
        "a": f"C-NMC_training_data/fold_0/all/UID_20_{number}_1_all.bmp",
        "b": f"C-NMC_training_data/fold_2/all/UID_21_{number}_4_all.bmp",
        "kind": kind,
        "distance": distance,
        "crosses": crosses,
        "subject_a": "20",
        "subject_b": "21",
    }


def twin(
    a: str, b: str, shared: int, expected: float, p_value: float, verdict: str, crosses: list[str]
) -> dict[str, Any]:
    return {
        "a": a,
        "b": b,
        "shared": shared,
        "expected": expected,
        "p_value": p_value,
        "verdict": verdict,
        "crosses": crosses,
    }


def confounds() -> dict[str, Any]:
    constant = {"value": None, "low": None, "high": None, "reason": "constant"}
    features = {"size": 0.81, "colour": 0.56, "sharpness": 0.62, "all": 0.84}
    classes = {
        name: {"auroc": around(value, 0.06), "balanced_accuracy": around(value - 0.07, 0.05)}
        for name, value in features.items()
    }
    worth = {"icc": 0.285, "design_effect": 74.2, "n_cells": 7272, "n_effective": 98.0, "n_subjects": 47}
    return {
        "class": {**classes, "file_size": {"auroc": constant, "balanced_accuracy": constant}},
        "subject": {
            "size": {"balanced_accuracy": 0.05, "chance": 0.014, "n_subjects": 70, "n_cells": 12000},
            "colour": {"balanced_accuracy": 0.112, "chance": 0.014, "n_subjects": 70, "n_cells": 12000},
        },
        "icc": {
            "ALL": {"box_side": worth, "sharpness": worth | {"icc": 0.1, "n_effective": 260.0}},
            "HEM": {"box_side": worth | {"n_cells": 3389, "n_effective": 69.4, "n_subjects": 26}},
        },
    }


def around(value: float, half: float) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def picture(cell_id: str) -> npt.NDArray[np.uint8] | None:
    """A purple disc on black, its colour by the name; None for one name in seven."""
    rng = np.random.default_rng(sum(map(ord, cell_id)))
    if rng.integers(7) == 0:
        return None
    rows, columns = np.mgrid[:450, :450]
    disc = np.hypot(rows - 225, columns - 225) < rng.uniform(80, 120)
    colour = rng.normal((70, 30, 80), 8)
    return (disc[..., None] * np.clip(colour + rng.normal(0, 12, (450, 450, 1)), 0, 255)).astype(np.uint8)


def places(document: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every value in the document, itself left out."""
    inner = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    return [found for key, value in inner for found in [(*path, key), *places(value, (*path, key))]]


def without(document: dict[str, Any], path: tuple[str | int, ...], how: str) -> dict[str, Any]:
    """A copy in which the value at `path` is `removed`, `null` or `empty` (null where it holds nothing)."""
    spoilt = copy.deepcopy(document)
    holder: Any = spoilt
    for key in path[:-1]:
        holder = holder[key]
    if how == "removed":
        del holder[path[-1]]
    else:
        value = holder[path[-1]]
        holder[path[-1]] = type(value)() if how == "empty" and isinstance(value, dict | list) else None
    return spoilt
