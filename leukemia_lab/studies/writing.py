"""A study's results in the terminal and in its folder: its tables, study.json, and the report of its runs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from leukemia_lab import __version__
from leukemia_lab.pages.formats import printable
from leukemia_lab.plots.standalone import standalone
from leukemia_lab.progress import RESULTS
from leukemia_lab.reporting.leaderboard import leaderboards, write_leaderboards
from leukemia_lab.reporting.page import make_report, markdown_text, render_page
from leukemia_lab.results.collect import Collected, LeftOut
from leukemia_lab.results.findings import STUDY, Findings, Section, StudyTable
from leukemia_lab.runs.record import made_folder, now, write_atomically
from leukemia_lab.studies.results import TABLE, StudyResults, write_table_csv

TEXT, PAGE, LEADERBOARD, FIGURES = "table.md", "report.html", "leaderboard.csv", "figures"


def show(findings: Findings, folder: Path) -> None:
    """Print the sections, what failed, and where the files are."""
    stamps = " ".join(f"[{stamp}]" for stamp in findings.stamps)
    RESULTS.print(Text(f"\n{findings.title} {stamps}".rstrip(), style="bold"))
    RESULTS.print(f"{findings.question} {about(findings)}", markup=False)
    RESULTS.print(findings.headline, markup=False)
    for section in findings.sections:
        RESULTS.print(Text(f"\n{section.title}", style="bold"))
        if section.table is not None:
            RESULTS.print(_rich(section.table))
        for sentence in section.sentences:
            RESULTS.print(f"- {sentence}", markup=False, soft_wrap=True)
    for failure in findings.failures:
        RESULTS.print(f"failed: {failure}", markup=False, soft_wrap=True)
    names = ", ".join(str(folder / name) for name in (TEXT, TABLE, PAGE))
    RESULTS.print(f"\nall of it: {names}", markup=False, soft_wrap=True)


def about(findings: Findings) -> str:
    """What the figures are of, and what was changed for them."""
    meaning = ", at which figures mean nothing" if findings.budget == "smoke" else ""
    words = [f"Budget {findings.budget}{meaning}", findings.data]
    if findings.overruled:
        words.append(f"changed by {' '.join(findings.overruled)}")
    if findings.source is not None:
        words.append(f"claims: {findings.source}")
    return f"{'; '.join(words)}."


def write(findings: Findings, results: StudyResults, folder: Path, command: Sequence[str]) -> None:
    """Write everything of a study but its runs; `findings` are of `results`."""
    made_folder(folder, "study.folder")
    write_table_csv(findings.rows, folder)
    write_atomically(folder / STUDY, json.dumps(findings.document(), indent=1) + "\n")
    write_atomically(folder / TEXT, markdown(findings, write_figures(findings, folder / FIGURES), FIGURES))
    if results.finished:
        _write_report(findings, results, folder, command)


def figure_names(findings: Findings) -> dict[str, str]:
    """The names of the files of the drawings, by the titles of their sections."""
    names = {}
    for section in findings.sections:
        if section.drawing is not None:
            words = "".join(char if char.isalnum() else " " for char in section.title.lower()).split()
            names[section.title] = f"{findings.name}_{'_'.join(words[:6])}.svg"
    return names


def drawings(findings: Findings) -> dict[str, str]:
    """The drawings as SVG files of their own, by the names of these."""
    names = figure_names(findings)
    return {
        names[section.title]: standalone(section.drawing)
        for section in findings.sections
        if section.drawing is not None
    }


def write_figures(findings: Findings, folder: Path) -> dict[str, str]:
    """Write `drawings`; returns `figure_names`."""
    for name, drawing in drawings(findings).items():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, drawing)
    return figure_names(findings)


def markdown(findings: Findings, figures: dict[str, str], folder: str, level: int = 1) -> str:
    """The findings as Markdown whose headings begin at `level`; `figures` lie in `folder`."""
    hashes = "#" * level
    lines = [f"{hashes} {findings.title}", "", markdown_text(findings.question), ""]
    if findings.stamps:
        lines += [" ".join(f"**[{markdown_text(stamp)}]**" for stamp in findings.stamps), ""]
    lines += [markdown_text(about(findings)), "", markdown_text(findings.headline), ""]
    for section in findings.sections:
        lines += _markdown_section(section, figures, folder, f"{hashes}#")
    if findings.failures:
        lines += [f"{hashes}# Failed", "", *(f"- {markdown_text(text)}" for text in findings.failures), ""]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_section(section: Section, figures: dict[str, str], folder: str, hashes: str) -> list[str]:
    lines = [f"{hashes} {markdown_text(section.title)}", ""]
    if section.drawing is not None:
        alt = markdown_text(section.drawing.alt)
        lines += [f"![{alt}]({folder}/{figures[section.title]})", ""]
    if section.table is not None:
        lines += _markdown_table(section.table)
    return [*lines, *(f"- {markdown_text(sentence)}" for sentence in section.sentences), ""]


def _markdown_table(table: StudyTable) -> list[str]:
    rows = [table.headers, tuple("---" for _ in table.headers), *table.rows]
    lines = [
        "| " + " | ".join(word if k == 1 else markdown_text(word) for word in row) + " |"
        for k, row in enumerate(rows)
    ]
    return [*lines, "", *([] if table.note is None else [markdown_text(table.note), ""])]


def _rich(table: StudyTable) -> Table:
    shown = Table(
        box=box.SIMPLE_HEAD, caption=None if table.note is None else Text(table.note), caption_justify="left"
    )
    for header in table.headers:
        shown.add_column(Text(header), overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(printable(word)) for word in row))
    return shown


def _write_report(findings: Findings, results: StudyResults, folder: Path, command: Sequence[str]) -> None:
    """The report of the study's runs by row and arm, its findings first.

    The folder may hold runs of another budget, or of the study as it was before: those stand in no table of it.
    """
    runs = tuple(replace(run.result, name=run.name) for run in results.runs if run.result is not None)
    failed = tuple(LeftOut(run.name, str(run.failure)) for run in results.runs if run.result is None)
    collected = Collected(runs, failed)
    boards = leaderboards(runs, results.study.node.part, results.study.node.metric)
    words = shlex.join(command)
    report = make_report(
        collected, boards, made=now(), command=words, version=__version__, studies=[findings]
    )
    write_atomically(folder / PAGE, render_page(report))
    write_leaderboards(boards, folder / LEADERBOARD)
