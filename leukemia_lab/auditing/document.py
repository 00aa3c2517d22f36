"""The audit document (`audit.json`) made whole, so that whoever shows it meets no missing key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ANY_KEY = "*"
_ESTIMATE = {"value": None, "low": None, "high": None, "reason": None}
# A mapping holds these keys, or any (ANY_KEY); a list holds rows like its one entry; [] holds plain values.
_SHAPE: dict[str, Any] = {
    "data": {"name": None, "root": None, "fingerprint": None},
    "made": None,
    "command": None,
    "versions": {ANY_KEY: None},
    "stamps": [],
    "has_pixels": None,
    "n_files": None,
    "n_cells": None,
    "n_subjects": None,
    "n_groups": None,
    "class_counts": {ANY_KEY: None},
    "files": {"cells": None, "unusable": None, "label_files": None, "ignored": None},
    "ignored": [{"file": None, "reason": None}],
    "inventory": [
        {
            "part": None,
            "label": None,
            "cells": None,
            "subjects": None,
            "expected_cells": None,
            "expected_subjects": None,
        }
    ],
    "expected": {
        "known": None,
        "agrees": None,
        "differences": [],
        "rows_without_file": [],
        "files_without_row": [],
        "manifests": [{"file": None, "checked": None, "differing": [], "missing": [], "not_listed": None}],
    },
    "faults": [{"file": None, "fault": None, "detail": None, "usable": None}],
    "fault_counts": {ANY_KEY: None},
    "pairs": [
        {
            "a": None,
            "b": None,
            "kind": None,
            "distance": None,
            "crosses": [],
            "subject_a": None,
            "subject_b": None,
        }
    ],
    "pair_counts": {ANY_KEY: None},
    "groups": [[]],
    "twins": [
        {
            "a": None,
            "b": None,
            "shared": None,
            "expected": None,
            "p_value": None,
            "verdict": None,
            "crosses": [],
        }
    ],
    "confounds": {
        "class": {ANY_KEY: {"auroc": _ESTIMATE, "balanced_accuracy": _ESTIMATE}},
        "subject": {
            ANY_KEY: {
                "balanced_accuracy": None,
                "chance": None,
                "n_subjects": None,
                "n_cells": None,
                "reason": None,
            }
        },
        "icc": {
            ANY_KEY: {
                ANY_KEY: {
                    "icc": None,
                    "design_effect": None,
                    "n_cells": None,
                    "n_effective": None,
                    "n_subjects": None,
                    "reason": None,
                }
            }
        },
    },
    "notes": [],
}


def completed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with every key of the format: an absent mapping or list is empty, an absent value None."""
    whole: dict[str, Any] = _filled(document, _SHAPE)
    return whole


def checked(document: Mapping[str, Any], key: str) -> bool:
    """Whether the audit looked at `key` at all: an empty list of faults is good news, an absent one is none."""
    return document.get(key) is not None


def _filled(given: Any, shape: Any) -> Any:
    if isinstance(shape, dict):
        known = given if isinstance(given, Mapping) else {}
        if ANY_KEY in shape:
            # A remark may stand beside the entries of a table; it is no entry.
            rows = isinstance(shape[ANY_KEY], dict)
            return {
                key: _filled(value, shape[ANY_KEY])
                for key, value in known.items()
                if not (rows and isinstance(value, str))
            }
        return {key: _filled(known.get(key), part) for key, part in shape.items()}
    if isinstance(shape, list):
        rows_given = [] if given is None else [row for row in given if row is not None]
        return [_filled(row, shape[0]) for row in rows_given] if shape else rows_given
    return given
