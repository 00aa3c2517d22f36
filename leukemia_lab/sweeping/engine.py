"""The loop of a sweep: jobs are given out where there is room, and ended ones noted, until there are no more."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Protocol

from leukemia_lab.progress import CONSOLE
from leukemia_lab.runs.lease import holder_of
from leukemia_lab.sweeping.job import Job, JobEnd
from leukemia_lab.sweeping.launching import Launcher

POLL_SECONDS = 2.0  # between looks at what other processes do


class Later(Enum):
    """What a source of jobs says that has none to give now, but may have one when others have ended."""

    LATER = "later"


class Source(Protocol):
    """Where jobs come from: a list of them, or a search."""

    def next(self) -> Job | Later | None:
        """The next job; None when there will be no more."""

    def ended(self, end: JobEnd) -> None:
        """Hear how a job ended."""


class JobList:
    """Each of `jobs` once; a job whose run another process holds comes again when that one has let go of it."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._waiting = deque(jobs)
        self._held: dict[Path, Job] = {}

    def next(self) -> Job | Later | None:
        """The next job."""
        if self._waiting:
            return self._waiting.popleft()
        for run in self._held:
            if holder_of(run) is None:
                return self._held.pop(run)
        return Later.LATER if self._held else None

    def ended(self, end: JobEnd) -> None:
        """Keep a held job for later."""
        if end.status == "held" and end.run is not None:
            CONSOLE.print(f"run {end.job.number + 1} comes again later: {end.error}", markup=False)
            self._held[end.run] = end.job


def run_jobs(
    source: Source, launcher: Launcher, *, stop_on_error: bool, noted: Callable[[JobEnd], None]
) -> bool:
    """Give out the jobs of `source`, `launcher.capacity` at once; `noted` hears of each end.

    Returns whether all were given out: False where `stop_on_error` ended the sweep after a failed job.
    """
    running, stopped = 0, False
    with launcher:
        while True:
            jobs, later = _next_jobs(source, 0 if stopped else launcher.capacity - running)
            if jobs:
                launcher.submit(jobs)
                running += len(jobs)
            elif running == 0 and not later:
                return not stopped
            if running == 0:
                time.sleep(POLL_SECONDS)
                continue
            end = launcher.wait()
            running -= 1
            source.ended(end)
            noted(end)
            stopped = stopped or (stop_on_error and end.status == "failed")


def _next_jobs(source: Source, n_free: int) -> tuple[list[Job], bool]:
    """Up to `n_free` jobs, and whether the source may have more later."""
    jobs: list[Job] = []
    while len(jobs) < n_free:
        job = source.next()
        if not isinstance(job, Job):
            return jobs, job is Later.LATER
        jobs.append(job)
    return jobs, n_free > 0
