"""A published table typed as CSV: one row a model, its numbers as printed."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import NamedTuple

from leukemia_lab.claims.claim import METRICS, Claim, canonical
from leukemia_lab.errors import ClaimError
from leukemia_lab.wording import nearest

NAMES = ("name", "model", "classifier", "method")
EXAMPLE = "model,sensitivity,specificity,accuracy"


class ClaimedTable(NamedTuple):
    """The rows of a table, and the headings of columns that the check does not know."""

    claims: tuple[Claim, ...]
    not_checked: tuple[str, ...]


def read_claims(path: Path) -> ClaimedTable:
    """Read a CSV (UTF-8) with a header: name, model, classifier or method; metrics; n_positive, n_negative, n_cells.

    Headings count in any case, `recall` is sensitivity, and `%` may stand in heading or field. Other columns are named
    in the result and else ignored.

    Raises:
        ClaimError: the file cannot be read, no column is a metric, or a row is not as its header says; names file, line
            and column.
    """
    header, rows = _table(path)
    columns = [canonical(heading) for heading in header]
    if not set(columns) & set(METRICS):
        raise ClaimError(
            f"{path}: no column is one of {', '.join(METRICS)}, its header is {','.join(header)}: separate columns by "
            f"commas and name them: {EXAMPLE}"
        )
    twice = [heading for heading in header if heading and header.count(heading) > 1]
    if twice:
        raise ClaimError(
            f"{path}: it has {header.count(twice[0])} columns {twice[0]}: keep those of the test set"
        )
    names = [heading for heading in header if heading.lower() in NAMES]
    claims = [_claim(path, line, header, names, row) for line, row in rows]
    others = [
        f"{heading}{nearest(heading, METRICS)}"
        for heading, column in zip(header, columns, strict=True)
        if column is None and heading not in names and heading
    ]
    return ClaimedTable(tuple(claims), tuple(others))


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row that is not blank with its line."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        rows = [(reader.line_num, [field.strip() for field in row]) for row in reader if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ClaimError(
            f"{path} cannot be read as CSV in UTF-8: {error}; save it as such, or correct table="
        ) from error
    if len(rows) < 2:
        raise ClaimError(f"{path} has no row of a model: give a header, {EXAMPLE}, and a row for each")
    return rows[0][1], rows[1:]


def _claim(path: Path, line: int, header: list[str], names: list[str], row: list[str]) -> Claim:
    where = f"{path}, line {line}"
    if len(row) != len(header):
        raise ClaimError(
            f"{where}: {len(row)} fields for {len(header)} columns; a field with a comma needs quotes, and "
            "an empty one its comma"
        )
    fields = dict(zip(header, row, strict=True))
    name = fields[names[0]] if names and fields[names[0]] else f"row {line - 1}"
    try:
        return Claim.of(
            name,
            {
                heading: f"{text}%" if _has_percent_heading(heading, text) else text
                for heading, text in fields.items()
                if canonical(heading) is not None
            },
        )
    except ClaimError as error:
        raise ClaimError(f"{where}: {error}") from error


def _has_percent_heading(heading: str, text: str) -> bool:
    return "%" in heading and text[-1:].isdecimal()
