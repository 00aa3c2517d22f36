from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import balanced_accuracy_score, recall_score, roc_auc_score, roc_curve

from leukemia_lab.errors import ConfigError, RunError
from leukemia_lab.evaluation.metrics import metric_values
from leukemia_lab.evaluation.operating_point import at_threshold, choose_threshold, move_threshold, parse_rule
from leukemia_lab.schema.evaluation import Evaluation

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def random_case(seed: int, ties: bool) -> tuple[Bools, Floats]:
    rng = np.random.default_rng(seed)
    is_positive = rng.random(int(rng.integers(10, 200))) < 0.4
    is_positive[:2] = [True, False]
    prob = 1 / (1 + np.exp(-rng.normal(loc=1.5 * is_positive)))
    return is_positive, np.round(prob * 7) / 7 if ties else prob


CASES = [(seed, ties) for seed in range(15) for ties in (False, True)]


def rates(is_positive: Bools, prob: Floats, threshold: float) -> tuple[float, float]:
    decided = prob >= threshold
    return float(np.mean(decided[is_positive])), float(np.mean(~decided[~is_positive]))


@pytest.mark.parametrize(("seed", "ties"), CASES)
def test_no_threshold_has_a_higher_balanced_accuracy(seed: int, ties: bool) -> None:
    is_positive, prob = random_case(seed, ties)
    point = choose_threshold(is_positive, prob, "balanced_accuracy")
    tried = np.unique(np.concatenate([np.linspace(0, 1, 301), prob, np.nextafter(prob, 1)]))
    best = max(sum(rates(is_positive, prob, t)) / 2 for t in tried)
    fall_out, hits, _ = roc_curve(is_positive, prob, drop_intermediate=False)
    assert best == pytest.approx(((hits - fall_out).max() + 1) / 2)
    assert point.balanced_accuracy == pytest.approx(best)
    assert (point.sensitivity, point.specificity) == pytest.approx(rates(is_positive, prob, point.threshold))
    assert point.balanced_accuracy == pytest.approx(
        balanced_accuracy_score(is_positive, prob >= point.threshold)
    )
    assert point.sensitivity == recall_score(is_positive, prob >= point.threshold)
    assert point.n_cells == len(prob)
    assert point.threshold not in prob


@pytest.mark.parametrize(("seed", "ties"), CASES)
@pytest.mark.parametrize("asked", [0.5, 0.9, 0.95, 1.0])
def test_no_threshold_as_sensitive_is_more_specific(seed: int, ties: bool, asked: float) -> None:
    is_positive, prob = random_case(seed, ties)
    point = choose_threshold(is_positive, prob, f"min_sensitivity={asked}")
    tried = [rates(is_positive, prob, t) for t in np.concatenate([[0], prob, np.nextafter(prob, 1)])]
    enough = [(specificity, sensitivity) for sensitivity, specificity in tried if sensitivity >= asked]
    assert (point.specificity, point.sensitivity) == pytest.approx(max(enough))
    assert rates(is_positive, prob, point.threshold) == (point.sensitivity, point.specificity)


def test_the_middle_of_the_widest_gap_is_taken() -> None:
    """Cuts at (0.2, 0.3] and (0.5, 0.9] are equally good; the latter gap is wider."""
    is_positive = np.array([False, False, True, False, True, True])
    prob = np.array([0.1, 0.2, 0.3, 0.5, 0.9, 0.95])
    point = choose_threshold(is_positive, prob, "balanced_accuracy")
    assert point.balanced_accuracy == pytest.approx((2 / 3 + 1) / 2)
    assert point.threshold == pytest.approx(0.7)
    assert choose_threshold(is_positive, prob, "min_sensitivity=1").threshold == pytest.approx(0.25)
    assert choose_threshold(is_positive, prob, "min_sensitivity=0.6").threshold == pytest.approx(0.7)


@pytest.mark.parametrize("rule", ["balanced_accuracy", "min_sensitivity=0.95"])
def test_the_point_does_not_hang_on_noise_or_order(rule: str) -> None:
    is_positive, prob = random_case(5, ties=False)
    point = choose_threshold(is_positive, prob, rule)
    order = np.random.default_rng(0).permutation(len(prob))
    assert choose_threshold(is_positive[order], prob[order], rule) == point
    noisy = np.clip(prob + np.random.default_rng(1).normal(scale=1e-12, size=len(prob)), 0, 1)
    assert choose_threshold(is_positive, noisy, rule).threshold == pytest.approx(point.threshold, abs=1e-9)


def test_constant_inverted_and_neighbouring_scores() -> None:
    is_positive = np.array([True, False, True, False])
    constant = choose_threshold(is_positive, np.full(4, 0.7), "balanced_accuracy")
    assert (constant.sensitivity, constant.specificity, constant.threshold) == (1, 0, 0.35)
    assert constant.reason == "no threshold is better than taking all cells for one class"
    certain = choose_threshold(is_positive, np.ones(4), "balanced_accuracy")
    assert (certain.threshold, certain.sensitivity) == (0.5, 1)
    inverted = choose_threshold(is_positive, 1.0 - is_positive, "balanced_accuracy")
    assert inverted.balanced_accuracy == 0.5
    assert inverted.reason is not None
    all_positive = choose_threshold(is_positive, 1.0 - is_positive, "min_sensitivity=0.95")
    assert (all_positive.sensitivity, all_positive.specificity) == (1, 0)
    assert "every cell is taken for positive" in str(all_positive.reason)
    close = np.where(is_positive, 0.3 + 1e-9, 0.3)
    assert choose_threshold(is_positive, close, "balanced_accuracy").balanced_accuracy == 1
    tied = np.where(is_positive, np.nextafter(0.3, 1), 0.3)
    assert choose_threshold(is_positive, tied, "balanced_accuracy").balanced_accuracy == 0.5
    faint = np.where(is_positive, 3e-14, 1e-14)
    assert choose_threshold(is_positive, faint, "balanced_accuracy").threshold == pytest.approx(2e-14)
    next_to_one = np.where(is_positive, 1.0, np.nextafter(1, 0))
    assert choose_threshold(is_positive, next_to_one, "balanced_accuracy").balanced_accuracy == 0.5


@pytest.mark.parametrize(("only", "lacking"), [(True, "negative"), (False, "positive")])
@pytest.mark.parametrize("rule", ["balanced_accuracy", "min_sensitivity=0.9"])
def test_one_class_alone_leaves_the_usual_threshold(only: bool, lacking: str, rule: str) -> None:
    point = choose_threshold(np.full(3, only), np.array([0.2, 0.6, 0.7]), rule)
    described: dict[str, Any] = point.describe()
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert described["threshold"] == 0.5
    assert described["reason"] == f"no cell is of the {lacking} class: the threshold stays 0.5"
    assert described["balanced_accuracy"] is None
    assert described["sensitivity" if only else "specificity"] == pytest.approx(2 / 3 if only else 1 / 3)


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("threshold", [0.0, 1e-300, 0.2, 1 / 3, 0.5, 4 / 7, 0.9, 1.0])
def test_moved_probabilities_decide_and_rank_alike(positive: int, threshold: float) -> None:
    is_positive, prob = random_case(3, ties=True)
    prob = np.concatenate([prob, [threshold, np.nextafter(threshold, 0), np.nextafter(threshold, 1), 0, 1]])
    prob = np.clip(prob, 0, 1)
    is_positive = np.concatenate([is_positive, [True, False, True, False, True]])
    probs = np.empty((len(prob), 2))
    probs[:, positive], probs[:, 1 - positive] = prob, 1 - prob
    decided = at_threshold(probs, positive, threshold)
    assert ((decided == positive) == (prob >= threshold)).all()
    moved = move_threshold(probs, positive, threshold)
    assert (moved.argmax(axis=1) == decided).all()
    assert moved.sum(axis=1) == pytest.approx(np.ones(len(prob)))
    assert (moved.min(), moved.max()) == (0, 1)
    assert (np.diff(moved[np.argsort(prob), positive]) >= 0).all()
    if threshold > 1e-9:  # below it neighbouring floats become one
        assert roc_auc_score(is_positive, moved[:, positive]) == pytest.approx(
            roc_auc_score(is_positive, prob), abs=0.01
        )


def test_the_metrics_of_moved_probabilities_are_those_of_the_point() -> None:
    is_positive, prob = random_case(8, ties=False)
    truth, probs = is_positive.astype(np.int64), np.stack([1 - prob, prob], axis=1)
    point = choose_threshold(is_positive, prob, "min_sensitivity=0.95")
    values = metric_values(truth, move_threshold(probs, 1, point.threshold), 1)
    assert values["sensitivity"] == point.sensitivity
    assert values["specificity"] == point.specificity
    assert values["auroc"] == pytest.approx(metric_values(truth, probs, 1)["auroc"])


def test_unknown_rules_and_odd_input_are_refused() -> None:
    assert parse_rule("min_sensitivity=.9") == 0.9
    for share in (1e-5, 0.9999999, 1.0):  # whatever the configuration allows
        asked = Evaluation(level=0.95, interval="jackknife", calibration="none", min_sensitivity=share)
        assert parse_rule(asked.operating_rule) == share
    assert parse_rule("balanced_accuracy") is None
    for rule in (
        "youden",
        "min_sensitivity",
        "min_sensitivity=0",
        "min_sensitivity=1.1",
        "min_sensitivity=-1",
    ):
        with pytest.raises(ConfigError, match=f"'{rule}' is no rule for the operating point"):
            parse_rule(rule)
    is_positive = np.array([True, False])
    for bad in (np.array([0.1, 1.2]), np.array([0.1, np.nan]), np.array([0.1])):
        with pytest.raises(RunError, match="no operating point"):
            choose_threshold(is_positive, bad, "balanced_accuracy")
    with pytest.raises(RunError, match="no operating point"):
        choose_threshold(is_positive[:0], np.array([]), "balanced_accuracy")
