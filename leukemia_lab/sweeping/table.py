"""The table of a sweep, derived from its run folders at any moment, also while the sweep runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.tables import SweepRow, write_sweep_csv
from leukemia_lab.runs import record
from leukemia_lab.runs.lease import holder_of
from leukemia_lab.sweeping.job_files import read_jobs

TABLE = "table.csv"
OF_ANOTHER_COMMAND = {
    "job": "",
    "error": None,
    "model": "",
    "protocol": "",
    "overrides": (),
}  # a run without a job
UNDER_WAY = {
    "new": "waiting",
    "running": "interrupted",
}  # in a record; and what it means where nobody holds the run
ENDED_WELL = ("finished", "pruned")  # runs of which a sweep wants no more


def sweep_rows(sweep: Path) -> list[SweepRow]:
    """One row a run of the sweep's folder, in the order of the jobs, and one for each job that has no run folder.

    Statuses are those of the runs' records; `running` only where the one who works on it lives, else `interrupted`;
    `waiting` is a job that was not begun. A record that cannot be read is a failed run, which says so.
    """
    jobs = read_jobs(sweep)
    runs = [path.parent for path in sorted(sweep.glob(f"*/{record.RECORD}"))]
    of_run = {job["run"]: job for job in reversed(jobs) if job["run"] is not None}
    names = {run.name for run in runs}
    numbered = [(job["number"], _job_row(job)) for job in jobs if job["run"] not in names]
    for run in runs:
        job = of_run.get(run.name, OF_ANOTHER_COMMAND | {"number": len(jobs)})
        try:
            row = _run_row(run, job)
        except RunError as error:  # damaged, or cleared at this moment by force=true
            row = _job_row({**job, "error": str(error)}) | {"run": run.name}
        numbered.append((job["number"], row))
    return [row for _, row in sorted(numbered, key=lambda pair: pair[0])]


def rows_by_job(sweep: Path) -> dict[str, SweepRow]:
    """The row of each job by its key; jobs of one run, such as before and after the data were moved, share its row."""
    rows = sweep_rows(sweep)
    of_run = {row["run"]: row for row in rows}
    shared = {job["job"]: of_run[job["run"]] for job in read_jobs(sweep) if job["run"] in of_run}
    return shared | {row["job"]: row for row in rows}


def write_table(sweep: Path) -> list[SweepRow]:
    """Write the sweep's table.csv as it is now, whole or not at all; returns its rows."""
    rows = sweep_rows(sweep)
    write_sweep_csv(rows, sweep / TABLE)
    return rows


def counts_text(rows: Sequence[SweepRow]) -> str:
    """`9 of 12 runs finished, 1 pruned, 2 failed`."""
    counts = Counter(row["status"] for row in rows)
    rest = [f"{n} {status}" for status, n in counts.items() if status != "finished"]
    return ", ".join([f"{counts['finished']} of {len(rows)} runs finished", *rest])


def _run_row(run: Path, job: Mapping[str, Any]) -> SweepRow:
    found = record.read_json(run / record.RECORD)
    held = found["status"] in UNDER_WAY and holder_of(run) is not None
    if found["status"] in UNDER_WAY and not held:
        found = record.read_json(run / record.RECORD)  # it may have ended between the two looks
    status, error = found["status"], found.get("error")
    if status in UNDER_WAY:
        error = job["error"]  # that could not be written into the run's record
        status = "running" if held else UNDER_WAY[status] if error is None else "failed"
    finished = status == "finished" and (run / record.METRICS).exists()
    document = record.read_json(run / record.METRICS) if finished else None
    return SweepRow(
        model=found.get("model", ""),
        protocol=found.get("protocol", {}).get("name", ""),
        job=job["job"],
        run=run.name,
        status=status,
        epochs=_epochs(run),
        overrides=found.get("overrides") or (),
        objective=found.get("objective") if document is None else document["objective"],
        stamps=found.get("stamps", ()) if document is None else document["stamps"],
        error=error if status == "failed" else None,
        metrics=None if document is None else document["val"],
    )


def _job_row(job: Mapping[str, Any]) -> SweepRow:
    return SweepRow(
        model=job["model"],
        protocol=job["protocol"],
        job=job["job"],
        run="",
        status="waiting" if job["error"] is None else "failed",
        epochs=None,
        overrides=job["overrides"],
        objective=None,
        stamps=(),
        error=job["error"],
        metrics=None,
    )


def _epochs(path: Path) -> int | None:
    """The epochs that the run's net has been trained for; None before the first, and of what has none."""
    try:
        return len((path / record.HISTORY).read_text(encoding="utf-8").splitlines()) - 1
    except FileNotFoundError:
        return None
