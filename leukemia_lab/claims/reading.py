"""A published table typed as CSV: one row a model, its numbers as printed."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import NamedTuple

from leukemia_lab.claims.claim import METRICS, Claim, canonical, scale_faults
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
        ClaimError: the file cannot be read, no column is a metric, or rows are not as their header says, with file,
            line and column of all these; numbers are above 100 % or not all in percent.
    """
    header, rows = _table(path)
    columns = [canonical(heading) for heading in header]
    _require_metrics(path, header)
    twice = [heading for heading in header if heading and header.count(heading) > 1]
    if twice:
        raise ClaimError(
            f"{path}: it has {header.count(twice[0])} columns {twice[0]}: keep those of the test set"
        )
    names = [heading for heading in header if heading.lower() in NAMES]
    claims, faults = [], []
    for line, row in rows:
        try:
            claims.append(_claim(line, header, names, row))
        except ClaimError as error:
            faults += [f"{path}, line {line}: {fault}" for fault in error.faults]
    faults += [f"{path}: {fault}" for fault in scale_faults(claims, all_rows=not faults)]
    if faults:
        raise ClaimError(*faults)
    others = [
        f"{heading}{nearest(heading, METRICS)}"
        for heading, column in zip(header, columns, strict=True)
        if column is None and heading not in names and heading
    ]
    return ClaimedTable(tuple(claims), tuple(others))


def _require_metrics(path: Path, header: list[str]) -> None:
    """Raise ClaimError where no column is a metric; a table with other separators looks like one without any."""
    if any(canonical(heading) in METRICS for heading in header):
        return
    line = ",".join(header)
    for separator, shown in ((";", ";"), ("\t", "tabs")):
        if any(canonical(heading) in METRICS for heading in line.split(separator)):
            raise ClaimError(
                f"{path}: its columns are separated by {shown}: save it with commas between the columns, and points "
                "in the numbers"
            )
    raise ClaimError(
        f"{path}: no column is one of {', '.join(METRICS)}, its header is {line}: separate columns by commas and name "
        f"them: {EXAMPLE}"
    )


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row that is not blank with its line."""
    if not path.exists():
        raise ClaimError(f"there is no file {path}: give the path of a CSV, table=/path/table.csv")
    if path.is_dir():
        raise ClaimError(f"{path} is a folder: give the path of a CSV, table={path / 'table.csv'}")
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


def _claim(line: int, header: list[str], names: list[str], row: list[str]) -> Claim:
    if len(row) != len(header):
        raise ClaimError(
            f"{len(row)} fields for {len(header)} columns; a field with a comma needs quotes, a decimal comma "
            "becomes a point, and an empty field needs its comma"
        )
    fields = dict(zip(header, row, strict=True))
    name = fields[names[0]] if names and fields[names[0]] else f"row {line - 1}"
    return Claim.of(
        name,
        {
            heading: f"{text}%" if _has_percent_heading(heading, text) else text
            for heading, text in fields.items()
            if canonical(heading) is not None
        },
    )


def _has_percent_heading(heading: str, text: str) -> bool:
    return "%" in heading and text[-1:].isdecimal()
