"""Differences between runs on the same cells, by subject: the paired jackknife of every metric and every pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student_t

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.metrics import METRICS, Floats, Ints, metric_values
from leukemia_lab.evaluation.outcomes import Outcomes
from leukemia_lab.evaluation.resampling import leave_one_out
from leukemia_lab.evaluation.uncertainty import ALONE, LEVEL, NO_CHANGE, NO_GROUPS, span_of

UNDEFINED = "the metric is undefined on these cells"
SAME = "the two have the same predictions"
UNDEFINED_WITHOUT = "without one of the groups the metric is undefined"
NO_SPREAD = "leaving groups out does not change the difference, which says nothing about how groups differ"


@dataclass(frozen=True)
class Resampled:
    """M metrics of R runs on the same n cells: `values` [R, M], and `without` each of G groups [R, M, G].

    `strata` [G] is the class of each group, `sizes` [G] are its cells, `spans` [M, 2] the least and the greatest value
    that a metric can have, and two runs of the same number in `kinds` [R] have the same predictions. Without groups G
    is 0.
    """

    values: Floats
    without: Floats
    strata: Ints
    sizes: Ints
    spans: Floats
    kinds: Ints


@dataclass(frozen=True)
class Differences:
    """M metrics of the first less those of the second run of each pair [P, 2], with intervals and p-values [P, M].

    What cannot be said is NaN, and `reasons` [P, M] says why; None where there is nothing to say.
    """

    pairs: Ints
    difference: Floats
    low: Floats
    high: Floats
    p: Floats
    reasons: npt.NDArray[np.object_]


def all_pairs(n_runs: int) -> Ints:
    """Each pair of runs once [P, 2], the first before the second."""
    return np.stack(np.triu_indices(n_runs, k=1), axis=1).astype(np.int64)


def resampled(models: Sequence[Outcomes]) -> Resampled:
    """`METRICS` of all models, and without each group; RunError where they are not of the same cells, in order."""
    first = models[0]
    for model in models[1:]:
        same = np.array_equal(model.cell_ids, first.cell_ids) and np.array_equal(model.truth, first.truth)
        if (
            not same
            or model.group_names != first.group_names
            or not np.array_equal(model.groups, first.groups)
        ):
            raise RunError(
                "runs can only be paired on the same cells with the same labels and groups, in the same order"
            )
    known: dict[bytes, int] = {}
    kinds = [known.setdefault(model.probs.tobytes(), len(known)) for model in models]
    found = [_without_groups(model) for model in models]
    return Resampled(
        values=np.stack([values for values, _ in found]),
        without=np.stack([without for _, without in found]),
        strata=first.strata if first.n_groups else np.empty(0, dtype=np.int64),
        sizes=first.sizes if first.n_groups else np.empty(0, dtype=np.int64),
        spans=np.array([span_of(name, first) for name in METRICS]),
        kinds=np.array(kinds, dtype=np.int64),
    )


def differences(runs: Resampled, pairs: Ints, level: float = LEVEL) -> Differences:
    """The paired delete-one-group jackknife of each metric for each of `pairs` [P, 2].

    The difference d is recomputed without each group; its variance is the sum over classes h of
    (n_h - 1) / n_h * sum_i (d_hi - mean_h)^2 (Shao & Tu 1995, ch. 6), its quantile Student's with Satterthwaite's
    (1946) degrees of freedom. All on the scale of the metric itself: docs/comparison.md shows how often that rejects
    where nothing differs. Both models are taken as given: training again with another seed is not part of it.
    """
    shape = (len(pairs), runs.values.shape[1])
    difference_of, low, high, p_of = np.full((4, *shape), np.nan)
    found = Differences(pairs, difference_of, low, high, p_of, np.full(shape, None, dtype=object))
    same = runs.kinds[pairs[:, 0]] == runs.kinds[pairs[:, 1]]
    for m, width in enumerate(np.ptp(runs.spans, axis=1)):
        difference = runs.values[pairs[:, 0], m] - runs.values[pairs[:, 1], m]
        without = runs.without[pairs[:, 0], m] - runs.without[pairs[:, 1], m]
        found.difference[:, m] = difference
        variance, freedom = _variances(without, runs.strata)
        reasons = _reasons(difference, without, runs.strata, same)
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.sqrt(variance)
            half = student_t.ppf((1 + level) / 2, freedom) * error
            p = 2 * student_t.sf(np.abs(difference) / error, freedom)
        told = np.array([reason is None for reason in reasons], dtype=bool)
        zero = np.abs(difference) < NO_CHANGE
        found.low[:, m] = np.where(told, np.maximum(difference - half, -width), np.nan)
        found.high[:, m] = np.where(told, np.minimum(difference + half, width), np.nan)
        found.p[:, m] = np.where(told, p, np.where(zero & (reasons == NO_SPREAD), 1.0, np.nan))
        for ends in (found.low, found.high):
            ends[reasons == SAME, m] = 0.0
        found.p[reasons == SAME, m] = 1.0
        found.reasons[:, m] = reasons
    return found


def why_not(value: float, without: Floats, strata: Ints) -> str | None:
    """Why the jackknife says nothing of a value, given it without each group [G]; None where it does."""
    reason: str | None = _reasons(np.array([value]), without[None], strata, np.array([False]))[0]
    return reason


def _without_groups(model: Outcomes) -> tuple[Floats, Floats]:
    if model.n_groups == 0:
        values = metric_values(model.truth, model.probs, model.positive)
        return np.array([values[name] for name in METRICS]), np.empty((len(METRICS), 0))
    found = leave_one_out(model)
    return np.array([found[name][0] for name in METRICS]), np.stack([found[name][1] for name in METRICS])


def _variances(without: Floats, strata: Ints) -> tuple[Floats, Floats]:
    """Stratified jackknife variance of values without each group [P, G], and its degrees of freedom [P].

    Unlike those of an interval these count groups, whatever their sizes: differences of equally good models are
    symmetric, and with fewer the test rejects too seldom (docs/comparison.md has its measured rates).
    """
    total, squares = np.zeros(len(without)), np.zeros(len(without))
    for stratum in np.unique(strata):
        own = without[:, strata == stratum]
        variance = (own.shape[1] - 1) * own.var(axis=1)
        total += variance
        squares += variance**2 / max(own.shape[1] - 1, 1)
    freedom = np.divide(total**2, squares, out=np.ones_like(total), where=squares > 0)
    return total, freedom


def _reasons(
    difference: Floats, without: Floats, strata: Ints, same: npt.NDArray[np.bool_]
) -> npt.NDArray[np.object_]:
    """Why nothing can be said of each pair's difference [P]; None where it can."""
    reasons = np.full(len(difference), None, dtype=object)
    if without.shape[1] == 0:
        reasons[:] = NO_GROUPS
    else:
        alone = np.isin(strata, np.flatnonzero(np.bincount(strata) == 1))
        moved = ~(np.abs(without - difference[:, None]) < NO_CHANGE)
        reasons[np.ptp(without, axis=1) < NO_CHANGE] = NO_SPREAD
        reasons[~np.isfinite(without).all(axis=1)] = UNDEFINED_WITHOUT
        reasons[(moved & alone).any(axis=1)] = ALONE
    reasons[same] = SAME
    reasons[np.isnan(difference)] = UNDEFINED
    return reasons
