"""Means over seeds: both variances against their definitions, and a mean's interval that is wider than one run's."""

from __future__ import annotations

import numpy as np
import pytest
from paired_models import models
from scipy.special import expit, logit
from scipy.stats import t as student_t

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.metrics import METRICS, metric_values
from leukemia_lab.evaluation.paired import ALONE, resampled
from leukemia_lab.evaluation.seeds import over_seeds
from leukemia_lab.evaluation.uncertainty import intervals


def test_both_variances_are_those_of_their_definitions() -> None:
    drawn = models(np.random.default_rng(0), [1.0, 1.4, 0.8, 2.0])
    members = [0, 1, 3]
    found = over_seeds(resampled(drawn), members)["auroc"]
    first = drawn[0]

    def mean(kept: np.ndarray) -> float:
        return float(
            np.mean([metric_values(drawn[k].truth[kept], drawn[k].probs[kept], 0)["auroc"] for k in members])
        )

    values = [metric_values(drawn[k].truth, drawn[k].probs, 0)["auroc"] for k in members]
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["n_seeds"] == 3
    assert found["sd"] == pytest.approx(np.std(values, ddof=1))
    assert (found["min"], found["max"]) == pytest.approx((min(values), max(values)))
    parts = []
    for label in (0, 1):
        own = [g for g in range(first.n_groups) if first.truth[first.groups == g][0] == label]
        without = [mean(first.groups != g) for g in own]
        parts.append((len(own) - 1) * np.var(without))
    of_subjects = sum(parts)
    assert found["var_between_subjects"] == pytest.approx(of_subjects)


def test_the_interval_of_the_mean_holds_both_variances_on_the_logit_scale() -> None:
    drawn = models(np.random.default_rng(4), [1.0, 1.4, 0.8])
    runs = resampled(drawn)
    found = over_seeds(runs, [0, 1, 2])["auroc"]
    m = METRICS.index("auroc")
    left = logit(runs.without[:, m].mean(axis=0))
    parts = [left[runs.strata == stratum] for stratum in (0, 1)]
    variances = [(len(own) - 1) * own.var() for own in parts]
    of_seeds = logit(runs.values[:, m]).var(ddof=1) / 3
    total = sum(variances) + of_seeds
    cells = np.bincount(drawn[0].groups)
    sizes = [cells[runs.strata == stratum] for stratum in (0, 1)]
    freedoms = [own.sum() ** 2 / (own**2).sum() - 1 for own in sizes]
    freedom = total**2 / (sum(v**2 / n for v, n in zip(variances, freedoms, strict=True)) + of_seeds**2 / 2)
    half = student_t.ppf(0.975, freedom) * np.sqrt(total)
    centre = logit(found["mean"])
    assert (found["low"], found["high"]) == pytest.approx(tuple(expit([centre - half, centre + half])))


def test_the_mean_of_equal_runs_has_the_interval_of_one() -> None:
    model = models(np.random.default_rng(5), [1.0])[0]
    found = over_seeds(resampled([model, model]), [0, 1])
    for name, interval in intervals(model).items():
        if interval.reason is None:
            assert (found[name]["low"], found[name]["high"]) == pytest.approx(interval[:2]), name


def test_equal_seeds_vary_by_subject_alone() -> None:
    model = models(np.random.default_rng(1), [1.0])[0]
    found = over_seeds(resampled([model, model]), [0, 1])
    assert set(found) == set(METRICS)
    assert found["auroc"]["sd"] == 0
    assert found["auroc"]["var_between_subjects"] > 0


def test_a_single_group_of_a_class_leaves_the_mean_and_a_reason() -> None:
    found = over_seeds(resampled(models(np.random.default_rng(2), [1.0, 1.2], n_groups=(5, 1))), [0, 1])[
        "auroc"
    ]
    assert found["reason"] == ALONE
    assert found["low"] is None
    assert found["mean"] is not None
    assert found["sd"] > 0
    assert found["var_between_subjects"] is None


def test_one_run_is_refused() -> None:
    drawn = models(np.random.default_rng(3), [1.0, 1.2])
    with pytest.raises(RunError, match="two or more"):
        over_seeds(resampled(drawn), [1])
