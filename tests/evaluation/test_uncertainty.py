from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from random_outcomes import outcomes_of, random_outcomes
from scipy.stats import binomtest, norm

from leukemia_lab.evaluation.metrics import METRICS, metric_values
from leukemia_lab.evaluation.outcomes import Outcomes
from leukemia_lab.evaluation.predictions import predictions_table
from leukemia_lab.evaluation.uncertainty import (
    NO_GROUPS,
    independent_groups,
    intervals,
    span_of,
    stratified_variance,
)


def clustered(
    rng: np.random.Generator, n_subjects: tuple[int, int], n_cells: int, d_prime: float
) -> Outcomes:
    """Scores of variance 1 within a class, .3 of it the subject's; class 0 first."""
    groups = np.repeat(np.arange(sum(n_subjects)), n_cells)
    truth = (groups >= n_subjects[0]).astype(np.int64)
    own = rng.normal(0, np.sqrt(0.3), sum(n_subjects))[groups]
    scores = d_prime * (0.5 - truth) + own + rng.normal(0, np.sqrt(0.7), len(groups))
    prob = 1 / (1 + np.exp(-scores))
    return outcomes_of(truth, np.stack([prob, 1 - prob], axis=1), groups, 0)


@pytest.mark.parametrize("method", ["jackknife", "bootstrap"])
def test_intervals_hold_the_truth_as_often_as_they_say(method: str) -> None:
    """A short form of benchmarks/bench_coverage.py; the bounds are 4 standard errors wide."""
    rng = np.random.default_rng(1)
    truth = {"accuracy": norm.cdf(1), "sensitivity": norm.cdf(1), "auroc": norm.cdf(2 / np.sqrt(2))}
    n_drawn = 200 if method == "jackknife" else 40
    counts = dict.fromkeys(truth, 0)
    for _ in range(n_drawn):
        found = intervals(clustered(rng, (30, 20), 40, 2.0), method=method)  # type: ignore[arg-type]
        for name, value in truth.items():
            low, high, reason = found[name]
            assert low is not None
            assert high is not None
            assert reason is None
            counts[name] += low <= value <= high
    slack = 4 * np.sqrt(0.05 * 0.95 / n_drawn)
    for name, n_held in counts.items():
        assert 0.94 - slack <= n_held / n_drawn, (name, n_held)
    if method == "jackknife":
        assert min(counts.values()) < n_drawn  # intervals that hold everything say nothing


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("method", ["jackknife", "bootstrap"])
def test_every_defined_value_has_bounds_around_it(seed: int, method: str) -> None:
    outcomes = random_outcomes(seed)
    values = metric_values(outcomes.truth, outcomes.probs, outcomes.positive)
    for name, interval in intervals(outcomes, method=method).items():  # type: ignore[arg-type]
        if np.isnan(values[name]):
            assert interval[:2] == (None, None)
            assert interval.reason is not None
            continue
        assert interval.low is not None
        assert interval.high is not None
        start, end = span_of(name, outcomes)
        assert start <= interval.low <= interval.high <= end, name
        if method == "jackknife":  # percentiles of ECE may lie wholly above it: noise adds to it
            assert interval.low - 1e-9 <= values[name] <= interval.high + 1e-9, name


def test_a_perfect_classifier_has_wilsons_bounds_of_its_subjects() -> None:
    groups = np.repeat(np.arange(20), 7)
    truth = groups // 12
    found = intervals(outcomes_of(truth, np.eye(2)[truth], groups, 0))
    for name, n in {
        "accuracy": 20,
        "sensitivity": 12,
        "specificity": 8,
        "auroc": 8,
        "auprc": 8,
        "f1": 8,
    }.items():
        expected = binomtest(n, n).proportion_ci(0.95, method="wilson")
        assert found[name].low == pytest.approx(expected.low)
        assert found[name].high == 1
        assert found[name].reason == f"the value is 1: Wilson's bounds of {n}.0 equal groups"
    none_wrong = binomtest(0, 20).proportion_ci(0.95, method="wilson")
    assert found["brier"][:2] == pytest.approx((0, none_wrong.high))
    assert found["mcc"].low == pytest.approx(2 * binomtest(8, 8).proportion_ci(0.95, method="wilson").low - 1)


def test_a_constant_classifier_has_wide_bounds_and_says_why() -> None:
    groups = np.repeat(np.arange(20), 7)
    found = intervals(outcomes_of(groups // 12, np.tile([0.7, 0.3], (140, 1)), groups, 0))
    assert found["sensitivity"].reason is not None
    assert found["sensitivity"].reason.startswith("the value is 1")
    assert found["specificity"].low == 0
    low, high, reason = found["auroc"]
    assert (low, high) == pytest.approx(binomtest(4, 8).proportion_ci(0.95, method="wilson"))
    assert reason == "no group changes the value: Wilson's bounds of 8.0 equal groups"


def test_one_subject_of_a_class_leaves_the_other_class_its_interval() -> None:
    rng = np.random.default_rng(3)
    found = intervals(clustered(rng, (12, 1), 30, 1.5))
    assert found["sensitivity"].reason is None
    low, high, reason = found["specificity"]
    assert reason is not None
    assert "a class has a single group" in reason
    assert low is not None
    assert high is not None
    assert high - low > 0.6  # one subject says next to nothing
    assert found["auroc"].reason == reason


def test_without_subjects_there_are_no_bounds() -> None:
    outcomes = outcomes_of([0, 1], [[0.9, 0.1], [0.4, 0.6]], [0, 1], 0)
    nameless = Outcomes(**(vars(outcomes) | {"groups": np.empty(0, dtype=np.int64), "group_names": ()}))
    assert set(intervals(nameless).values()) == {(None, None, NO_GROUPS)}
    assert set(intervals(nameless)) == set(METRICS)


def test_unequal_groups_are_worth_fewer_equal_ones() -> None:
    groups = np.repeat([0, 1, 2, 3], [90, 10, 50, 50])
    outcomes = outcomes_of(groups // 2, np.full((200, 2), 0.5), groups, 0)
    assert independent_groups("sensitivity", outcomes) == pytest.approx(100**2 / (90**2 + 10**2))
    assert independent_groups("specificity", outcomes) == pytest.approx(2)
    assert independent_groups("auroc", outcomes) == independent_groups("sensitivity", outcomes)
    assert independent_groups("accuracy", outcomes) == pytest.approx(200**2 / (90**2 + 10**2 + 2 * 50**2))


def test_higher_levels_are_wider() -> None:
    outcomes = clustered(np.random.default_rng(4), (9, 9), 20, 1.5)
    for method in ("jackknife", "bootstrap"):
        narrow, wide = (intervals(outcomes, level, method)["auroc"] for level in (0.8, 0.99))  # type: ignore[arg-type]
        assert wide.low < narrow.low < narrow.high < wide.high  # type: ignore[operator]


def test_a_bootstrap_does_not_hide_that_a_class_has_one_group() -> None:
    """Drawn again, the only group of a class is always the same: the interval would be of the other class alone."""
    outcomes = clustered(np.random.default_rng(3), (10, 1), 40, 1.0)
    by_bootstrap, by_jackknife = (intervals(outcomes, method=m) for m in ("bootstrap", "jackknife"))
    for name in ("balanced_accuracy", "auroc", "accuracy"):
        assert by_bootstrap[name] == by_jackknife[name]
        assert "a single group" in str(by_bootstrap[name].reason)
    assert by_bootstrap["sensitivity"].reason is None  # of the class with ten


def test_cells_without_subjects_are_no_groups_of_their_own() -> None:
    """A split without subjects groups a cell with its copies alone, which says nothing of new subjects."""
    n = 40
    cells = pd.DataFrame(
        {
            "cell_id": [f"{k}.bmp" for k in range(n)],
            "subject": [None] * n,
            "group": [f"cell {k}" for k in range(n)],
            "part": "val",
            "fold": None,
            "label": ["ALL", "HEM"] * (n // 2),
        }
    )
    logits = np.random.default_rng(0).normal(size=(n, 2))
    table = predictions_table(cells, logits, ("ALL", "HEM"), "r")
    outcomes = Outcomes.of(table, ("ALL", "HEM"), "ALL")
    assert outcomes.n_groups == 0
    assert {interval.reason for interval in intervals(outcomes).values()} == {NO_GROUPS}
    table.loc[0, "subject"] = "17"  # some are named
    assert Outcomes.of(table, ("ALL", "HEM"), "ALL").n_groups == 0


def test_few_large_groups_leave_few_degrees_of_freedom() -> None:
    """Equal groups have one less than their number (Satterthwaite); groups of one class alone, by hand."""
    without, strata = np.array([0.4, 0.5, 0.7, 0.6]), np.zeros(4, dtype=np.int64)
    variance, freedom = stratified_variance(without, strata, np.array([7, 7, 7, 7]))
    assert (variance, freedom) == pytest.approx((3 * without.var(), 3))
    _, fewer = stratified_variance(without, strata, np.array([90, 10, 10, 10]))
    assert fewer == pytest.approx(max(120**2 / (90**2 + 300) - 1, 1))
    both = stratified_variance(np.tile(without, 2), np.repeat([0, 1], 4), np.full(8, 7))
    assert both == pytest.approx((2 * 3 * without.var(), 6))
