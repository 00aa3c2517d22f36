"""`<sweep>/jobs/<key>.json`: what a job of a sweep is, and where its run is, or why there is none.

A run folder's own record is the truth about the run; these files say what was planned and what failed before a run
folder could be made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leukemia_lab.errors import RunError
from leukemia_lab.runs import record
from leukemia_lab.sweeping.job import Job

JOBS = "jobs"


def plan_jobs(jobs: Sequence[Job]) -> None:
    """Write the file of every job that has none yet; one that was begun before keeps its own."""
    for job in jobs:
        if read_job(job_path(job)) is None:
            write_job(job, run=None, error=None)


def write_job(job: Job, *, run: Path | None, error: str | None, trace: str | None = None) -> None:
    """Write the job's file: its run folder's name, or the error (with its traceback) that left none."""
    path = job_path(job)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "job": job.key,
        "number": job.number,
        "overrides": list(job.overrides),
        "model": job.settings.model.name,
        "protocol": job.settings.protocol.name,
        "run": None if run is None else run.name,
        "error": error,
        "traceback": trace,
    }
    record.write_atomically(path, json.dumps(content, indent=2) + "\n")


def read_job(path: Path) -> dict[str, Any] | None:
    """The content of a job's file; None where there is none, or one that the machine's crash left empty."""
    try:
        return record.read_json(path)
    except RunError:
        return None


def read_jobs(sweep: Path) -> list[dict[str, Any]]:
    """The content of every job file of a sweep's folder that can be read, in the order of their numbers."""
    found = [read_job(path) for path in sorted((sweep / JOBS).glob("*.json"))]
    return sorted((job for job in found if job is not None), key=lambda job: int(job["number"]))


def job_path(job: Job) -> Path:
    """Where a job's file is."""
    return job.sweep / JOBS / f"{job.key}.json"


def log_path(job: Job) -> Path:
    """Where the output of a job goes that does not run in the process of the command."""
    return job.sweep / JOBS / f"{job.key}.log"
