"""Doing one job of a sweep, in whatever process: its run is trained, finished or returned."""

from __future__ import annotations

import traceback
from contextlib import suppress
from pathlib import Path

from leukemia_lab.errors import HeldRunError, InterruptedRunError, PrunedRunError, error_text
from leukemia_lab.runs.record import RunFolder
from leukemia_lab.sweeping.job import Job, JobEnd, Status
from leukemia_lab.sweeping.job_files import write_job


def run_job(job: Job) -> JobEnd:
    """Train the run of `job`, or return it if it is there, and evaluate it where the job says so.

    What goes wrong stands in the job's file.

    Raises:
        InterruptedRunError, KeyboardInterrupt: the user or the system asked this process to end.
    """
    from leukemia_lab.cross_evaluation import evaluate_folder  # imports torch
    from leukemia_lab.cross_validation import train
    from leukemia_lab.training import Order

    opened: list[Path] = []

    def note(folder: Path) -> None:
        opened.append(folder)
        write_job(job, run=folder, error=None)

    def ended(status: Status, objective: float | None = None, error: str | None = None) -> JobEnd:
        return JobEnd(job, status, opened[0] if opened else None, objective, error)

    try:
        run, objective = train(
            job.settings, job.sweep, None, Order(job.overrides, job.trial, note, give_up=True)
        )
        if job.evaluation is not None:
            evaluate_folder(job.evaluation, RunFolder.existing(run), again=False)
    except (InterruptedRunError, KeyboardInterrupt):
        raise
    except HeldRunError as held:
        return ended("held", error=str(held))
    except PrunedRunError as pruned:
        return ended("pruned", pruned.objective)
    except Exception as error:
        end = ended("failed", error=error_text(error).splitlines()[0])
        with suppress(OSError):  # the disk is full: what is left is what the command says
            write_job(job, run=end.run, error=end.error, trace=traceback.format_exc())
        return end
    return ended("finished", objective)
