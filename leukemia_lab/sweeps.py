"""The jobs of a sweep on disk, and the table that is always derived from them.

Each job leaves `jobs/<hash of its overrides>.json` in the sweep's folder: its run folder, or why there is none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from leukemia_lab.hashing import content_hash
from leukemia_lab.progress import RESULTS
from leukemia_lab.runs import record

if TYPE_CHECKING:
    from leukemia_lab.evaluation.tables import SweepRow

TABLE = "table.csv"


def record_job(
    sweep: Path, overrides: Sequence[str], *, model: str, protocol: str, run: Path | None, error: str | None
) -> Path:
    """Write one job's file: its run folder, or the error that left none; returns its path."""
    path = sweep / "jobs" / f"{content_hash({'overrides': sorted(overrides)})}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    job = {
        "overrides": list(overrides),
        "model": model,
        "protocol": protocol,
        "run": None if run is None else str(run),
        "error": error,
    }
    record.write_atomically(path, json.dumps(job, indent=2) + "\n")
    return path


def report_sweep(sweep: Path, job_files: Sequence[Path]) -> bool:
    """Write the sweep's table.csv, print it and what failed; True where every job has a result."""
    from leukemia_lab.evaluation.tables import sweep_table, write_sweep_csv  # imports pandas

    rows = [_row(record.read_json(path)) for path in job_files]
    n_finished = sum(row["status"] == "finished" for row in rows)
    if rows:
        write_sweep_csv(rows, sweep / TABLE)
        RESULTS.print(sweep_table(rows))
    RESULTS.print(
        f"{n_finished} of {len(rows)} runs finished; table: {sweep / TABLE}", markup=False, soft_wrap=True
    )
    return n_finished == len(rows)


def _row(job: dict[str, Any]) -> SweepRow:
    shared: dict[str, Any] = {
        "model": job["model"],
        "protocol": job["protocol"],
        "overrides": job["overrides"],
        "error": job["error"],
    }
    if job["run"] is None:
        nothing: dict[str, Any] = {
            "run": "",
            "status": "failed",
            "objective": None,
            "stamps": [],
            "metrics": None,
        }
        return cast("SweepRow", shared | nothing)
    folder = record.RunFolder.existing(Path(job["run"]))
    document = folder.metrics()
    found = {
        "run": folder.path.name,
        "status": folder.record["status"],
        "objective": document["objective"],
        "stamps": document["stamps"],
        "metrics": document["val"],
    }
    return cast("SweepRow", shared | found)
