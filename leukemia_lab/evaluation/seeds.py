"""Runs that differ only in their seed: what they reach on average, and what varies from seed to seed and by subject."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit, logit
from scipy.stats import t as student_t

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.metrics import METRICS, Floats
from leukemia_lab.evaluation.paired import UNDEFINED, Resampled, why_not
from leukemia_lab.evaluation.uncertainty import LEVEL, logits_around, stratified_variance


def over_seeds(runs: Resampled, members: Sequence[int], level: float = LEVEL) -> dict[str, dict[str, Any]]:
    """By metric what the runs `members`, two or more that differ only in their seed, say together.

    `{"mean", "sd", "min", "max", "n_seeds", "var_between_seeds", "var_between_subjects", "low", "high", "reason"?}`.
    `var_between_seeds` is the sample variance s^2 of the values over the n seeds, `sd` its root: how far a run with
    another seed would be from these, on the same cells. `var_between_subjects` is the stratified jackknife variance J
    of the mean over these seeds: how far it would be on other subjects. `low` and `high` hold both: on the logit scale,
    where both variances are taken anew, the mean give or take Student's quantile times sqrt(J + s^2 / n), with
    Satterthwaite's (1946) degrees of freedom. That is cautious: where subjects suit one seed and not another, both
    terms count it. RunError with fewer than two members.
    """
    if len(members) < 2:
        raise RunError(f"{len(members)} run(s) say nothing about seeds: two or more are needed")
    chosen = np.asarray(members)
    return {
        name: _summary(
            runs.values[chosen, m], runs.without[chosen, m].mean(axis=0), runs, tuple(runs.spans[m]), level
        )
        for m, name in enumerate(METRICS)
    }


def _summary(
    values: Floats, without: Floats, runs: Resampled, span: tuple[float, ...], level: float
) -> dict[str, Any]:
    n = len(values)
    nothing = dict.fromkeys(
        ("mean", "sd", "min", "max", "var_between_seeds", "var_between_subjects", "low", "high")
    )
    if np.isnan(values).any():
        return {**nothing, "n_seeds": n, "reason": UNDEFINED}
    mean, of_seeds = float(values.mean()), float(values.var(ddof=1))
    summary: dict[str, Any] = {
        **nothing,
        "n_seeds": n,
        "mean": mean,
        "sd": float(np.sqrt(of_seeds)),
        "min": float(values.min()),
        "max": float(values.max()),
        "var_between_seeds": of_seeds,
    }
    reason = why_not(mean, without, runs.strata)
    if reason is not None:
        return summary | {"reason": reason}
    summary["var_between_subjects"] = stratified_variance(without, runs.strata, runs.sizes)[0]
    return summary | _bounds(values, without, runs, span, level)


def _bounds(
    values: Floats, without: Floats, runs: Resampled, span: tuple[float, ...], level: float
) -> dict[str, Any]:
    """The interval of the mean on the logit scale, as that of a single run is."""
    width, n = span[1] - span[0], len(values)
    share = (float(values.mean()) - span[0]) / width
    shares, left = (values - span[0]) / width, (without - span[0]) / width
    if not 0 < share < 1:
        return {"reason": f"the mean is {values.mean():g}, an end of its range"}
    of_subjects, freedom = stratified_variance(logits_around(share, left), runs.strata, runs.sizes)
    of_seeds = float(logits_around(share, shares).var(ddof=1)) / n
    total = of_subjects + of_seeds
    freedom_of_both = total**2 / (of_subjects**2 / freedom + of_seeds**2 / (n - 1))
    half = student_t.ppf((1 + level) / 2, freedom_of_both) * np.sqrt(total)
    low, high = span[0] + width * expit(logit(share) + np.array([-half, half]))
    return {"low": float(low), "high": float(high)}
