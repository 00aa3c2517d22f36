"""The audit on the terminal: the verdict first, then compact tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from leukemia_lab.auditing.document import completed
from leukemia_lab.auditing.overview import BORDERS, both_names, copy_counts, faults_by_kind
from leukemia_lab.auditing.verdict import Finding, verdict
from leukemia_lab.pages.formats import (
    ABSENT,
    counted,
    decimal,
    estimate,
    expected,
    p_value,
    printable,
    whole,
    words,
)

MAX_ROWS = 15
LEVEL_NAMES = {"act": "to do", "know": "to know", "fine": "fine"}
LEVEL_STYLES = {"act": "bold red", "know": "yellow", "fine": "green"}
Document = Mapping[str, Any]
Row = Sequence[str | None]


def summary(document: Document) -> RenderableType:
    """What the command prints of an audit document, which may lack any of its parts."""
    full = completed(document)
    tables = (
        _inventory(full),
        _faults(full),
        _copies(full),
        _twins(full),
        _class_confounds(full),
        _subject_confounds(full),
        _worth(full),
    )
    return Group(
        _title(full), _findings(verdict(document)), *(table for table in tables if table is not None)
    )


def _title(document: Document) -> Text:
    stamps = "".join(f" [{stamp}]" for stamp in document["stamps"])
    size = ", ".join(
        f"{whole(document[key])} {noun}"
        for key, noun in (("n_cells", "cells"), ("n_subjects", "subject names"), ("n_groups", "groups"))
        if document[key] is not None
    )
    name, root = document["data"]["name"], document["data"]["root"]
    where = ", ".join(text for text in (root, size) if text)
    return Text.assemble(
        (printable(f"Audit of {ABSENT if name is None else name}{stamps}"), "bold"), f"\n{printable(where)}\n"
    )


def _findings(findings: Iterable[Finding]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        level = Text(LEVEL_NAMES[finding.level], LEVEL_STYLES[finding.level])
        table.add_row(level, Text(printable(finding.text)))
    return table


def _inventory(document: Document) -> Table | None:
    rows = [
        (
            row["part"],
            row["label"],
            whole(row["cells"]),
            whole(row["expected_cells"]),
            whole(row["subjects"]),
            whole(row["expected_subjects"]),
        )
        for row in document["inventory"]
    ]
    return _table("Inventory", ("part", "class"), ("cells", "expected", "subjects", "expected"), rows)


def _faults(document: Document) -> Table | None:
    usable = {True: "yes", False: "no", None: "some"}
    rows = [
        (
            fault.name,
            usable[fault.usable],
            fault.files[0] if fault.files else None,
            fault.detail,
            whole(fault.n_files),
        )
        for fault in faults_by_kind(document)
    ]
    return _table("Faults", ("fault", "usable", "first file", "its reason"), ("files",), rows)


def _copies(document: Document) -> Table | None:
    rows = [
        (kind, *(whole(n) for n in (n_pairs, *crossing, within)))
        for kind, n_pairs, crossing, within in copy_counts(document)
    ]
    return _table("Pairs of copies, and what they cross", ("kind",), ("pairs", *BORDERS, "none"), rows)


def _twins(document: Document) -> Table | None:
    rows = [
        (
            both_names(twin),
            twin["verdict"],
            ", ".join(twin["crosses"]),
            whole(twin["shared"]),
            expected(twin["expected"]),
            p_value(twin["p_value"]),
        )
        for twin in document["twins"]
    ]
    columns = ("subject names", "verdict", "crosses")
    return _table("Subject names that share cells", columns, ("shared", "by chance", "p"), rows)


def _class_confounds(document: Document) -> Table | None:
    rows = [
        (words(name), estimate(row["auroc"]), estimate(row["balanced_accuracy"]))
        for name, row in document["confounds"]["class"].items()
        if row["auroc"]["value"] is not None
    ]
    return _table("The class from one plain feature", ("feature",), ("AUROC", "balanced accuracy"), rows)


def _subject_confounds(document: Document) -> Table | None:
    rows = [
        (words(name), decimal(row["balanced_accuracy"]), decimal(row["chance"]), whole(row["n_subjects"]))
        for name, row in document["confounds"]["subject"].items()
        if row["balanced_accuracy"] is not None
    ]
    columns = ("balanced accuracy", "chance", "subjects")
    return _table("The subject from one plain feature", ("feature",), columns, rows)


def _worth(document: Document) -> Table | None:
    rows = [
        (
            label,
            words(feature),
            decimal(row["icc"]),
            decimal(row["design_effect"], 1),
            whole(row["n_cells"]),
            whole(row["n_effective"]),
        )
        for label, features in document["confounds"]["icc"].items()
        for feature, row in features.items()
        if row["n_effective"] is not None
    ]
    columns = ("correlation", "design effect", "cells", "effective")
    return _table("What the cells are worth (intraclass correlation)", ("class", "feature"), columns, rows)


def _table(title: str, texts: Sequence[str], numbers: Sequence[str], rows: Sequence[Row]) -> Table | None:
    """The first MAX_ROWS rows: columns of text, then columns of numbers. None where there are no rows."""
    if not rows:
        return None
    more = len(rows) - MAX_ROWS
    note = f"{counted(more, 'row')} more in audit.html" if more > 0 else None
    # As Text: Rich would take a file name in brackets for markup.
    table = Table(
        title=Text(f"\n{title}"),
        title_justify="left",
        caption=note,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for name in texts:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right")
    for row in rows[:MAX_ROWS]:
        table.add_row(*(Text(ABSENT if value is None else printable(value)) for value in row))
    return table
