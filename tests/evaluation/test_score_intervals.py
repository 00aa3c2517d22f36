from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import expit, logit
from scipy.stats import norm, ttest_1samp, ttest_ind
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from leukemia_lab.evaluation.score_intervals import (
    Statistic,
    auroc,
    balanced_accuracy,
    jackknife_interval,
    recomputed,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def random_case(
    seed: int, n_classes: int, mixed: bool, ties: bool, n_groups: int = 12
) -> tuple[Ints, Floats, Ints]:
    """Labels, scores and groups; scores are [n] for two classes, [n, K] for more."""
    rng = np.random.default_rng(seed)
    groups = np.concatenate([np.arange(n_groups), rng.integers(0, n_groups, 100)])
    labels = rng.integers(0, n_classes, len(groups)) if mixed else groups % n_classes
    scores = rng.normal(size=(len(groups), n_classes)) + np.eye(n_classes)[labels]
    scores = np.round(scores) if ties else scores
    return labels, scores[:, 1] if n_classes == 2 else scores, groups


def reference_auroc(labels: Ints, scores: Floats) -> float:
    if scores.ndim == 1:
        return float(roc_auc_score(labels, scores))
    return float(np.mean([roc_auc_score(labels == k, scores[:, k]) for k in range(scores.shape[1])]))


def reference_balanced_accuracy(labels: Ints, scores: Floats) -> float:
    decided = scores > 0 if scores.ndim == 1 else scores.argmax(axis=1)
    return float(balanced_accuracy_score(labels, decided))


@pytest.mark.parametrize("mixed", [False, True], ids=["pure", "mixed"])
@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    ("statistic", "reference"),
    [(auroc, reference_auroc), (balanced_accuracy, reference_balanced_accuracy)],
)
def test_leaving_out_agrees_with_scikit_learn_on_the_other_cells(
    statistic: Statistic, reference: object, n_classes: int, ties: bool, mixed: bool
) -> None:
    for seed in range(5):
        labels, scores, groups = random_case(seed, n_classes, mixed, ties)
        value, without = statistic(labels, scores, groups)
        expected_value, expected_without = recomputed(reference)(labels, scores, groups)  # type: ignore[arg-type]
        assert value == pytest.approx(expected_value, abs=1e-12)
        np.testing.assert_allclose(without, expected_without, atol=1e-12)


def mean_gap(labels: Ints, scores: Floats) -> float:
    """0.5 where both classes have the same mean score."""
    return float((1 + scores[labels == 1].mean() - scores[labels == 0].mean()) / 2)


def test_two_classes_give_the_interval_of_welch() -> None:
    """Near 0.5 the logit is straight: then strata, quantile and degrees of freedom are those of Welch's t-test."""
    rng = np.random.default_rng(0)
    means = rng.normal(0, np.repeat([0.004, 0.016], [9, 4]))
    groups = np.repeat(np.arange(13), 6)
    labels = (groups >= 9).astype(np.int64)
    interval = jackknife_interval(labels, means[groups], groups, recomputed(mean_gap))
    welch = ttest_ind(means[9:], means[:9], equal_var=False).confidence_interval(0.95)
    assert interval.low == pytest.approx((1 + welch.low) / 2, abs=2e-5)
    assert interval.high == pytest.approx((1 + welch.high) / 2, abs=2e-5)
    assert welch.high - welch.low > 0.02


def test_groups_of_several_classes_give_the_interval_of_student() -> None:
    rng = np.random.default_rng(1)
    means = 0.5 + rng.normal(0, 0.01, 8)
    groups, labels = np.repeat(np.arange(8), 4), np.tile([0, 1], 16)
    mean = recomputed(lambda _, scores: float(scores.mean()))
    interval = jackknife_interval(labels, means[groups], groups, mean)
    student = ttest_1samp(means, 0).confidence_interval(0.95)
    assert interval.low == pytest.approx(student.low, abs=2e-5)
    assert interval.high == pytest.approx(student.high, abs=2e-5)


def test_the_interval_is_symmetric_on_the_logit_scale_and_grows_with_the_level() -> None:
    labels, scores, groups = random_case(3, 2, mixed=False, ties=False)
    value, _ = auroc(labels, scores, groups)
    narrow, wide = (jackknife_interval(labels, scores, groups, auroc, level) for level in (0.8, 0.99))
    assert narrow.low is not None
    assert narrow.high is not None
    assert logit(narrow.low) + logit(narrow.high) == pytest.approx(2 * logit(value))
    assert wide.low is not None
    assert wide.low < narrow.low < value < narrow.high


@pytest.mark.parametrize("rename", [lambda g: g, lambda g: g * 7 + 3, lambda g: [f"S{99 - i}" for i in g]])
def test_names_of_groups_do_not_matter(rename: object) -> None:
    labels, scores, groups = random_case(4, 2, mixed=False, ties=False)
    renamed = rename(groups)  # type: ignore[operator]
    expected = jackknife_interval(labels, scores, groups, auroc)
    assert jackknife_interval(labels, scores, renamed, auroc) == pytest.approx(expected)


def clustered_scores(
    rng: np.random.Generator, n_subjects: tuple[int, int], n_cells: int, icc: float, d_prime: float
) -> tuple[Ints, Floats, Ints]:
    """Normal scores of variance 1 around 0 (class 0) and d' (class 1); a share `icc` of it is the subject's."""
    subjects = np.repeat(np.arange(sum(n_subjects)), n_cells)
    labels = (subjects < n_subjects[1]).astype(np.int64)
    own = rng.normal(0, np.sqrt(icc), sum(n_subjects))[subjects]
    return labels, d_prime * labels + own + rng.normal(0, np.sqrt(1 - icc), len(subjects)), subjects


def test_the_interval_holds_the_truth_and_that_of_single_cells_does_not() -> None:
    rng = np.random.default_rng(5)
    d_prime, n_drawn = 1.5, 150
    truth = norm.cdf(d_prime / np.sqrt(2))
    n_by_subject = n_by_cell = 0
    for _ in range(n_drawn):
        labels, scores, subjects = clustered_scores(rng, (15, 25), 30, 0.3, d_prime)
        low, high, _ = jackknife_interval(labels, scores, subjects, auroc)
        assert low is not None
        assert high is not None
        n_by_subject += low <= truth <= high
        low, high, _ = jackknife_interval(labels, scores, np.arange(len(labels)), auroc)
        assert low is not None
        assert high is not None
        n_by_cell += low <= truth <= high
    assert 0.90 <= n_by_subject / n_drawn <= 0.98
    assert n_by_cell / n_drawn < 0.7


def test_balanced_accuracy_is_covered_too() -> None:
    rng = np.random.default_rng(6)
    d_prime, n_drawn = 1.5, 300
    truth, n_covered = norm.cdf(d_prime / 2), 0
    for _ in range(n_drawn):
        labels, scores, subjects = clustered_scores(rng, (15, 25), 30, 0.3, d_prime)
        low, high, _ = jackknife_interval(labels, scores - d_prime / 2, subjects, balanced_accuracy)
        assert low is not None
        assert high is not None
        n_covered += low <= truth <= high
    assert 0.90 <= n_covered / n_drawn <= 0.98


PURE = np.repeat([0, 0, 1, 1], 3)
FOUR_GROUPS = np.repeat([0, 1, 2, 3], 3)
OVERLAPPING = np.array([0, 2, 1, 0, 1, 3, 1, 4, 5, 4, 2, 6], dtype=float)


@pytest.mark.parametrize(
    ("scores", "groups", "reason"),
    [
        (PURE.astype(float), FOUR_GROUPS, "the value is 1"),
        (-PURE.astype(float), FOUR_GROUPS, "the value is 0"),
        (OVERLAPPING, np.repeat([0, 0, 1, 2], 3), "a single group"),
        (np.zeros(12), FOUR_GROUPS, "no group changes"),
    ],
)
def test_why_there_is_no_interval(scores: Floats, groups: Ints, reason: str) -> None:
    interval = jackknife_interval(PURE, scores, groups, auroc)
    assert interval[:2] == (None, None)
    assert interval.reason is not None
    assert reason in interval.reason


def test_an_interval_bears_that_one_group_holds_all_the_errors() -> None:
    """Without it the area is 1, whose logit is infinite."""
    scores = np.repeat([0.0, 2.0, 1.0, 3.0], 3)
    value, without = auroc(PURE, scores, FOUR_GROUPS)
    assert without.max() == 1 > value
    low, high, reason = jackknife_interval(PURE, scores, FOUR_GROUPS, auroc)
    assert low is not None
    assert high is not None
    assert 0 < low < value < high < 1
    assert reason is None


def test_a_class_without_cells_has_no_interval() -> None:
    interval = jackknife_interval(np.zeros(12, dtype=np.int64), OVERLAPPING, FOUR_GROUPS, auroc)
    assert interval.reason is not None
    assert "undefined" in interval.reason


def test_a_hundred_subjects_of_a_whole_data_set_take_no_time() -> None:
    rng = np.random.default_rng(7)
    labels, scores, subjects = clustered_scores(rng, (40, 60), 125, 0.3, 1.5)
    started = time.process_time()
    assert jackknife_interval(labels, expit(scores), subjects, auroc).reason is None
    assert time.process_time() - started < 2
