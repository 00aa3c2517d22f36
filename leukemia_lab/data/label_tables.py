"""Label tables: CSV files that say what the files of a tree are. What cannot be used is listed, not raised."""

from __future__ import annotations

import codecs
import csv
import io
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from leukemia_lab.data.layouts import Fault

Row = TypeVar("Row")


class BadRow(NamedTuple):
    """A row that cannot be used: the file that it names, where it names one, a short code, and what is wrong."""

    name: str | None
    fault: str
    detail: str


class _BadTable(NamedTuple):
    fault: str
    detail: str


class _Record(NamedTuple):
    line: int
    values: dict[str, str]  # stripped, by column
    problem: str | None


class _Said(NamedTuple, Generic[Row]):
    table: str
    line: int
    row: Row | BadRow


@dataclass(frozen=True)
class Columns:
    """The columns of a table: how each may be spelt, in lower case, and which it must have."""

    spellings: Mapping[str, tuple[str, ...]]
    required: tuple[str, ...]


@dataclass(frozen=True)
class Labels(Generic[Row]):
    """What label tables say of files, by name.

    A name is in `rows`, or in `bad_rows` where a row of its own cannot be used or two contradict each other;
    the faults there are of the table. `table_faults` are those of whole tables, `nameless` those of rows that
    name no file.
    """

    rows: dict[str, Row]
    bad_rows: dict[str, Fault]
    table_faults: list[Fault]
    nameless: list[Fault]
    notes: list[str]

    def file_fault(self, name: str, file: str) -> Fault:
        """The fault of the file that a bad row names."""
        bad = self.bad_rows[name]
        return Fault(file, bad.fault, f"{bad.file} {bad.detail}")

    def faults_without_file(self, names_with_file: Collection[str]) -> list[Fault]:
        """The faults that are no file's: of tables, and of rows whose name no file has."""
        bad = [fault for name, fault in self.bad_rows.items() if name not in names_with_file]
        return self.table_faults + self.nameless + bad


def read_labels(
    tables: Mapping[str, Path], columns: Columns, parse: Callable[[dict[str, str]], tuple[str, Row] | BadRow]
) -> Labels[Row]:
    """Read tables (path by the name that faults call them) in UTF-8, or UTF-16 with a byte-order mark.

    `parse` gets a row's values by column, "" where there is none, and returns the file that it names and what
    it says of it. Rows of one name must be equal; header names count in any case; blank rows do not count.
    """
    labels: Labels[Row] = Labels({}, {}, [], [], [])
    said: defaultdict[str, list[_Said[Row]]] = defaultdict(list)
    for table, path in tables.items():
        records = _records(path, columns)
        if isinstance(records, _BadTable):
            labels.table_faults.append(Fault(table, *records))
            continue
        for record in records:
            name, row = _parsed(record, parse)
            if name is not None:
                said[name].append(_Said(table, record.line, row))
            elif isinstance(row, BadRow):
                labels.nameless.append(_row_fault(table, record.line, row))
    repeats = 0
    for name, rows in said.items():
        merged = _merged(name, rows)
        if isinstance(merged, Fault):
            labels.bad_rows[name] = merged
        else:
            labels.rows[name] = merged
            repeats += len(rows) - 1
    if repeats:
        labels.notes.append(f"{repeats} rows of {' and '.join(tables)} are repeated and agree")
    return labels


def _parsed(
    record: _Record, parse: Callable[[dict[str, str]], tuple[str, Row] | BadRow]
) -> tuple[str | None, Row | BadRow]:
    parsed = parse(record.values)
    name, row = (parsed.name, parsed) if isinstance(parsed, BadRow) else parsed
    return name, row if record.problem is None else BadRow(name, "unreadable row", record.problem)


def _merged(name: str, rows: list[_Said[Row]]) -> Row | Fault:
    """What all rows of a name say, or the first fault among them."""
    for table, line, row in rows:
        if isinstance(row, BadRow):
            return _row_fault(table, line, row)
    good = [(table, line, row) for table, line, row in rows if not isinstance(row, BadRow)]
    first_table, first_line, first_row = good[0]
    for table, line, row in good:
        if row != first_row:
            detail = f"{name} contradicts {first_table} line {first_line}"
            return _row_fault(table, line, BadRow(name, "contradicting labels", detail))
    return first_row


def _row_fault(table: str, line: int, bad: BadRow) -> Fault:
    return Fault(table, bad.fault, f"line {line}: {bad.detail}")


def _records(path: Path, columns: Columns) -> list[_Record] | _BadTable:
    try:
        if path.exists() and not path.is_file():  # a named pipe would be waited for without end
            return _BadTable("unreadable table", "not a regular file")
        reader = csv.reader(io.StringIO(_decoded(path.read_bytes()), newline=""), skipinitialspace=True)
        rows = [(reader.line_num, [value.strip() for value in row]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return _BadTable("unreadable table", f"no CSV file in UTF-8 or UTF-16: {error}")
    rows = [(line, row) for line, row in rows if any(row)]
    header = rows[0][1] if rows else []
    places = _places(header, columns)
    if isinstance(places, _BadTable):
        return places
    return [
        _Record(
            line,
            dict.fromkeys(columns.spellings, "")
            | {name: row[place] for name, place in places.items() if place < len(row)},
            _problem(row, len(header)),
        )
        for line, row in rows[1:]
    ]


def _decoded(data: bytes) -> str:
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig")  # spreadsheets write a byte-order mark


def _places(header: list[str], columns: Columns) -> dict[str, int] | _BadTable:
    """Where each column stands: the known ones by their own name, the others by that in the header."""
    own_name = {spelling: name for name, spellings in columns.spellings.items() for spelling in spellings}
    places: dict[str, int] = {}
    for place, title in enumerate(header):
        name = own_name.get(title.lower(), title)
        if name in places and name in columns.spellings:
            return _BadTable("repeated column", f"{header[places[name]]} and {title} both give the {name}")
        if name:
            places[name] = place
    missing = [name for name in columns.required if name not in places]
    if missing:
        found = ", ".join(header) if header else "none"
        return _BadTable("missing column", f"lacks {', '.join(missing)}; it has {found}")
    return places


def _problem(row: list[str], n_columns: int) -> str | None:
    """What tells that a row was not split into columns as its writer meant."""
    if any(row[n_columns:]):
        return f"{len(row)} values for {n_columns} columns; a value with a comma needs quotes"
    if any("\n" in value or "\r" in value for value in row):
        return "a value holds a line break; is a quote missing?"
    return None
