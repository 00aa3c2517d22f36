"""`report.html` and `report.md`: everything of a report in one file that needs no network, and its essentials."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from leukemia_lab.evaluation.comparison import LOWER_IS_BETTER
from leukemia_lab.evaluation.metrics import METRICS
from leukemia_lab.pages.environment import page_environment
from leukemia_lab.pages.formats import printable
from leukemia_lab.plots.svg import Plot
from leukemia_lab.progress import progress
from leukemia_lab.reporting import wiring
from leukemia_lab.reporting.budget import MAX_BYTES, Detail, Size, allot, encoded, lowered
from leukemia_lab.reporting.cautions import cautions, stamp_counts, subjects_by_class
from leukemia_lab.reporting.compared import compared, how_compared, pairs, seeds
from leukemia_lab.reporting.contents import CheckItem, Comparison, Drawing, Picture, RunView, Seeds
from leukemia_lab.reporting.leaderboard import Leaderboard, Row, short_hash, value_of
from leukemia_lab.reporting.method_text import SOURCES, methods
from leukemia_lab.reporting.split_audit import SplitAudit, audit_split
from leukemia_lab.reporting.views import view_of
from leukemia_lab.results.collect import Collected
from leukemia_lab.results.findings import Findings

MAX_ROWS = 1000  # runs shown in the page; leaderboard.csv has all
MAX_GROUPS, MAX_NAMED = 20, 12  # groups of runs alike, and of how many runs of each the names are shown
MAX_PAIRS = 200  # pairs of runs shown in a leaderboard's comparison
IN_PROCESSES = 24  # from so many runs on, other processes pay for their start
PLOTS = (
    ("roc", "ROC"),
    ("pr", "Precision and recall"),
    ("reliability", "Reliability"),
    ("confusion", "Confusion"),
    ("subjects", "Accuracy by subject"),
    ("scatter", "Subjects by share and logit"),
    ("attribution", "Attribution on the cell"),
    ("curves", "Training"),
)


@dataclass(frozen=True)
class Shown:
    """A leaderboard with all that stands beside it."""

    board: Leaderboard
    forest: Drawing | None
    split_drawing: Drawing | None
    split: SplitAudit
    comparison: Comparison | str  # or why there is none
    seeds: Seeds | None
    subjects: dict[str, int]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows that the page has room for."""
        return self.board.rows[:MAX_ROWS]


@dataclass(frozen=True)
class Report:
    """What both files are rendered from."""

    collected: Collected
    shown: tuple[Shown, ...]
    views: dict[str, RunView]
    checklist: tuple[CheckItem, ...]
    made: str
    command: str
    version: str
    studies: tuple[Findings, ...]


def make_report(
    collected: Collected,
    boards: Sequence[Leaderboard],
    *,
    made: str,
    command: str,
    version: str,
    studies: Sequence[Findings] = (),
) -> Report:
    """Read and draw all that the files need; many runs are worked on by several processes.

    The findings of `studies`, whose runs these are, come first in the page.
    """
    shown = tuple(map(_shown, boards))
    jobs = [(row, board) for board in boards for row in board.rows[:MAX_ROWS]]
    views = dict(zip([row.run.name for row, _ in jobs], _views(jobs), strict=True))
    parts = {name: view.part for name, view in views.items()}
    answered = wiring.checklist(
        collected.runs, parts, how_compared([(item.board, item.comparison) for item in shown])
    )
    return Report(collected, shown, views, answered, made, command, version, tuple(studies))


def _shown(board: Leaderboard) -> Shown:
    split = audit_split(board.first)
    found, notes = compared(board)
    return Shown(
        board,
        wiring.forest(board),
        wiring.split_drawing(board, split),
        split,
        " ".join(notes) if found is None else pairs(found, board, notes),
        None if found is None else seeds(found, board),
        subjects_by_class(board),
    )


def _views(jobs: Sequence[tuple[Row, Leaderboard]]) -> list[RunView]:
    runs = [row.run for row, _ in jobs]
    parts = [_part_of(row, board) for row, board in jobs]
    with progress("drawing the report", len(jobs), "runs") as advance:
        if len(jobs) < IN_PROCESSES:
            views = []
            for run, part in zip(runs, parts, strict=True):
                views.append(view_of(run, part))
                advance(1)
            return views
        workers = max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
        with ProcessPoolExecutor(min(workers, 8), get_context("spawn")) as pool:
            views = []
            for view in pool.map(view_of, runs, parts, chunksize=4):
                views.append(view)
                advance(1)
            return views


def _part_of(row: Row, board: Leaderboard) -> str:
    return board.part if board.part in row.run.metrics else "val"


def render_page(report: Report) -> str:
    """`report.html`, at most MAX_BYTES long: pictures, then plots, then texts of the last runs are left out."""
    entries = [(shown, row) for shown in report.shown for row in shown.rows]
    entries.sort(key=lambda entry: (entry[0].rows.index(entry[1]), entry[0].board.number))
    texts = [_section(report, shown, row, Detail.TEXT) for shown, row in entries]
    sizes = [_size(text, report.views[row.run.name]) for text, (_, row) in zip(texts, entries, strict=True)]
    frame = len(_framed(report, dict.fromkeys(report.views, " "), [Detail.ROW] * len(entries)).encode())
    details = allot(sizes, MAX_BYTES - frame)
    while True:
        sections = {
            row.run.name: text if detail == Detail.TEXT else _section(report, shown, row, detail)
            for text, detail, (shown, row) in zip(texts, details, entries, strict=True)
        }
        html = _framed(report, sections, details)
        if len(html.encode()) <= MAX_BYTES or max(details, default=Detail.ROW) == Detail.ROW:
            return html
        details = lowered(details)


def render_markdown(report: Report) -> str:
    """`report.md`: the leaderboards, comparisons, commands, methods and checklist for a page of a code host."""
    return _environment(False).get_template("report.md.j2").render(**_frame_values(report)).strip() + "\n"


def _size(text: str, view: RunView) -> Size:
    plots = sum(
        len(drawing.svg.encode()) + 2 * len(drawing.alt.encode()) + 200 for drawing in view.drawings.values()
    )
    pictures = sum(
        encoded(picture.n_bytes) + len(picture.alt.encode())
        for cell in view.errors
        for picture in cell.pictures
    )
    return Size(len(text.encode()), plots, pictures)


def _section(report: Report, shown: Shown, row: Row, detail: Detail) -> str:
    if detail == Detail.ROW:
        return ""
    template = _environment(True).get_template("report_run.html.j2")
    return template.render(
        row=row,
        run=row.run,
        view=report.views[row.run.name],
        board=shown.board,
        several=len(report.shown) > 1,
        plots=PLOTS,
        metrics=METRICS,
        with_plots=detail >= Detail.PLOTS,
        with_pictures=detail >= Detail.PICTURES,
        reproduction=wiring.reproduction(row.run),
    )


def _framed(report: Report, sections: dict[str, str], details: Sequence[Detail]) -> str:
    with_plots = [view for view in report.views.values() if view.drawings]
    pictured = [view for view in report.views.values() if any(cell.pictures for cell in view.errors)]
    left = {
        "sections": sum(detail < Detail.TEXT for detail in details),
        "plots": max(0, len(with_plots) - sum(detail >= Detail.PLOTS for detail in details)),
        "pictures": max(0, len(pictured) - sum(detail >= Detail.PICTURES for detail in details)),
    }
    markup = {name: Markup(html) for name, html in sections.items() if html}
    return (
        _environment(True)
        .get_template("report.html.j2")
        .render(
            sections=markup,
            left=left,
            plot_styles=Markup(wiring.plot_styles()),
            **_frame_values(report),
        )
    )


def _frame_values(report: Report) -> dict[str, Any]:
    boards = [shown.board for shown in report.shown]
    runs = report.collected.runs
    return {
        "report": report,
        "runs": runs,
        "shown": report.shown,
        "cautions": cautions(report.collected, boards),
        "stamps": stamp_counts(runs),
        "methods": methods(runs, report.shown),
        "sources": SOURCES,
        "max_pairs": MAX_PAIRS,
        "max_groups": MAX_GROUPS,
        "max_named": MAX_NAMED,
        "max_rows": MAX_ROWS,
    }


def _within(drawing: Plot | None, ident: str) -> Plot | None:
    """The drawing with ids that begin with `ident`: a study can stand on the page twice, of two budgets."""
    if drawing is None:
        return None
    return Plot(
        re.sub(r'(aria-labelledby|title id)="', rf'\g<1>="{ident}-', drawing.svg, count=2), drawing.alt
    )


@lru_cache(maxsize=2)
def _environment(html: bool) -> Environment:
    environment = page_environment("reporting")
    environment.autoescape = html
    environment.filters["data_uri"] = _data_uri
    environment.filters["markdown"] = markdown_text
    environment.filters["setting"] = setting_text
    environment.filters["one_line"] = one_line
    environment.filters["as_number"] = lambda title: f"#{title}"  # a column of numbers
    environment.filters["svg"] = lambda drawing: Markup(drawing.svg)
    environment.filters["within"] = _within
    environment.globals |= {
        "reproduction": wiring.reproduction,
        "value_of": value_of,
        "short_hash": short_hash,
        "less_is_better": LOWER_IS_BETTER,
    }
    return environment


def _data_uri(picture: Picture) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(picture.path.read_bytes()).decode('ascii')}"


def markdown_text(text: object) -> str:
    """Text that stands in a Markdown table as it is: no pipe, tag or emphasis of its own."""
    shown = printable("n/a" if text is None else str(text)).replace("\n", " ")
    for mark in "\\`*_[]<>|":
        shown = shown.replace(mark, f"\\{mark}" if mark not in "<>" else {"<": "&lt;", ">": "&gt;"}[mark])
    return shown


def one_line(command: str) -> str:
    """A command whose quoted words hold line breaks, in one line that means the same to bash and zsh."""
    for char, escape in (("\n", "\\n"), ("\r", "\\r")):
        command = command.replace(char, f"'$'{escape}''")
    return command


def setting_text(value: object) -> str:
    """A value of a configuration as YAML has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
