"""Runs that take their process with them, and so would end a sweep again and again: how often, and when to give up.

A death is a lease that a process left behind unreleased (`RunFolder.after_death`). The run's record counts them in
`deaths`, beside how far the run had come in `came_to`.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from leukemia_lab.errors import HeldRunError, RunError, TrainingError
from leukemia_lab.progress import CONSOLE
from leukemia_lab.runs.record import HISTORY, METRICS, RunFolder

ENOUGH = 3


def deaths_in_a_row(folder: RunFolder) -> int:
    """How many processes have died over this run since it last finished an epoch, or a fold."""
    n_deaths: int = folder.record.get("deaths", 0)
    return n_deaths if _came_to(folder.path) <= folder.record.get("came_to", 0) else 0


def count_death(folder: RunFolder) -> None:
    """Note in the record of the folder, which is held, where the process that held it before has died over it."""
    if folder.after_death and folder.record.get("status") == "running":
        n_deaths = deaths_in_a_row(folder) + 1
        # the greatest: an epoch that is done again is no progress
        folder.update(deaths=n_deaths, came_to=max(_came_to(folder.path), folder.record.get("came_to", 0)))


def heed_deaths(folder: RunFolder, *, give_up: bool) -> None:
    """Say where too many processes have died over the run; TrainingError instead where it is one to `give_up` then."""
    n_deaths = deaths_in_a_row(folder)
    if n_deaths < ENOUGH:
        return
    found = (
        f"the process of this run died {n_deaths} times before it finished an epoch: killed for memory, or by a fault "
        "in a library?"
    )
    if give_up:
        raise TrainingError(
            f"{found} launcher=joblib keeps the sweep's own process out of it. The sweep tries the run again when "
            "all others have ended (sweep.retry_failed), or with force=true"
        )
    CONSOLE.print(f"note: {found}", markup=False)


def readmitted(run: Path, *, all_ended: bool) -> bool:
    """Whether a sweep tries this failed run again: one that was given up when all have ended, then as a new one.

    Two that end the sweep's process would take turns for ever if each were tried again while the other is unfinished.
    """
    try:
        folder = RunFolder.existing(run)
    except RunError:  # none was made, or its record is damaged
        return True
    if folder.record.get("status") != "failed" or deaths_in_a_row(folder) < ENOUGH:
        return True
    if all_ended:
        with suppress(HeldRunError), folder.held():  # another process tries it already
            folder.update(deaths=0)
    return all_ended


def _came_to(run: Path) -> int:
    """What grows as training gets on: the lines of the histories of the run, or of its folds, and the ended folds."""
    histories = [run / HISTORY, *run.glob(f"*/{HISTORY}")]
    n_lines = sum(len(file.read_bytes().splitlines()) for file in histories if file.exists())
    return n_lines + len(list(run.glob(f"*/{METRICS}")))
