"""The content of `metrics.json`: every number of a run with its interval, or the reason why it has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.metrics import (
    METRICS,
    PARTS,
    class_metrics,
    metric_values,
    one_vs_rest,
    or_none,
    subject_metrics,
)
from leukemia_lab.evaluation.outcomes import Outcomes
from leukemia_lab.evaluation.subjects import subject_level
from leukemia_lab.evaluation.tuning import CHOSEN_ON, Tuning, before_and_after, described, tune
from leukemia_lab.evaluation.uncertainty import intervals
from leukemia_lab.schema.evaluation import Evaluation

WHY_UNDEFINED = {
    "balanced_accuracy": "no cell is {}",
    "sensitivity": "no cell is {}",
    "specificity": "every cell is {}",
    "precision": "no cell was predicted to be {}",
    "f1": "no cell is {} or was predicted to be",
    "auroc": "no cell or every cell is {}",
    "auprc": "no cell or every cell is {}",
    "mcc": "every cell is {}",
}


RATES = (
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "precision",
    "f1",
    "weighted_f1",
    "mcc",
)


def metrics_document(
    predictions: pd.DataFrame,
    class_names: Sequence[str],
    positive: str | None,
    stamps: Sequence[str],
    objective: str,
    evaluation: Evaluation,
) -> dict[str, Any]:
    """The content of `metrics.json`: the metrics of each part in the table, and how they come about.

    `{"<part>": part_metrics, "stamps": [...], "objective": value}`, and the sections of `part_sections` and
    `tuned_sections`. `objective` names a metric as `part/metric`; its value, None where it has none, stands in the
    document. Raises RunError where the objective is not in the table.
    """
    tables = tables_by_part(predictions)
    document: dict[str, Any] = {
        part: part_metrics(table, class_names, positive, evaluation) for part, table in tables.items()
    }
    part, _, metric = objective.partition("/")
    if part not in tables or metric not in METRICS:
        raise RunError(
            f"the objective {objective!r} cannot be read from these predictions: it is part/metric, with a "
            f"part of {', '.join(tables)} and a metric of {', '.join(METRICS)}."
        )
    document |= {"stamps": list(stamps), "objective": document[part][metric]["value"]}
    document |= part_sections(tables, class_names, positive, evaluation)
    if CHOSEN_ON in tables:
        tuning = tune(tables[CHOSEN_ON], class_names, positive, evaluation)
        document |= tuned_sections([(tuning, tables)], class_names, positive, evaluation)
    return document


def tables_by_part(predictions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each part that a predictions table holds."""
    parts = [part for part in PARTS if (predictions["part"] == part).any()]
    return {part: predictions[predictions["part"] == part] for part in parts}


def part_metrics(
    table: pd.DataFrame, class_names: Sequence[str], positive: str | None, evaluation: Evaluation
) -> dict[str, dict[str, Any]]:
    """All `METRICS` of the rows of a predictions table, each `{"value", "low", "high", "n_cells", "n_groups"}`.

    See `metric_values` and `intervals`. A value that is undefined on these cells is None, and so are the bounds; a
    `reason` says why. Bounds of another kind than was asked for have a `note`. Raises RunError where the table is
    empty, has other classes, or `positive` is none of them.
    """
    outcomes = Outcomes.of(table, class_names, positive)
    values = metric_values(outcomes.truth, outcomes.probs, outcomes.positive)
    bounds = intervals(outcomes, evaluation.level, evaluation.interval)
    size = {"n_cells": len(outcomes.truth), "n_groups": outcomes.n_groups}
    metrics: dict[str, dict[str, Any]] = {}
    for name in METRICS:
        low, high, remark = bounds[name]
        metrics[name] = {"value": or_none(values[name]), "low": low, "high": high, **size}
        if np.isnan(values[name]):
            cause = _undefined_class(name, outcomes)
            metrics[name]["reason"] = WHY_UNDEFINED[name].format(outcomes.class_names[cause])
        elif remark is not None:
            metrics[name]["reason" if low is None else "note"] = remark
    return metrics


def part_sections(
    tables: Mapping[str, pd.DataFrame],
    class_names: Sequence[str],
    positive: str | None,
    evaluation: Evaluation,
) -> dict[str, Any]:
    """What `metrics.json` says of each part beside its metrics, and how the intervals are made.

    `per_class` (`class_metrics`), `per_subject` (`subject_metrics`), `subjects` (`subject_level`), each by part, and
    `intervals`: `{"method", "level", "unit"}`.
    """
    level = evaluation.level
    return {
        "per_class": {part: class_metrics(table, class_names) for part, table in tables.items()},
        "per_subject": {
            part: subject_metrics(table, class_names, positive) for part, table in tables.items()
        },
        "subjects": {
            part: subject_level(table, class_names, positive, level) for part, table in tables.items()
        },
        "intervals": {"method": evaluation.interval, "level": level, "unit": "group"},
    }


def tuned_sections(
    members: Sequence[tuple[Tuning, Mapping[str, pd.DataFrame]]],
    class_names: Sequence[str],
    positive: str | None,
    evaluation: Evaluation,
) -> dict[str, Any]:
    """`calibration`, and with a positive class `operating_point`: what was chosen, and by part what it gives.

    A run is one member; the runs of a cross-validation are one each, and the parts that they have are pooled. By
    part, `calibration` has the scores `before` and `after`, `operating_point` the `RATES` as `part_metrics` has them.
    """
    sections = described([tuning for tuning, _ in members])
    for part in members[0][1]:
        raw = pd.concat([tables[part] for _, tables in members])
        calibrated = pd.concat([tuning.calibrated(tables[part]) for tuning, tables in members])
        sections["calibration"][part] = before_and_after(raw, calibrated, class_names, positive)
        if "operating_point" in sections:
            decided = pd.concat([tuning.decided(tables[part]) for tuning, tables in members])
            found = part_metrics(decided, class_names, positive, evaluation)
            sections["operating_point"][part] = {name: found[name] for name in RATES}
    return sections


def _undefined_class(name: str, outcomes: Outcomes) -> int:
    if name == "mcc":
        return int(outcomes.truth[0])
    if outcomes.positive is not None and name != "balanced_accuracy":
        return outcomes.positive
    by_class = one_vs_rest(outcomes.truth, outcomes.probs)
    return int(np.flatnonzero(np.isnan(by_class["sensitivity" if name == "balanced_accuracy" else name]))[0])
