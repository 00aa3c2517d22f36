"""The runs of a study by row and arm, and the rows of its table.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from leukemia_lab.atomic import replacing
from leukemia_lab.evaluation.metrics import METRICS
from leukemia_lab.evaluation.tables import BOUNDS
from leukemia_lab.pages.formats import estimate
from leukemia_lab.results.comparable import joined_stamps
from leukemia_lab.results.run_result import RunResult
from leukemia_lab.runs.record import RECORD, read_json
from leukemia_lab.schema.study import StudyRow
from leukemia_lab.studies.definition import Study
from leukemia_lab.studies.work import StudyRun

TABLE = "table.csv"


@dataclass(frozen=True)
class StudyResults:
    """Every run of a study. `rows` are those of its table, `baselines` those that are there to be beaten.

    `given` are the words of the command line that came after the study's own.
    """

    study: Study
    budget: str
    runs: tuple[StudyRun, ...]
    given: tuple[str, ...] = ()

    @cached_property
    def arms(self) -> tuple[str, ...]:
        """The arms in order; the plain columns of the table are of the last."""
        return tuple(arm.name for arm in self.study.node.arms)

    @property
    def arm(self) -> str:
        """The last arm."""
        return self.arms[-1]

    @cached_property
    def rows(self) -> tuple[StudyRow, ...]:
        """The rows of the table."""
        return tuple(row for row in self._all_rows if not row.baseline)

    @cached_property
    def baselines(self) -> tuple[StudyRow, ...]:
        """The rows that are there to be beaten."""
        return tuple(row for row in self._all_rows if row.baseline)

    @cached_property
    def finished(self) -> tuple[RunResult, ...]:
        """The runs that have results."""
        return tuple(run.result for run in self.runs if run.result is not None)

    @cached_property
    def stamps(self) -> tuple[str, ...]:
        """Every stamp of any run."""
        return tuple(joined_stamps(self.finished))

    @cached_property
    def failures(self) -> tuple[str, ...]:
        """The runs that have no result, each with its reason."""
        return tuple(f"{run.name}: {run.failure}" for run in self.runs if run.result is None)

    def of(self, row: StudyRow, arm: str) -> RunResult | None:
        """The finished run of a row under an arm; of several the first repeat."""
        return self.repeats(row, arm).get(0)

    def repeats(self, row: StudyRow, arm: str) -> dict[int, RunResult]:
        """The finished runs of a row under an arm by their repeat."""
        return self._by_place.get((row.name, arm), {})

    def metric(self, row: StudyRow, arm: str, name: str) -> Mapping[str, Any] | None:
        """A metric of a row under an arm on the study's part: `{"value", "low", "high", …}`."""
        run = self.of(row, arm)
        return None if run is None else run.metrics[self.study.node.part][name]

    def shown(self, row: StudyRow, arm: str, name: str) -> str:
        """The metric as tables have it: `0.900 (0.800–0.950)`; `failed` where there is no run."""
        metric = self.metric(row, arm, name)
        return "failed" if metric is None else f"{estimate(metric)}{'*' if 'note' in metric else ''}"

    @cached_property
    def _all_rows(self) -> tuple[StudyRow, ...]:
        return tuple({run.row.name: run.row for run in self.runs}.values())

    @cached_property
    def _by_place(self) -> dict[tuple[str, str], dict[int, RunResult]]:
        found: dict[tuple[str, str], dict[int, RunResult]] = {}
        for run in self.runs:
            if run.result is not None:
                found.setdefault((run.row.name, run.arm), {})[run.repeat] = run.result
        return found


def csv_rows(results: StudyResults, extra: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a model, without those that are there to be beaten.

    The columns: `model`, `protocol`, `part`, `row`, the metrics of the last arm, `extra` ones by row, the metrics of
    the other arms with the arm's name before them, stamps, run folders, seconds of training.
    """
    rows = []
    for row in results.rows:
        run = results.of(row, results.arm)
        about = {
            "model": _model(results, row),
            "protocol": "" if run is None else run.protocol,
            "part": results.study.node.part,
            "row": row.name,
        }
        others: dict[str, Any] = {}
        for arm in results.arms[:-1]:
            others |= _metric_columns(results, row, arm, f"{arm}_")
        own = [run for arm in results.arms for run in results.repeats(row, arm).values()]
        rows.append(
            about
            | _metric_columns(results, row, results.arm, "")
            | dict(extra.get(row.name, {}))
            | others
            | {
                "stamps": ";".join(joined_stamps(own)),
                "runs": ";".join(found.path.name for found in own),
                "seconds": sum(_seconds(found) for found in own),
            }
        )
    return rows


def write_table_csv(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write table.csv, whole or not at all; a missing value is an empty field."""
    with replacing(folder / TABLE) as partial:
        pd.DataFrame(list(rows)).to_csv(partial, index=False)


def _model(results: StudyResults, row: StudyRow) -> str:
    for arm in results.arms:
        run = results.of(row, arm)
        if run is not None:
            return run.model
    words = dict(word.partition("=")[::2] for word in row.overrides)
    return words.get("model", "")


def _seconds(run: RunResult) -> float:
    """How long its training took; of a cross-validation all folds together."""
    folds = run.record.get("folds")
    if folds is None:
        return float(run.record.get("seconds") or 0.0)
    return sum(float(read_json(run.path / fold["run"] / RECORD).get("seconds") or 0.0) for fold in folds)


def _metric_columns(results: StudyResults, row: StudyRow, arm: str, prefix: str) -> dict[str, Any]:
    found = {name: results.metric(row, arm, name) for name in METRICS}
    return {
        f"{prefix}{name}{suffix}": None if metric is None else metric[bound]
        for name, metric in found.items()
        for bound, suffix in BOUNDS.items()
    }
