"""Find the runs that a report is of, and read what they left; a run that cannot be used is listed with its reason."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.metrics import METRICS, PARTS
from leukemia_lab.results.run_result import RunResult
from leukemia_lab.runs import record
from leukemia_lab.runs.record import CONFIG, RECORD
from leukemia_lab.runs.record import METRICS as METRICS_FILE
from leukemia_lab.wording import natural

JOBS = "jobs"  # a sweep's folder of them: the failed ones have left no run
NEEDED = ("identity", "status", "model", "class_names", "data_fingerprint")  # of every record
KEYS = ("value", "low", "high", "n_cells", "n_groups")  # of every metric


class LeftOut(NamedTuple):
    """A run, or a job of a sweep, that is not in the report, and why."""

    where: str
    reason: str


@dataclass(frozen=True)
class Collected:
    """The runs of a report in the order found, and what was left out."""

    runs: tuple[RunResult, ...]
    left_out: tuple[LeftOut, ...]


def collect(given: Sequence[Path]) -> Collected:
    """The runs in the folders `given`: run folders, folders that hold some at any depth, or globs of either.

    A cross-validation is one run; the runs of its folds are not found beside it. Of copies of a run the first is taken.

    Raises:
        RunError: nothing is at a place given, or no run there can be used; says why each cannot.
    """
    if not given:
        raise RunError("runs=[]: name one run folder, or a folder that holds some: runs=runs/")
    runs: list[RunResult] = []
    left_out: list[LeftOut] = []
    folders = list(dict.fromkeys(folder for path in given for folder in _found(path)))
    for folder in folders:
        if folder.name == JOBS and not (folder / RECORD).exists():
            left_out += _failed_jobs(folder)
            continue
        try:
            _take(read_run(folder), runs, left_out)
        except RunError as error:
            left_out.append(LeftOut(str(folder), str(error)))
    if not runs:
        raise RunError(_nothing_left(given, left_out))
    return Collected(tuple(_named(runs)), tuple(left_out))


def read_run(folder: Path) -> RunResult:
    """The finished run in `folder`, its tables not yet read.

    Raises:
        RunError: it is not finished, or a file of it is missing or damaged.
    """
    found = record.read_json(folder / RECORD)
    missing = [key for key in NEEDED if key not in found]
    if missing:
        raise RunError(f"{RECORD} lacks {', '.join(missing)}: damaged, or of another version; train it again")
    if found["status"] != "finished":
        raise RunError(f"{found['status']}, not finished: repeat its train command, which resumes it")
    metrics = record.read_json(folder / METRICS_FILE)
    _check_metrics(metrics)
    return RunResult(folder.name, folder, found, metrics, _config(folder / CONFIG))


def read_named_run(folder: Path) -> RunResult:
    """`read_run` of a folder that a user named; the RunError says which it is."""
    try:
        return read_run(folder)
    except RunError as error:
        raise RunError(f"{folder}: {error}" if folder.is_dir() else f"{folder}: no such folder") from error


def _take(run: RunResult, runs: list[RunResult], left_out: list[LeftOut]) -> None:
    same = next((other for other in runs if other.record["identity"] == run.record["identity"]), None)
    if same is None:
        runs.append(run)
    else:
        left_out.append(LeftOut(str(run.path), f"the same run as {same.path} ({run.record['identity']})"))


def _found(given: Path) -> Iterator[Path]:
    """Run folders, and folders of a sweep's jobs, at or under `given`, in natural order."""
    places = [given]
    if not given.exists() and glob.has_magic(str(given)):
        places = sorted(map(Path, glob.glob(str(given), recursive=True)), key=_order)  # noqa: PTH207 (absolute too)
    elif not given.is_dir():
        raise RunError(
            f"runs={given}: no such folder; give run folders, or a folder that holds some: runs=runs/"
        )
    if not places:
        raise RunError(
            f"runs={given}: nothing matches it; put it in quotes, so that the shell leaves it alone"
        )
    for place in places:
        for path, folders, files in os.walk(place):
            folder = Path(path)
            if RECORD in files:
                folders.clear()  # what is in a run, the folds of a cross-validation too, is part of it
                yield folder
            elif folder.name == JOBS:
                yield folder
            folders.sort(key=natural)


def _order(path: Path) -> list[tuple[bool, int, str]]:
    return natural(str(path))


def _failed_jobs(folder: Path) -> list[LeftOut]:
    """The jobs of a sweep that left no run."""
    failed = []
    for path in sorted(folder.glob("*.json")):
        try:
            job = record.read_json(path)
        except RunError as error:
            failed.append(LeftOut(str(path), str(error)))
            continue
        if job.get("run") is None and isinstance(job.get("overrides"), list):
            reason = "not begun" if job.get("error") is None else f"failed: {job['error']}"
            failed.append(LeftOut(" ".join(map(str, job["overrides"])), reason))
    return failed


def _check_metrics(metrics: Mapping[str, Any]) -> None:
    parts = [part for part in PARTS if part in metrics]
    if "val" not in parts or not isinstance(metrics.get("stamps"), list):
        raise RunError(
            f"{METRICS_FILE} has no validation results or no stamps: evaluate or train the run again"
        )
    for part in parts:
        for name in METRICS:
            metric = metrics[part].get(name) if isinstance(metrics[part], Mapping) else None
            if not isinstance(metric, Mapping) or any(key not in metric for key in KEYS):
                raise RunError(
                    f"{METRICS_FILE} has no {part}/{name}: damaged, or of another version; train it again"
                )


def _config(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RunError(
            f"{path.name} cannot be read ({error}): train the run again with force=true"
        ) from error
    if not isinstance(found, dict):
        raise RunError(f"{path.name} holds no settings: train the run again with force=true")
    return found


def _named(runs: Sequence[RunResult]) -> Iterator[RunResult]:
    """The runs by as much of their path as tells them apart."""
    by_name: dict[str, int] = {}
    for run in runs:
        by_name[run.name] = by_name.get(run.name, 0) + 1
    for run in runs:
        yield run if by_name[run.name] == 1 else replace(run, name=str(run.path))


def _nothing_left(given: Iterable[Path], left_out: Sequence[LeftOut]) -> str:
    places = ", ".join(map(str, given))
    if not left_out:
        return f"runs={places}: no run is in it. A run's folder holds {RECORD}; python -m leukemia_lab.train makes one"
    listed = "\n".join(f"  {left.where}: {left.reason}" for left in left_out[:20])
    return f"runs={places}: none of {len(left_out)} runs can be reported:\n{listed}"
