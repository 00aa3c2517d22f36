"""A sweep's table as it grows, for whoever looks on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.tables import SweepRow, sweep_table
from leukemia_lab.progress import RESULTS
from leukemia_lab.sweeping.job_files import JOBS
from leukemia_lab.sweeping.table import counts_text, sweep_rows

REFRESH_SECONDS = 2.0
QUIET_SECONDS = 10.0  # a search may pause this long between two trials
GOING_ON = ("running", "waiting")


def watch(sweep: Path) -> None:
    """Show the sweep's table, drawn anew as its runs go on, until none is running or waiting; Ctrl-C ends it too.

    Without a terminal: a line whenever the counts change, the table at the end.

    Raises:
        RunError: the folder is that of no sweep.
    """
    if not (sweep / JOBS).is_dir():
        raise RunError(f"runs={sweep}: no sweep began here; give the folder of a sweep, runs=runs/sweep-…")
    with Live(console=RESULTS, auto_refresh=False, transient=True) as live:
        said, quiet_since = "", time.monotonic()
        while time.monotonic() - quiet_since < QUIET_SECONDS:
            rows = sweep_rows(sweep)
            if any(row["status"] in GOING_ON for row in rows):
                quiet_since = time.monotonic()
            if RESULTS.is_terminal:
                live.update(_view(rows), refresh=True)
            elif counts_text(rows) != said:
                RESULTS.print(counts_text(rows), markup=False)
            said = counts_text(rows)
            time.sleep(REFRESH_SECONDS)
    RESULTS.print(_view(sweep_rows(sweep)))


def _view(rows: Sequence[SweepRow]) -> RenderableType:
    return Group(sweep_table(rows), Text(counts_text(rows)))
