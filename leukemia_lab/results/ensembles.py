"""The ensemble of finished runs as a result: one predictions table, and the metrics of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.document import part_metrics
from leukemia_lab.evaluation.ensembles import Member, ensemble_table
from leukemia_lab.hashing import content_hash
from leukemia_lab.results.collect import read_named_run
from leukemia_lab.results.comparable import joined_stamps, require_comparable
from leukemia_lab.results.run_result import RunResult
from leukemia_lab.schema.evaluation import Evaluation


@dataclass(frozen=True)
class EnsembleResult:
    """One part as the `members` predict it together.

    `table` is a predictions table, `metrics` what `metrics.json` says of a part: `{"auroc": {"value", "low", ...}}`.
    """

    members: tuple[RunResult, ...]
    table: pd.DataFrame
    metrics: Mapping[str, Mapping[str, Any]]
    stamps: tuple[str, ...]


def ensemble_result(folders: Sequence[Path], part: str, evaluation: Evaluation) -> EnsembleResult:
    """The mean calibrated probabilities of the finished runs in `folders` for the cells of `part` (val or test).

    Of cross-validations `part` is test: the out-of-fold predictions, each fold's model calibrated on its own
    validation cells. Nothing is trained, and nothing is opened that `evaluate` has not opened. Validation cells
    calibrate, so that the calibration of part val flatters.

    Raises:
        RunError: a folder holds no finished run, there are fewer than two, they differ in split, data or classes, or
            one of them has not predicted this part.
    """
    runs = tuple(map(read_named_run, folders))
    table = averaged(runs, part)
    metrics = part_metrics(table, runs[0].class_names, runs[0].positive, evaluation)
    return EnsembleResult(runs, table, metrics, tuple(joined_stamps(runs)))


def averaged(runs: Sequence[RunResult], part: str) -> pd.DataFrame:
    """The predictions table of `ensemble_result`; its `run_id` is `ensemble_identity`."""
    if len(runs) < 2:
        raise RunError(f"ensemble: {len(runs)} run is none; name two or more, ensemble=[runs/x,runs/y]")
    if len({run.record["identity"] for run in runs}) < len(runs):
        raise RunError(
            f"ensemble: {', '.join(str(run.path) for run in runs)} are not all different; a run counted twice is "
            "no further opinion"
        )
    require_comparable(runs)
    for run in runs:
        if run.is_cross_validation and part == "val":
            raise RunError(
                f"ensemble: {run.path} is a cross-validation, whose validation cells are those of several folds, "
                "some of them more than once; average its test part"
            )
    members = [Member(run.name, run.predicted("val"), run.predicted(part)) for run in runs]
    return ensemble_table(members, runs[0].class_names, ensemble_identity(runs))


def ensemble_identity(runs: Sequence[RunResult]) -> str:
    """The same for the same members in any order."""
    return content_hash({"ensemble": sorted(run.record["identity"] for run in runs)})
