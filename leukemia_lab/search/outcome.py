"""What a search hears of a finished run: the values of its objectives, from the run's own files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from leukemia_lab.errors import RunError
from leukemia_lab.runs.record import RECORD, RunFolder, read_json


def objective_values(run: Path, objectives: Sequence[str]) -> list[float]:
    """The value of each objective: `val/<metric>` by metrics.json, others by record.json.

    Raises:
        RunError: a value is missing, with the reason that the run gives.
    """
    folder = RunFolder.existing(run)
    metrics = folder.metrics()
    values = []
    for name in objectives:
        part, _, metric = name.rpartition("/")
        found = metrics[part][metric] if part else {"value": recorded_number(folder, name)}
        if found["value"] is None:
            reason = found.get("reason", "it is not in the run's record")
            raise RunError(f"{run} has no {name} ({reason}): this search cannot go by it")
        values.append(float(found["value"]))
    return values


def recorded_number(folder: RunFolder, name: str) -> float | None:
    """A number of the run's record; of a cross-validation, where only its folds have it, their mean."""
    if not folder.is_cross_validation or name in folder.record:
        found: float | None = folder.record.get(name)
        return found
    records = [read_json(folder.path / fold["run"] / RECORD) for fold in folder.record["folds"]]
    values = [about[name] for about in records if about.get(name) is not None]
    return fmean(values) if len(values) == len(records) else None
