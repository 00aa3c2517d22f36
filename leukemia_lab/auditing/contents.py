"""What an audit found, as it stands in audit.json."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from leukemia_lab.auditing.confounds import confounds, measured_only
from leukemia_lab.auditing.inspection import crossings, inventory, suspicions
from leukemia_lab.data.cnmc_expected import EXPECTED_CELLS, EXPECTED_SUBJECTS
from leukemia_lab.data.index import CellIndex, Fault, Scan
from leukemia_lab.data.layouts import NO_ROW, Ignored
from leukemia_lab.data.manifests import OTHER_BYTES, ManifestCheck
from leukemia_lab.data.twins import BY_CHANCE, PAIR_COLUMNS, Evidence, Twins
from leukemia_lab.pages.formats import counted
from leukemia_lab.wording import natural

FORMAT_VERSION = 1
CROSSED = {"official_fold": "fold", "official_part": "part", "label": "class"}


@dataclass(frozen=True)
class Findings:
    """All that an audit looks at: `index` has twins merged and holds no file that differs from `manifests`; `scans`
    are its trees by source, none where a table alone was read.
    """

    index: CellIndex
    scans: Mapping[str, Scan]
    evidence: Evidence
    twins: Twins
    manifests: Sequence[ManifestCheck]


def audit_document(found: Findings, *, is_cnmc: bool, about: Mapping[str, Any]) -> dict[str, Any]:
    """The content of audit.json; `about` holds what the command knows (data, command, versions, stamps)."""
    table = found.index.table
    pairs = crossings(found.evidence.copies, table)
    faults = _faults(found)
    ignored = _ignored(found)
    seen = found.index.has_pixels
    judged = confounds(table, found.index.class_names, found.index.positive)
    return {
        "version": FORMAT_VERSION,
        **about,
        "has_pixels": seen,
        "n_files": sum(scan.listing.n_files for scan in found.scans.values()) if seen else None,
        "n_cells": len(table),
        "n_subjects": int(table["subject"].dropna().nunique()),
        "n_groups": len(set(found.twins.group_of.values())),
        "class_counts": {str(name): int(n) for name, n in table["label"].value_counts().sort_index().items()},
        "files": _files(found, len(ignored)) if seen else None,
        "ignored": [{"file": file.file, "reason": file.reason} for file in ignored],
        **_expected(found, ignored, is_cnmc),
        "faults": faults,
        "fault_counts": dict(Counter(fault["fault"] for fault in faults).most_common()),
        "pairs": pairs,
        "pair_counts": dict(Counter(pair["kind"] for pair in pairs).most_common()),
        "groups": found.twins.groups,
        "twins": _twins(found),
        "confounds": judged if seen else measured_only(judged, table),
        "notes": list(found.index.notes),
    }


def _files(found: Findings, n_ignored: int) -> dict[str, int]:
    """What became of the files: each number is counted by itself, so that a lost file shows in their sum."""
    scans = found.scans.values()
    of_files = sum(len(scan.faults) - len(scan.listing.other_faults) for scan in scans)
    other_bytes = {fault.file for fault in found.index.faults if fault.fault == OTHER_BYTES}
    return {
        "cells": len(found.index.table),
        "unusable": of_files + len(other_bytes),
        "label_files": sum(len(scan.listing.label_files) for scan in scans),
        "ignored": n_ignored,
    }


def _ignored(found: Findings) -> list[Ignored]:
    """Files that are neither cells nor at fault; of a combined data set also the cells of classes left out."""
    used = set(found.index.table["cell_id"])
    ignored = []
    for source, scan in found.scans.items():
        ignored += [Ignored(_below(source, file.file), file.reason) for file in scan.listing.ignored]
        cells = zip(scan.table["cell_id"], scan.table["label"], strict=True) if source else ()
        ignored += [
            Ignored(_below(source, cell), f"data.trees.{source}.classes leaves {label} out")
            for cell, label in cells
            if _below(source, cell) not in used
        ]
    return ignored


def _faults(found: Findings) -> list[dict[str, Any]]:
    usable = suspicions(found.index.table, found.evidence.copies)
    return [_fault(fault, usable=False) for fault in found.index.faults] + [
        _fault(fault, usable=True) for fault in usable
    ]


def _fault(fault: Fault, *, usable: bool) -> dict[str, Any]:
    return {"file": fault.file, "fault": fault.fault, "detail": fault.detail, "usable": usable}


def _expected(found: Findings, ignored: Sequence[Ignored], is_cnmc: bool) -> dict[str, Any]:
    """The inventory and how it differs from what is expected of C-NMC, of label tables and of manifests."""
    published = {key: (n, EXPECTED_SUBJECTS[key]) for key, n in EXPECTED_CELLS.items()} if is_cnmc else {}
    rows = inventory(found.index.table, published)
    differences = [
        f"{row['part']} {row['label']}: {counted(row[what], what[:-1])}, {row[f'expected_{what}']:,} expected"
        for row in rows
        for what in ("cells", "subjects")
        if is_cnmc and row[what] != row[f"expected_{what}"]
    ]
    without_file = [file for scan in found.scans.values() for file in scan.listing.rows_without_file]
    without_row = [fault.file for fault in found.index.faults if fault.fault == "no label"]
    without_row += [file.file for file in ignored if file.reason.startswith(NO_ROW)]
    checks = [
        {
            "file": str(check.file),
            "checked": check.checked,
            "differing": list(check.differing),
            "missing": list(check.missing),
            "not_listed": check.not_listed,
        }
        for check in found.manifests
    ]
    disagrees = (
        differences or without_file or without_row or any(c["differing"] or c["missing"] for c in checks)
    )
    agrees = False if disagrees else True if is_cnmc or checks else None
    return {
        "inventory": rows,
        "expected": {
            "known": is_cnmc,
            "agrees": agrees,
            "differences": differences,
            "rows_without_file": without_file,
            "files_without_row": without_row,
            "manifests": checks,
        },
    }


def _twins(found: Findings) -> list[dict[str, Any]]:
    """The pairs of names that share cells, but for those whose boxes agree by chance, with what they cross."""
    places = {column: _places(found.index.table, column) for column in CROSSED}
    rows = found.twins.pairs[found.twins.pairs["verdict"] != BY_CHANCE]
    listed = [
        {
            "a": a,
            "b": b,
            "shared": int(shared),
            "expected": float(expected),
            "p_value": float(p_value),
            "verdict": verdict,
            "crosses": [
                what for column, what in CROSSED.items() if len(places[column][a] | places[column][b]) > 1
            ],
        }
        for a, b, shared, expected, p_value, verdict in zip(
            *(rows[name] for name in PAIR_COLUMNS), strict=True
        )
    ]
    return sorted(listed, key=lambda pair: (-pair["shared"], natural(pair["a"]), natural(pair["b"])))


def _places(table: pd.DataFrame, column: str) -> dict[str, set[object]]:
    """The folds, parts or classes that each subject has cells in."""
    places: defaultdict[str, set[object]] = defaultdict(set)
    for subject, place in zip(table["subject"], table[column], strict=True):
        if subject is not None:
            places[subject].update(set() if pd.isna(place) else {place})
    return places


def _below(source: str, file: str) -> str:
    return f"{source}/{file}" if source else file


def n_unusable(document: Mapping[str, Any]) -> int:
    """The number of faults that make a file, a row of a label table or a folder unusable."""
    return sum(not fault["usable"] for fault in document["faults"])
