"""What C-NMC 2019 says in writing: the names of its image files and the preliminary phase's label CSV."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from leukemia_lab.data.label_tables import BadRow, Columns, Labels, read_labels

NAME_RULE = "UID_<subject>_<image>_<cell>_<all|hem>.bmp"
_NAME = re.compile(r"UID_([A-Za-z0-9]+)_([0-9]{1,9})_([0-9]{1,9})_(all|hem)\.bmp", re.IGNORECASE)
_COLUMNS = ("Patient_ID", "new_names", "labels")  # as published
_CLASS_OF_CODE = {"1": "ALL", "0": "HEM"}


class CellName(NamedTuple):
    """`UID_h3_1_2_hem.bmp` taken apart: subject H3, image 1, cell 2, label HEM."""

    subject: str
    image: int
    cell: int
    label: str


class PrelimRow(NamedTuple):
    """One row of the label CSV: the label by its code, and the original name, which repeats it."""

    label: str
    original: CellName


def parse_name(name: str) -> CellName | None:
    """Take an original file name apart, in any case (one subject is stored as `h3`); None for other names."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    subject, image, cell, label = match.groups()
    return CellName(subject.upper(), int(image), int(cell), label.upper())


def read_prelim_labels(root: Path, tables: Sequence[str]) -> Labels[PrelimRow]:
    """Read the label CSVs found below `root` (none, one, or copies), by lower-case file name (`1.bmp`)."""
    columns = Columns({name: (name.lower(),) for name in _COLUMNS}, _COLUMNS)
    return read_labels({table: root / table for table in tables}, columns, _parse_row)


def _parse_row(values: dict[str, str]) -> tuple[str, PrelimRow] | BadRow:
    name = values["new_names"].lower()
    if not name:
        return BadRow(None, "unreadable row", "new_names is empty")
    original = parse_name(values["Patient_ID"])
    if original is None:
        return BadRow(name, "unreadable row", f"Patient_ID is {values['Patient_ID']!r}, expected {NAME_RULE}")
    label = _CLASS_OF_CODE.get(values["labels"])
    if label is None:
        return BadRow(name, "unreadable row", f"labels is {values['labels']!r}, expected 1 (ALL) or 0 (HEM)")
    return name, PrelimRow(label, original)
