"""Confidence intervals that respect subjects: whole groups of cells are left out, never single cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import t as student_t

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
# Of class indices [n], scores and group indices [n]: the value of all cells, and [n_groups] without each group.
Statistic = Callable[[Ints, Floats, Ints], tuple[float, Floats]]
NO_CHANGE = 1e-12  # below it a difference of two values is float noise


class Interval(NamedTuple):
    """The ends of an interval; where there is none, both are None and `reason` says why."""

    low: float | None
    high: float | None
    reason: str | None = None


def jackknife_interval(
    labels: Ints,
    scores: Floats,
    groups: Sequence[str] | npt.NDArray[np.generic],
    statistic: Statistic,
    level: float = 0.95,
) -> Interval:
    """Two-sided interval of a statistic between 0 and 1 over new groups (subjects), the scores taken as given.

    Stratified delete-one-group jackknife on the logit scale: the variance is the sum over strata h of
    (n_h - 1) / n_h * sum_i (l_hi - mean_h)^2, with l_hi the logit without group i (Shao & Tu 1995, ch. 6), and
    the quantile is Student's with Satterthwaite's (1946) degrees of freedom. The strata are the classes; where
    any group has cells of several classes, all groups are one stratum.

    Args:
        labels: class indices [n].
        scores: [n], of class 1 against class 0 (decided at 0), or [n, K], one column a class.
        groups: group of each cell [n].
        statistic: `auroc`, `balanced_accuracy`, or `recomputed(metric)`.
        level: probability with which the interval should hold the true value.
    """
    group_of_cell = np.unique(np.asarray(groups), return_inverse=True)[1]
    value, without = statistic(labels, scores, group_of_cell)
    strata = _strata(labels, group_of_cell)
    if reason := _why_none(value, without, strata):
        return Interval(None, None, reason)
    logits = logit(without)
    variance, freedom = np.zeros(strata.max() + 1), np.ones(strata.max() + 1)
    for stratum in np.unique(strata):
        own = logits[strata == stratum]
        variance[stratum] = (len(own) - 1) * np.var(own)
        freedom[stratum] = len(own) - 1
    total = variance.sum()
    quantile = student_t.ppf((1 + level) / 2, total**2 / (variance**2 / freedom).sum())
    low, high = expit(logit(value) + np.array([-1, 1]) * quantile * np.sqrt(total))
    return Interval(float(low), float(high))


def auroc(labels: Ints, scores: Floats, groups: Ints) -> tuple[float, Floats]:
    """Area under the ROC curve (macro one-vs-rest for scores [n, K]), and without each group: a `Statistic`.

    Sorted once: without a group, the pairs of cells in which it takes part are subtracted. NaN where a class
    is empty.
    """
    if scores.ndim == 1:
        return _auroc_of(labels == 1, scores, groups)
    values, without = zip(
        *(_auroc_of(labels == k, scores[:, k], groups) for k in range(scores.shape[1])), strict=True
    )
    return float(np.mean(values)), np.mean(without, axis=0)


def balanced_accuracy(labels: Ints, scores: Floats, groups: Ints) -> tuple[float, Floats]:
    """Mean recall of the classes, of all cells and without each group: a `Statistic`. NaN where one is empty."""
    decided = (scores > 0).astype(np.int64) if scores.ndim == 1 else scores.argmax(axis=1)
    n_classes = 2 if scores.ndim == 1 else scores.shape[1]
    hit = labels == decided
    n_cells = _count(groups, labels, n_classes)
    n_hits = _count(groups, labels, n_classes, hit.astype(np.float64))
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


def _auroc_of(positive: npt.NDArray[np.bool_], scores: Floats, groups: Ints) -> tuple[float, Floats]:
    wins = _wins(positive, scores)
    n_groups = groups.max() + 1
    n_positive = np.bincount(groups[positive], minlength=n_groups)
    n_negative = np.bincount(groups[~positive], minlength=n_groups)
    inside = np.zeros(n_groups)  # the pairs within a group are in the wins of both their cells
    for group in np.flatnonzero((n_positive > 0) & (n_negative > 0)):
        own = groups == group
        inside[group] = _wins(positive[own], scores[own])[positive[own]].sum()
    all_wins = wins[positive].sum()
    wins_left = all_wins - np.bincount(groups, weights=wins, minlength=n_groups) + inside
    pairs_left = (n_positive.sum() - n_positive) * (n_negative.sum() - n_negative)
    with np.errstate(invalid="ignore"):
        value = all_wins / (n_positive.sum() * n_negative.sum())
        return float(value), np.where(pairs_left > 0, wins_left / pairs_left, np.nan)


def _wins(positive: npt.NDArray[np.bool_], scores: Floats) -> Floats:
    """For each cell, the pairs with cells of the other class that are ordered rightly; a tie is half a pair."""
    wins = np.empty(len(scores))
    above, below = np.sort(scores[positive]), np.sort(scores[~positive])
    for mask, others in ((positive, below), (~positive, above)):
        sides = [np.searchsorted(others, scores[mask], side=side) for side in ("left", "right")]
        wins[mask] = (sides[0] + sides[1]) / 2
    wins[~positive] = len(above) - wins[~positive]
    return wins


def _why_none(value: float, without: Floats, strata: Ints) -> str | None:
    if not 0 < value < 1:
        return f"the value is {value:g}, and an interval needs one between 0 and 1"
    if 1 in np.bincount(strata):
        return "a class has a single group, which says nothing about how groups differ"
    if not ((without > 0) & (without < 1)).all():
        return "without one of the groups the value is 0, 1 or undefined"
    if np.ptp(without) < NO_CHANGE:
        return "no group changes the value"
    return None


def _strata(labels: Ints, groups: Ints) -> Ints:
    """For each group its class; where any group has several classes, all groups are stratum 0."""
    n_cells = _count(groups, labels, int(labels.max()) + 1)
    pure = ((n_cells > 0).sum(axis=1) == 1).all()
    return n_cells.argmax(axis=1).astype(np.int64) if pure else np.zeros(len(n_cells), dtype=np.int64)


def _count(groups: Ints, labels: Ints, n_classes: int, weights: Floats | None = None) -> Floats:
    """Cells (sum of their weights) of each group and class [n_groups, n_classes]."""
    n_groups = groups.max() + 1
    counts = np.bincount(groups * n_classes + labels, weights, minlength=n_groups * n_classes)
    return counts.astype(np.float64).reshape(n_groups, n_classes)
