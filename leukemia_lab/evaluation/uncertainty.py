"""Confidence intervals that respect subjects: whole groups of cells are left out or drawn, never single cells."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm
from scipy.stats import t as student_t

from leukemia_lab.evaluation.metrics import METRICS, Floats, Ints
from leukemia_lab.evaluation.outcomes import Outcomes
from leukemia_lab.evaluation.resampling import bootstrap_weights, leave_one_out, weighted_metrics

Method = Literal["jackknife", "bootstrap"]

LEVEL = 0.95
N_RESAMPLES = 2000
NO_CHANGE = 1e-12  # below it a difference of two values is float noise
FEW_DEFINED = 0.9  # a bootstrap with a smaller share of defined resamples says nothing
ALONE = "a class has a single group, which says nothing about how groups differ"
NO_GROUPS = "cells have no subjects, and an interval over single cells would be too narrow"
OF_ALL_CELLS = ("accuracy", "weighted_f1", "ece", "brier")  # the others average or compare classes


class Interval(NamedTuple):
    """The ends of an interval; where there is none, both are None and `reason` says why.

    Beside ends, `reason` says why they are not those of the method that was asked for.
    """

    low: float | None
    high: float | None
    reason: str | None = None


def intervals(
    outcomes: Outcomes, level: float = LEVEL, method: Method = "jackknife", seed: int = 0
) -> dict[str, Interval]:
    """The interval of each of `METRICS` over new groups (subjects), the trained model taken as given.

    `jackknife` is the default; `bootstrap` takes percentiles of 2,000 resamples of whole groups, each class by
    itself, and covers less than it says with few groups. Where the value is at an end of its range, or nothing can
    be said of how groups differ, the bounds are Wilson's (1927) for `independent_groups` trials, which is cautious.
    """
    if outcomes.n_groups == 0:
        return dict.fromkeys(METRICS, Interval(None, None, NO_GROUPS))
    values = leave_one_out(outcomes)
    if method == "jackknife":
        found = {
            name: jackknife(value, without, outcomes.strata, outcomes.sizes, level, span_of(name, outcomes))
            for name, (value, without) in values.items()
        }
    else:
        found = {
            name: Interval(None, None, ALONE) if rests_on_one(*values[name], outcomes.strata) else interval
            for name, interval in _percentiles(outcomes, level, seed).items()
        }
    return {
        name: wilson_type(name, values[name][0], interval, outcomes, level)
        if interval.low is None
        else interval
        for name, interval in found.items()
    }


def jackknife(
    value: float,
    without: Floats,
    strata: Ints,
    sizes: Ints | Floats,
    level: float = LEVEL,
    span: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """Two-sided interval of a value within `span` from its values `without` each group [G]; `sizes` [G] in cells.

    Stratified delete-one-group jackknife on the logit scale: the variance is the sum over strata h of
    (n_h - 1) / n_h * sum_i (l_hi - mean_h)^2, with l_hi the logit without group i (Shao & Tu 1995, ch. 6), and
    the quantile is Student's with the degrees of freedom of `stratified_variance`. Where a value without a group is
    at an end of `span`, the logits are taken along the tangent at `value`.
    """
    width = span[1] - span[0]
    share, shares = (value - span[0]) / width, (without - span[0]) / width
    if reason := _why_none(value, share, shares, strata):
        return Interval(None, None, reason)
    logits = logits_around(share, shares)
    variance, freedom = stratified_variance(logits, strata, sizes)
    half = student_t.ppf((1 + level) / 2, freedom) * np.sqrt(variance)
    ends = span[0] + width * expit(logit(share) + np.array([-half, half]))
    return Interval(float(ends[0]), float(ends[1]))


def logits_around(share: float, shares: Floats) -> Floats:
    """The logits of `shares`; where one of them is 0 or 1, all of them along the logit's tangent at `share`."""
    logits: Floats
    if ((shares > 0) & (shares < 1)).all():
        logits = logit(shares)
    else:
        logits = logit(share) + (shares - share) / (share * (1 - share))
    return logits


def stratified_variance(without: Floats, strata: Ints, sizes: Ints | Floats) -> tuple[float, float]:
    """Jackknife variance of values `without` each group [G] and its degrees of freedom (Satterthwaite 1946).

    Of a stratum's groups these are one less than the number of equal groups that they are worth (`equal_groups`):
    where few large ones decide, the variance is as uncertain as that of few. A stratum of a single group adds
    nothing: the caller knows whether it may.
    """
    variances, freedoms = [], []
    for stratum in np.unique(strata):
        own = without[strata == stratum]
        variances.append((len(own) - 1) * np.var(own))
        freedoms.append(max(equal_groups(sizes[strata == stratum]) - 1, 1))
    total = float(np.sum(variances))
    return total, float(total**2 / np.sum(np.square(variances) / freedoms)) if total > 0 else 1.0


def equal_groups(sizes: Ints | Floats) -> float:
    """How many equal groups those of these sizes are worth: (sum n_g)^2 / sum n_g^2 (Kish 1965)."""
    return float(sizes.sum() ** 2 / (sizes.astype(np.float64) ** 2).sum())


def rests_on_one(value: float, without: Floats, strata: Ints) -> bool:
    """Whether the value changes `without` [G] a group that is the only one of its stratum."""
    alone = np.isin(strata, np.flatnonzero(np.bincount(strata) == 1))
    return not (np.abs(without[alone] - value) < NO_CHANGE).all()


def span_of(metric: str, outcomes: Outcomes) -> tuple[float, float]:
    """The least and the greatest value that a metric can have."""
    if metric == "mcc":
        return -1.0, 1.0
    return 0.0, 2.0 if metric == "brier" and outcomes.positive is None else 1.0


def independent_groups(metric: str, outcomes: Outcomes) -> float:
    """How many `equal_groups` the cells that a metric speaks of are worth.

    Of metrics that average or compare classes, the fewest of any class.
    """
    by_class = outcomes.cells_by_group.astype(np.float64)
    if metric in OF_ALL_CELLS:
        columns = by_class.sum(axis=1, keepdims=True)
    elif outcomes.positive is None or metric not in ("sensitivity", "specificity"):
        columns = by_class
    else:
        chosen = outcomes.positive if metric == "sensitivity" else 1 - outcomes.positive
        columns = by_class[:, [chosen]]
    columns = columns[:, columns.any(axis=0)]
    return min(equal_groups(column) for column in columns.T)


def wilson(
    share: float, n: float, level: float = LEVEL, quantile: float | None = None
) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share of n, which may be a fraction; the normal quantile if none is given."""
    z = float(norm.ppf((1 + level) / 2)) if quantile is None else quantile
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low = 0.0 if share == 0 else max(float(centre - half), 0.0)
    high = 1.0 if share == 1 else min(float(centre + half), 1.0)
    return low, high


def _percentiles(outcomes: Outcomes, level: float, seed: int) -> dict[str, Interval]:
    drawn = weighted_metrics(outcomes, bootstrap_weights(outcomes, N_RESAMPLES, seed))
    return {name: _percentile(values[np.isfinite(values)], level) for name, values in drawn.items()}


def _percentile(values: Floats, level: float) -> Interval:
    if len(values) < FEW_DEFINED * N_RESAMPLES:
        return Interval(
            None, None, f"it is undefined in {N_RESAMPLES - len(values)} of {N_RESAMPLES} resamples"
        )
    if np.ptp(values) < NO_CHANGE:
        return Interval(None, None, "it is the same in every resample")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def wilson_type(name: str, value: float, none: Interval, outcomes: Outcomes, level: float) -> Interval:
    """Wilson's bounds for a metric of this name in the place of an interval that is `none`.

    The same where the value is undefined.
    """
    if np.isnan(value):
        return none
    start, end = span_of(name, outcomes)
    n = independent_groups(name, outcomes)
    low, high = (start + (end - start) * bound for bound in wilson((value - start) / (end - start), n, level))
    return Interval(low, high, f"{none.reason}: Wilson's bounds of {n:.1f} equal groups")


def _why_none(value: float, share: float, shares: Floats, strata: Ints) -> str | None:
    if not 0 < share < 1:
        return f"the value is {value:g}" if np.isfinite(share) else "the value is undefined"
    if rests_on_one(share, shares, strata):
        return ALONE
    if not np.isfinite(shares).all():
        return "without one of the groups the value is undefined"
    if np.ptp(shares) < NO_CHANGE:
        return "no group changes the value"
    return None
