"""The one place where a report meets what draws, compares, aggregates and fills in checklists.

Each function may return nothing: the page then leaves the part out and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leukemia_lab.checklists.checklist import Item
from leukemia_lab.checklists.checklist import checklist as filled
from leukemia_lab.checklists.facts import RunFiles, facts_of
from leukemia_lab.errors import RunError
from leukemia_lab.plots import gallery as plots
from leukemia_lab.reporting import run_drawings
from leukemia_lab.reporting.contents import CheckItem, Drawing, Reproduction
from leukemia_lab.reporting.leaderboard import Leaderboard
from leukemia_lab.reporting.reproduce import recipe
from leukemia_lab.reporting.split_audit import SplitAudit
from leukemia_lab.results.run_result import RunResult


def drawings(run: RunResult, part: str) -> Mapping[str, Drawing]:
    """The plots of a run's part by name: roc, pr, reliability, confusion, curves, subjects, attribution.

    Called in a worker process, once a run.
    """
    return run_drawings.run_drawings(run, part)


def forest(board: Leaderboard) -> Drawing | None:
    """Values and intervals of a leaderboard's metric, one row a run."""
    return run_drawings.forest(board)


def split_drawing(board: Leaderboard, split: SplitAudit) -> Drawing | None:
    """Cells and subjects by part and class."""
    return run_drawings.split_drawing(board, split)


def checklist(
    runs: Sequence[RunResult], parts: Mapping[str, str], compared: Sequence[str]
) -> tuple[CheckItem, ...]:
    """The items of TRIPOD+AI and CLAIM, filled in where the runs' records can.

    `parts` names the part that each run's section shows, `compared` says how the runs were compared.
    """
    files = [_files(run, parts.get(run.name)) for run in runs]
    return tuple(_check_item(item) for item in filled(facts_of(files, compared)))


def plot_styles() -> str:
    """The style sheet that the drawings need."""
    return plots.stylesheet()


def reproduction(run: RunResult) -> Reproduction:
    """The commands that train this run again and, where its test part was opened, evaluate it."""
    found = recipe(run.record, run.config, metrics=run.metrics)
    return Reproduction(
        tuple(
            command
            for command in (found.train, found.evaluate)
            if command is not None and found.train is not None
        ),
        found.needs,
        found.reason,
    )


def _files(run: RunResult, part: str | None) -> RunFiles:
    files = RunFiles(record=run.record, config=run.config, metrics=run.metrics)
    if part != "test":  # its errors and explanations on test are not shown
        return files
    try:
        explained = run.explained("test")
    except RunError:  # its section says so
        explained = None
    return files if explained is None else RunFiles(**files, explained=explained)


def _check_item(item: Item) -> CheckItem:
    question = [] if item.question is None else [f"To the authors: {item.question}"]
    text = "\n".join([*item.facts, *question])
    return CheckItem(item.checklist, item.number, item.section, item.asks, item.status, text)
