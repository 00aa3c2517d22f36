"""What `report` prints: the cautions and the head of each leaderboard."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from leukemia_lab.pages.formats import ABSENT, decimal, estimate, metric_name, printable
from leukemia_lab.reporting.cautions import cautions, stamp_counts
from leukemia_lab.reporting.leaderboard import Leaderboard, value_of
from leukemia_lab.results.collect import Collected

HEAD = 10  # rows of a leaderboard that are printed
STYLES = {"act": "bold red", "know": "yellow", "fine": "green"}


def shown(collected: Collected, boards: Sequence[Leaderboard]) -> RenderableType:
    """The cautions, then the first rows of each leaderboard."""
    said = [
        Text(printable(caution.text), style=STYLES[caution.level]) for caution in cautions(collected, boards)
    ]
    return Group(*map(_table, boards), *said)


def _table(board: Leaderboard) -> Table:
    stamps = " ".join(f"[{stamp}]" for stamp in stamp_counts(row.run for row in board.rows))
    title = f"{metric_name(board.metric)} on {board.part}, split {board.split_hash[:8]} {stamps}".strip()
    n_more = len(board.rows) - HEAD
    notes = [f"{n_more} more in the report"] if n_more > 0 else []
    notes.append(board.about_intervals)
    table = Table(title=Text(title), caption=Text("\n".join(notes)), box=box.SIMPLE_HEAD)
    table.add_column("rank", justify="right")
    table.add_column("run", overflow="fold")
    table.add_column(f"{board.part} {metric_name(board.metric)}", justify="right")
    for metric in board.columns:
        table.add_column(metric_name(metric), justify="right")
    for row in board.rows[:HEAD]:
        metrics = row.run.metrics.get(board.part)
        table.add_row(
            ABSENT if row.rank is None else str(row.rank),
            Text(printable(row.run.name)),
            "not opened" if metrics is None else estimate(metrics[board.metric]),
            *(decimal(value_of(row.run, board.part, metric)) for metric in board.columns),
        )
    return table
