"""A job in a process other than the command's: where its output goes, whom it waits for, what is said when it dies."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from leukemia_lab.errors import InterruptedRunError, RunError
from leukemia_lab.progress import CONSOLE
from leukemia_lab.runs import record
from leukemia_lab.runs.lease import EXPIRED_SECONDS, HEARTBEAT_SECONDS, holder_of
from leukemia_lab.runs.record import RunFolder
from leukemia_lab.sweeping.job import Job, JobEnd
from leukemia_lab.sweeping.job_files import job_path, log_path, read_job, write_job
from leukemia_lab.sweeping.work import run_job

# A run taken from a machine that died is free after this, so a worker that goes on with it need not give up before.
PATIENCE_SECONDS = EXPIRED_SECONDS + 2 * HEARTBEAT_SECONDS
POLL_SECONDS = 2.0
STDOUT, STDERR = 1, 2


def work(job: Job, where: str = "", patience: float = 0.0) -> JobEnd:
    """`run_job` with its output in the job's log; an interruption is an end too, as nobody else hears of it here.

    A run that another process holds is waited for, `patience` seconds at the most: it may be a dead process of a
    machine that this one cannot see. `where` stands in the log beside the machine's name.
    """
    with _output_in_log(job):
        CONSOLE.print(f"{record.now()}: process {os.getpid()} on {platform.node()}{where}", markup=False)
        try:
            end = _run_when_free(job, time.monotonic() + patience)
        except (InterruptedRunError, KeyboardInterrupt) as stopped:
            end = JobEnd(job, "interrupted", error=str(stopped))
        CONSOLE.print(end.status if end.error is None else f"{end.status}: {end.error}", markup=False)
    return end


def lost_job(job: Job, reason: str, patience: float = 0.0) -> JobEnd:
    """How a job ended whose process died: finished where its run was, else failed, which its record then says too.

    `patience` are the seconds to wait for a lease that the dead process may have left on another machine.
    """
    known = read_job(job_path(job))
    run = None if known is None or known["run"] is None else job.sweep / known["run"]
    if run is not None:
        try:
            folder = RunFolder.existing(run)
            if folder.finished:
                return JobEnd(job, "finished", run, folder.metrics()["objective"])
            _wait_until_free(run, time.monotonic() + patience)
            with folder.held():
                if folder.record["status"] in ("new", "running"):
                    folder.update(status="failed", finished=record.now(), error=reason)
        except RunError:  # held by a process that goes on with it already, or not even begun
            pass
    write_job(job, run=run, error=reason)
    return JobEnd(job, "failed", run, error=reason)


def say_begun(job: Job) -> None:
    """Print that a job is given out, and where its output goes."""
    CONSOLE.print(f"begun: {' '.join(job.overrides)} (output: {log_path(job)})", markup=False)


def say_ended(end: JobEnd) -> None:
    """Print how a job has ended, or where to look for why it did not end well."""
    if end.status == "finished":
        objective = "" if end.objective is None else f", objective {end.objective:.4f}"
        CONSOLE.print(f"finished: {' '.join(end.job.overrides)}{objective}", markup=False)
    elif end.status != "held":
        CONSOLE.print(f"{end.status}: its output is in {log_path(end.job)}", markup=False)


def _run_when_free(job: Job, until: float) -> JobEnd:
    end = run_job(job)
    while end.status == "held" and end.run is not None and _wait_until_free(end.run, until):
        end = run_job(job)
    return end


def _wait_until_free(run: Path, until: float) -> bool:
    """Wait until nobody holds `run`; False where somebody still does at the monotonic time `until`."""
    while holder_of(run) is not None:
        if time.monotonic() >= until:
            return False
        time.sleep(POLL_SECONDS)
    return True


@contextmanager
def _output_in_log(job: Job) -> Iterator[None]:
    """Append what this process prints to the job's log, its native libraries and children included."""
    path = log_path(job)
    path.parent.mkdir(parents=True, exist_ok=True)
    _flush()
    before = [os.dup(number) for number in (STDOUT, STDERR)]
    try:
        with path.open("ab") as log:
            for number in (STDOUT, STDERR):
                os.dup2(log.fileno(), number)
        yield
    finally:
        _flush()
        for number, copy in zip((STDOUT, STDERR), before, strict=True):
            os.dup2(copy, number)
            os.close(copy)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
