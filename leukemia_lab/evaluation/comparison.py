"""A comparison of two or more runs on the same cells: all pairs, all metrics, as arrays and as comparison.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.cell_tests import (
    IGNORES_CLUSTERING,
    NO_VARIANCE,
    DeLong,
    McNemar,
    delong,
    mcnemar,
)
from leukemia_lab.evaluation.metrics import METRICS, Floats, Ints, or_none
from leukemia_lab.evaluation.multiplicity import holm, letters
from leukemia_lab.evaluation.outcomes import Outcomes
from leukemia_lab.evaluation.paired import Differences, Resampled, all_pairs, differences, resampled
from leukemia_lab.evaluation.uncertainty import LEVEL, Interval, intervals

LOWER_IS_BETTER = ("ece", "brier")
TWO_CLASSES_ONLY = "DeLong's test is of two classes, of which each has two cells or more"


@dataclass(frozen=True)
class Comparison:
    """R runs of the same cells: their metrics, and the differences of all P pairs.

    `p_holm` [P, M] is corrected over all pairs of a metric. `order` [R] has the runs from best to worst by `metric`,
    those where it is undefined last; runs that share one of their `letters` cannot be told apart by it.
    """

    names: tuple[str, ...]
    outcomes: tuple[Outcomes, ...]
    metric: str
    level: float
    runs: Resampled
    found: Differences
    p_holm: Floats
    order: Ints
    letters: list[list[str]]
    mcnemar: McNemar
    delong: DeLong | None

    @property
    def best(self) -> int:
        """The run of the best value of `metric`."""
        return int(self.order[0])

    @cached_property
    def intervals(self) -> list[dict[str, Interval]]:
        """The interval of each run's metrics by themselves [R]."""
        return [intervals(outcomes, self.level) for outcomes in self.outcomes]

    @cached_property
    def pair_of(self) -> dict[tuple[int, int], int]:
        """Which pair two runs are, the lower number first."""
        return {(int(a), int(b)): k for k, (a, b) in enumerate(self.found.pairs)}

    def against_best(self, run: int, metric: int) -> float | None:
        """Holm's p-value of a run against the best; None for the best itself, or where there is none."""
        if run == self.best:
            return None
        first, second = sorted((run, self.best))
        return or_none(self.p_holm[self.pair_of[first, second], metric])


def compare(models: Mapping[str, Outcomes], metric: str, level: float = LEVEL) -> Comparison:
    """Compare two or more models on the same cells (see `aligned`), in the order of `metric`.

    Raises RunError where there are fewer, or they are not of the same cells.
    """
    if len(models) < 2:
        raise RunError(f"{len(models)} run(s) cannot be compared: two or more are needed")
    outcomes = tuple(models.values())
    runs, pairs = resampled(outcomes), all_pairs(len(models))
    found = differences(runs, pairs, level)
    p_holm = np.stack([holm(p) for p in found.p.T], axis=1)
    at = METRICS.index(metric)
    values = runs.values[:, at] * (-1 if metric in LOWER_IS_BETTER else 1)
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")
    with np.errstate(invalid="ignore"):
        differ = p_holm[:, at] < 1 - level
    correct = np.stack([model.predicted == model.truth for model in outcomes])
    return Comparison(
        names=tuple(models),
        outcomes=outcomes,
        metric=metric,
        level=level,
        runs=runs,
        found=found,
        p_holm=p_holm,
        order=order,
        letters=letters(order, pairs, differ),
        mcnemar=mcnemar(correct, pairs),
        delong=_delong(outcomes, pairs),
    )


def aligned(
    tables: Mapping[str, pd.DataFrame], class_names: Sequence[str], positive: str | None
) -> dict[str, Outcomes]:
    """The predictions of each run in the order of cell ids, so that they can be paired by cell.

    Where the runs group cells in different ways (twins merged in one split, apart in another), groups that share a
    cell become one. Raises RunError where two runs predict other cells, or the same cell has other labels.
    """
    ordered = {name: table.sort_values("cell_id", ignore_index=True) for name, table in tables.items()}
    (first_name, first), *others = ordered.items()
    for name, table in others:
        _require_same_cells(first_name, first, name, table)
    groups = merged_groups([table["group"] for table in ordered.values()])
    return {
        name: Outcomes.of(table.assign(group=groups), class_names, positive)
        for name, table in ordered.items()
    }


def merged_groups(groups: Sequence[pd.Series]) -> pd.Series:
    """The finest groups [n] that no run splits, of each run's groups of the same cells; missing where one's is.

    They are named by the first run's: two of its groups that another run joins become `a+b`.
    """
    first = groups[0].reset_index(drop=True)
    if all(other.reset_index(drop=True).equals(first) for other in groups[1:]):
        return first
    if any(column.isna().any() for column in groups):
        return pd.Series([None] * len(first), dtype=object)
    codes, offset = [], 0
    for column in groups:
        own, names = pd.factorize(column)
        codes.append(own + offset)
        offset += len(names)
    ends = np.concatenate([np.stack([codes[0], other]) for other in codes[1:]], axis=1)
    graph = coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), shape=(offset, offset))
    component = connected_components(graph, directed=False)[1][codes[0]]
    names_of = first.astype(str).groupby(component).agg(lambda names: "+".join(sorted(set(names))))
    return pd.Series(names_of.loc[component].to_numpy(), dtype=object)


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """What comparison.json says of the runs, from best to worst, and of all pairs.

    `{"metric", "level", "unit", "n_cells", "n_groups", "runs": [{"name", "rank", "letters", "p_holm_against_best",
    "metrics": {"<metric>": {"value", "low", "high", "reason"?}}}], "pairs": [{"a", "b", "metrics": {"<metric>":
    {"difference", "low", "high", "p", "p_holm", "reason"?}}, "mcnemar", "delong"}], "ignores_clustering"}`.
    """
    first = comparison.outcomes[0]
    return {
        "metric": comparison.metric,
        "level": comparison.level,
        "unit": "group",
        "test": "paired jackknife of the difference, t; Holm over all pairs of a metric",
        "n_cells": len(first.truth),
        "n_groups": first.n_groups,
        "runs": [_run(comparison, int(run), rank) for rank, run in enumerate(comparison.order, start=1)],
        "pairs": _pairs(comparison),
        "ignores_clustering": IGNORES_CLUSTERING,
    }


def _require_same_cells(name: str, table: pd.DataFrame, other_name: str, other: pd.DataFrame) -> None:
    differing = sorted(set(table["cell_id"]) ^ set(other["cell_id"]))
    if differing:
        raise RunError(
            f"{name} and {other_name} cannot be paired: {len(differing)} cells are predicted by one of them alone "
            f"({differing[0]}, …). Compare runs that predict the same cells."
        )
    unlike = (table["label"] != other["label"]).to_numpy()
    if unlike.any():
        row = int(unlike.argmax())
        raise RunError(
            f"{name} and {other_name} cannot be paired: {unlike.sum()} cells have other labels "
            f"({table['cell_id'].iloc[row]}: {table['label'].iloc[row]} and {other['label'].iloc[row]}). Train both "
            "on the same labels."
        )


def _delong(outcomes: Sequence[Outcomes], pairs: Ints) -> DeLong | None:
    first = outcomes[0]
    if first.positive is None:
        return None
    positive = first.truth == first.positive
    if min(positive.sum(), (~positive).sum()) < 2:
        return None
    return delong(np.stack([model.probs[:, first.positive] for model in outcomes]), positive, pairs)


def _run(comparison: Comparison, run: int, rank: int) -> dict[str, Any]:
    metrics = {}
    for m, name in enumerate(METRICS):
        interval = comparison.intervals[run][name]
        metrics[name] = {"value": or_none(comparison.runs.values[run, m]), **_bounds(interval)}
    return {
        "name": comparison.names[run],
        "rank": rank,
        "letters": comparison.letters[run],
        "p_holm_against_best": comparison.against_best(run, METRICS.index(comparison.metric)),
        "metrics": metrics,
    }


def _bounds(interval: Interval) -> dict[str, Any]:
    reason = {} if interval.reason is None else {"reason": interval.reason}
    return {"low": interval.low, "high": interval.high, **reason}


def _pairs(comparison: Comparison) -> list[dict[str, Any]]:
    found = comparison.found
    arrays = {
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "p_holm": comparison.p_holm,
    }
    # As lists at once: 200 runs have a million of these numbers.
    columns = [_listed(values) for values in arrays.values()]
    cells = zip(*columns, found.reasons.tolist(), strict=True)
    return [
        _pair(
            comparison,
            k,
            [dict(zip(arrays, numbers, strict=True)) for numbers in zip(*rows, strict=True)],
            reasons,
        )
        for k, (*rows, reasons) in enumerate(cells)
    ]


def _pair(
    comparison: Comparison, k: int, numbers: Sequence[dict[str, Any]], reasons: Sequence[str | None]
) -> dict[str, Any]:
    metrics = {
        name: found if reason is None else found | {"reason": reason}
        for name, found, reason in zip(METRICS, numbers, reasons, strict=True)
    }
    a, b = comparison.found.pairs[k]
    cells, area = comparison.mcnemar, comparison.delong
    return {
        "a": comparison.names[a],
        "b": comparison.names[b],
        "metrics": metrics,
        "mcnemar": {
            "only_a_right": int(cells.only_first[k]),
            "only_b_right": int(cells.only_second[k]),
            "p": float(cells.p[k]),
            "ignores_clustering": True,
        },
        "delong": _area_test(area, k) | {"ignores_clustering": True},
    }


def _area_test(area: DeLong | None, k: int) -> dict[str, Any]:
    if area is None:
        return {"difference": None, "z": None, "p": None, "reason": TWO_CLASSES_ONLY}
    tested = {"difference": float(area.difference[k]), "z": or_none(area.z[k]), "p": or_none(area.p[k])}
    return tested if np.isfinite(area.z[k]) else tested | {"reason": NO_VARIANCE}


def _listed(values: Floats) -> list[list[float | None]]:
    numbers = values.astype(object)
    numbers[np.isnan(values)] = None
    listed: list[list[float | None]] = numbers.tolist()
    return listed
