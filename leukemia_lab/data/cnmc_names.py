"""What C-NMC 2019 says in writing: the names of its image files and the preliminary phase's label CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from leukemia_lab.errors import DataError

NAME_RULE = "UID_<subject>_<image>_<cell>_<all|hem>.bmp"
_NAME = re.compile(r"UID_([A-Za-z0-9]+)_(\d+)_(\d+)_(all|hem)\.bmp", re.IGNORECASE)
_COLUMNS = ("Patient_ID", "new_names", "labels")
_CLASS_OF_CODE = {"1": "ALL", "0": "HEM"}
_FAULTS_SHOWN = 10


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


def read_prelim_labels(root: Path, tables: Sequence[str]) -> tuple[dict[str, PrelimRow], list[str]]:
    """Read the label CSVs found below `root` (none, one, or copies that agree).

    Returns the rows by lower-case file name (`1.bmp`), in the order of the file, and notes.

    Raises:
        DataError: a column is missing, or rows are unreadable or contradict each other; lists them by line.
    """
    rows: dict[str, PrelimRow] = {}
    first_seen: dict[str, str] = {}
    faults: list[str] = []
    repeats = 0
    for table in tables:
        for line, record in _records(root / table):
            where = f"{table} line {line}"
            row = _parse_row(record)
            name = record["new_names"].lower()
            if isinstance(row, str):
                faults.append(f"{where}: {row}")
            elif rows.setdefault(name, row) != row:
                faults.append(f"{where}: {name} contradicts {first_seen[name]}")
            elif first_seen.setdefault(name, where) != where:
                repeats += 1
    if faults:
        shown = "\n  ".join(faults[:_FAULTS_SHOWN])
        raise DataError(
            f"{len(faults)} rows of the preliminary labels below {root} cannot be used:\n  {shown}\n"
            "Mend them, or unpack the label file again."
        )
    return rows, [f"{repeats} rows of {' and '.join(tables)} are repeated and agree"] if repeats else []


def _records(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows as (line number, stripped values by column); blank rows are left out."""
    try:
        text = path.read_bytes().decode("utf-8-sig")  # spreadsheets write a byte-order mark
        reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
        rows = [(reader.line_num, [value.strip() for value in row]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a CSV file: {error}. Unpack it again.") from error
    rows = [(line, row) for line, row in rows if any(row)]
    header = rows[0][1] if rows else []
    missing = [column for column in _COLUMNS if column not in header]
    if missing:
        found = ", ".join(header) if header else "none"
        raise DataError(
            f"{path} lacks the column(s) {', '.join(missing)}; it has {found}. "
            f"Expected {','.join(_COLUMNS)}, as published with C-NMC 2019."
        )
    filled = [(line, row + [""] * (len(header) - len(row))) for line, row in rows[1:]]
    return [(line, dict(zip(header, row, strict=False))) for line, row in filled]


def _parse_row(record: dict[str, str]) -> PrelimRow | str:
    """The row, or what is wrong with it."""
    if not record["new_names"]:
        return "new_names is empty"
    original = parse_name(record["Patient_ID"])
    if original is None:
        return f"Patient_ID is {record['Patient_ID']!r}, expected {NAME_RULE}"
    label = _CLASS_OF_CODE.get(record["labels"])
    if label is None:
        return f"labels is {record['labels']!r}, expected 1 (ALL) or 0 (HEM)"
    return PrelimRow(label, original)
