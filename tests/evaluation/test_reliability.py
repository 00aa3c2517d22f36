from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from leukemia_lab.evaluation.metrics import expected_calibration_error, metric_values
from leukemia_lab.evaluation.reliability import (
    brier_decomposition,
    calibration_scores,
    reliability_table,
)
from leukemia_lab.evaluation.uncertainty import wilson

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
CASES = [(k, seed, ties) for k in (2, 3, 4, 5) for seed in range(10) for ties in (False, True)]


def random_case(n_classes: int, seed: int, ties: bool) -> tuple[Ints, Floats]:
    """Class indices and probabilities, with ties those of 15 nearest neighbours, 0 and 1 among them."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, int(rng.integers(40, 300)))
    probs = softmax(rng.normal(size=(len(truth), n_classes)) + 1.5 * np.eye(n_classes)[truth], axis=1)
    return truth, (rng.multinomial(15, probs) / 15 if ties else probs)


@pytest.mark.parametrize(("n_classes", "seed", "ties"), CASES)
def test_the_terms_sum_to_the_brier_score(n_classes: int, seed: int, ties: bool) -> None:
    truth, probs = random_case(n_classes, seed, ties)
    positive = seed % 2 if n_classes == 2 and seed < 8 else None
    scores = calibration_scores(truth, probs, positive)
    total = scores["reliability"] - scores["resolution"] + scores["uncertainty"] + scores["within_bin"]
    assert total == pytest.approx(scores["brier"], abs=1e-12)
    values = metric_values(truth, probs, positive)
    assert (scores["ece"], scores["brier"]) == pytest.approx((values["ece"], values["brier"]), abs=1e-12)
    assert scores["log_loss"] == pytest.approx(log_loss(truth, probs, labels=range(n_classes)), abs=1e-12)
    if positive is not None:
        reference = brier_score_loss(truth == positive, probs[:, positive])
        assert total == pytest.approx(reference, abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_terms_equal_sums_over_bins(seed: int) -> None:
    """Stephenson's five terms, each written out as loops over the cells of each bin."""
    rng = np.random.default_rng(seed)
    prob = rng.random(200)
    happened = rng.random(200) < prob**2
    edges = np.linspace(0, 1, 16)
    reliability = resolution = variance = covariance = 0.0
    for low, high in pairwise(edges):
        p, o = prob[(prob > low) & (prob <= high)], happened[(prob > low) & (prob <= high)]
        if len(p):
            reliability += len(p) / 200 * (p.mean() - o.mean()) ** 2
            resolution += len(p) / 200 * (o.mean() - happened.mean()) ** 2
            variance += sum((p - p.mean()) ** 2) / 200
            covariance += sum((p - p.mean()) * (o - o.mean())) / 200
    found = brier_decomposition(happened, prob)
    assert found.reliability == pytest.approx(reliability, abs=1e-12)
    assert found.resolution == pytest.approx(resolution, abs=1e-12)
    assert found.within_bin == pytest.approx(variance - 2 * covariance, abs=1e-12)
    assert found.uncertainty == pytest.approx(np.var(happened), abs=1e-12)


def test_nothing_is_left_within_confidence_bins_one_probability() -> None:
    prob = np.arange(1, 16).repeat(10) / 15
    happened = np.random.default_rng(0).random(150) < prob
    assert brier_decomposition(happened, prob).within_bin == pytest.approx(0, abs=1e-12)


def test_classwise_ece_and_log_loss_by_hand() -> None:
    """Class 0: bin of 0.9 holds shares 1 and 0, gap |0.5 - 0.9| * 2/3; bin of 0.2: gap 0.2 / 3; class 1 mirrors it."""
    probs = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]])
    scores = calibration_scores(np.array([0, 1, 1]), probs, 0)
    assert scores["classwise_ece"] == pytest.approx(0.4 * 2 / 3 + 0.2 / 3)
    assert scores["log_loss"] == pytest.approx(-np.log(0.9 * 0.1 * 0.8) / 3)
    certain = calibration_scores(np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]]), 0)
    assert certain["log_loss"] == pytest.approx(-np.log(np.finfo(float).eps) / 2)


@pytest.mark.parametrize(("n_classes", "seed", "ties"), CASES)
def test_the_bars_of_the_diagram_give_the_ece(n_classes: int, seed: int, ties: bool) -> None:
    truth, probs = random_case(n_classes, seed, ties)
    rows = reliability_table(truth, probs, None)
    assert sum(row["n"] for row in rows) == len(truth)
    gaps = sum(row["n"] * abs(row["accuracy"] - row["confidence"]) for row in rows) / len(truth)
    ece = expected_calibration_error(probs.argmax(axis=1) == truth, probs.max(axis=1))
    assert gaps == pytest.approx(ece, abs=1e-12)
    for row in rows:
        assert row["low"] - 1e-9 <= row["confidence"] <= row["high"] + 1e-9
        assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]


@pytest.mark.parametrize("seed", range(10))
def test_bars_of_the_positive_class_equal_scikit_learn(seed: int) -> None:
    truth, probs = random_case(2, seed, ties=False)
    share, confidence = calibration_curve(truth == 1, probs[:, 1], n_bins=15)
    rows = reliability_table(truth, probs, 1)
    assert [row["accuracy"] for row in rows] == pytest.approx(share)
    assert [row["confidence"] for row in rows] == pytest.approx(confidence)
    for row in rows:
        own = binomtest(round(row["accuracy"] * row["n"]), row["n"]).proportion_ci(0.95, "wilson")
        assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx((own.low, own.high), abs=1e-12)
        assert row["n_groups"] is None


def test_zero_and_one_have_their_bins() -> None:
    probs = np.array([[1.0, 0.0], [0.0, 1.0], [0.4, 0.6]])
    rows = reliability_table(np.array([0, 1, 1]), probs, 1)
    assert [(row["low"], row["n"]) for row in rows] == [(0.0, 1), (8 / 15, 1), (14 / 15, 1)]
    assert [row["high"] for row in reliability_table(np.array([0, 1, 1]), probs, 1, bins=2)] == [0.5, 1.0]


@pytest.mark.parametrize("n", [1, 2, 17, 400])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_wilson_equals_scipy(n: int, level: float) -> None:
    for k in {0, 1, n // 2, n}:
        expected = binomtest(k, n).proportion_ci(level, "wilson")
        assert wilson(k / n, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_bounds_by_group_hold_where_those_of_cells_do_not() -> None:
    """One bin, 12 groups of 30 cells whose shares differ (beta, mean 0.6): 95 % bounds, 300 samples."""
    inside, inside_of_cells = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(12), 30)
        truth = (rng.random(360) < rng.beta(3, 2, 12)[groups]).astype(np.int64)
        probs = np.tile([0.38, 0.62], (360, 1))
        (by_group,) = reliability_table(truth, probs, 1, groups=groups)
        (by_cell,) = reliability_table(truth, probs, 1)
        assert (by_group["n"], by_group["n_groups"]) == (360, 12)
        inside.append(by_group["accuracy_low"] <= 0.6 <= by_group["accuracy_high"])
        inside_of_cells.append(by_cell["accuracy_low"] <= 0.6 <= by_cell["accuracy_high"])
    assert 0.93 <= np.mean(inside) <= 0.975
    assert np.mean(inside_of_cells) < 0.7


def test_bounds_of_few_or_equal_groups() -> None:
    truth, probs = np.ones(20, dtype=np.int64), np.tile([0.1, 0.9], (20, 1))
    (alone,) = reliability_table(truth, probs, 1, groups=np.zeros(20, dtype=np.int64))
    assert (alone["accuracy_low"], alone["accuracy_high"]) == pytest.approx(wilson(1.0, 1))
    (five,) = reliability_table(truth, probs, 1, groups=np.repeat(np.arange(5), 4))
    assert five["accuracy_high"] == 1
    assert alone["accuracy_low"] < five["accuracy_low"] < 0.5
