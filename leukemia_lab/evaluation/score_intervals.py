"""Intervals by group of statistics of bare scores, which need not be probabilities: what the audit asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from leukemia_lab.evaluation.metrics import Floats, Ints
from leukemia_lab.evaluation.outcomes import counted, strata_of
from leukemia_lab.evaluation.resampling import ranked_areas, without_each
from leukemia_lab.evaluation.uncertainty import Interval, jackknife

# Of class indices [n], scores and group indices [n]: the value of all cells, and [n_groups] without each group.
Statistic = Callable[[Ints, Floats, Ints], tuple[float, Floats]]


def jackknife_interval(
    labels: Ints,
    scores: Floats,
    groups: Sequence[str] | npt.NDArray[np.generic],
    statistic: Statistic,
    level: float = 0.95,
) -> Interval:
    """`jackknife` of a statistic between 0 and 1, the scores taken as given.

    Args:
        labels: class indices [n].
        scores: [n], of class 1 against class 0 (decided at 0), or [n, K], one column a class.
        groups: group of each cell [n].
        statistic: `auroc`, `balanced_accuracy`, or `recomputed(metric)`.
        level: probability with which the interval should hold the true value.
    """
    group_of_cell = np.unique(np.asarray(groups), return_inverse=True)[1]
    value, without = statistic(labels, scores, group_of_cell)
    by_group = counted(group_of_cell, labels, int(group_of_cell.max()) + 1, int(labels.max()) + 1)
    return jackknife(value, without, strata_of(by_group), by_group.sum(axis=1), level)


def auroc(labels: Ints, scores: Floats, groups: Ints) -> tuple[float, Floats]:
    """Area under the ROC curve (macro one-vs-rest for scores [n, K]), and without each group: a `Statistic`.

    NaN where a class is empty.
    """
    n_groups = int(groups.max()) + 1
    against_rest = (
        [(labels == 1, scores)] if scores.ndim == 1 else [(labels == k, s) for k, s in enumerate(scores.T)]
    )

    def areas(weights: Floats) -> Floats:
        found: Floats = np.mean([ranked_areas(own, s, groups, weights)[0] for own, s in against_rest], axis=0)
        return found

    return float(areas(np.ones((1, n_groups)))[0]), np.concatenate(list(map(areas, without_each(n_groups))))


def balanced_accuracy(labels: Ints, scores: Floats, groups: Ints) -> tuple[float, Floats]:
    """Mean recall of the classes, of all cells and without each group: a `Statistic`. NaN where one is empty."""
    decided = (scores > 0).astype(np.int64) if scores.ndim == 1 else scores.argmax(axis=1)
    size = (int(groups.max()) + 1, 2 if scores.ndim == 1 else scores.shape[1])
    n_cells = counted(groups, labels, *size)
    n_hits = counted(groups, labels, *size, (labels == decided).astype(np.float64))
    with np.errstate(invalid="ignore"):
        value = (n_hits.sum(axis=0) / n_cells.sum(axis=0)).mean()
        without = (n_hits.sum(axis=0) - n_hits) / (n_cells.sum(axis=0) - n_cells)
    return float(value), without.mean(axis=1)


def recomputed(metric: Callable[[Ints, Floats], float]) -> Statistic:
    """Any metric of labels [n] and scores as a `Statistic`, computed anew without each group."""

    def statistic(labels: Ints, scores: Floats, groups: Ints) -> tuple[float, Floats]:
        rest = [groups != group for group in range(groups.max() + 1)]
        return metric(labels, scores), np.array([metric(labels[kept], scores[kept]) for kept in rest])

    return statistic
