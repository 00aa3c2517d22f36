from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
from random_outcomes import outcomes_of, random_outcomes
from sklearn import metrics as sk

from leukemia_lab.evaluation import resampling
from leukemia_lab.evaluation.metrics import METRICS, Floats, Ints, metric_values
from leukemia_lab.evaluation.resampling import bootstrap_weights, leave_one_out, weighted_metrics

SEEDS = range(200)


def scikit_learn(truth: Ints, probs: Floats, positive: int | None) -> dict[str, float]:
    """What scikit-learn says; NaN where it, or the definition, has no value. ECE is not among its metrics."""
    said, k = probs.argmax(axis=1), probs.shape[1]
    labels = range(k) if positive is None else [positive]
    expected = {
        "accuracy": sk.accuracy_score(truth, said),
        "weighted_f1": sk.f1_score(truth, said, average="weighted", zero_division=0.0),
        "mcc": sk.matthews_corrcoef(truth, said) if len(np.unique(truth)) > 1 else np.nan,
        "balanced_accuracy": np.mean([recall(truth == c, said == c) for c in range(k)]),
        "sensitivity": np.mean([recall(truth == c, said == c) for c in labels]),
        "specificity": np.mean([recall(truth != c, said != c) for c in labels]),
        "precision": np.mean(
            [sk.precision_score(truth == c, said == c, zero_division=np.nan) for c in labels]
        ),
        "f1": np.mean([sk.f1_score(truth == c, said == c, zero_division=np.nan) for c in labels]),
        "auroc": np.mean([area(truth == c, probs[:, c], sk.roc_auc_score) for c in labels]),
        "auprc": np.mean([area(truth == c, probs[:, c], sk.average_precision_score) for c in labels]),
    }
    if positive is None:
        expected["brier"] = np.mean(((probs - np.eye(k)[truth]) ** 2).sum(axis=1))
    else:
        expected["brier"] = sk.brier_score_loss(truth == positive, probs[:, positive])
    return {name: float(value) for name, value in expected.items()}


def recall(truth: object, said: object) -> float:
    return float(sk.recall_score(truth, said, zero_division=np.nan))


def area(truth: object, score: Floats, of: object) -> float:
    return float(of(truth, score)) if 0 < np.mean(truth) < 1 else np.nan  # type: ignore[operator,call-overload]


@pytest.mark.parametrize("seed", SEEDS)
def test_values_equal_those_of_scikit_learn(seed: int) -> None:
    outcomes = random_outcomes(seed)
    given = outcomes.truth, outcomes.probs, outcomes.positive
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of absent classes
        expected = scikit_learn(*given)
    values = metric_values(*given)
    by_weights = weighted_metrics(outcomes, np.ones((1, outcomes.n_groups)))
    assert set(expected) | {"ece"} == set(values) == set(by_weights) == set(METRICS)
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name
    for name, value in values.items():
        assert by_weights[name][0] == pytest.approx(value, abs=1e-9, nan_ok=True), name


def test_the_random_tables_hold_what_they_should() -> None:
    drawn = [random_outcomes(seed) for seed in SEEDS]
    assert {outcomes.n_classes for outcomes in drawn} == {2, 3, 4, 5}
    assert {outcomes.positive for outcomes in drawn} == {None, 0, 1}
    assert sum(len(np.unique(outcomes.truth)) < outcomes.n_classes for outcomes in drawn) > 20
    assert sum(len(np.unique(outcomes.probs[:, 0])) < len(outcomes.probs) for outcomes in drawn) > 50


@pytest.mark.parametrize("seed", range(0, 200, 8))
def test_leaving_a_group_out_is_computing_without_its_cells(seed: int) -> None:
    outcomes = random_outcomes(seed)
    found = leave_one_out(outcomes)
    for group in range(outcomes.n_groups):
        kept = outcomes.groups != group
        expected = metric_values(outcomes.truth[kept], outcomes.probs[kept], outcomes.positive)
        for name, value in expected.items():
            assert found[name][1][group] == pytest.approx(value, abs=1e-9, nan_ok=True), name


@pytest.mark.parametrize("seed", range(3, 200, 16))
def test_a_resample_counts_the_cells_of_a_group_as_often_as_it_was_drawn(seed: int) -> None:
    outcomes = random_outcomes(seed)
    weights = bootstrap_weights(outcomes, 3, seed)
    found = weighted_metrics(outcomes, weights)
    for b, row in enumerate(weights):
        cells = np.repeat(np.arange(len(outcomes.truth)), row[outcomes.groups].astype(int))
        expected = metric_values(outcomes.truth[cells], outcomes.probs[cells], outcomes.positive)
        for name, value in expected.items():
            assert found[name][b] == pytest.approx(value, abs=1e-9, nan_ok=True), name


def test_each_class_is_drawn_as_many_groups_as_it_has() -> None:
    groups = np.repeat(np.arange(12), 5)
    pure = outcomes_of(groups // 9, np.full((60, 2), 0.5), groups, 0)
    weights = bootstrap_weights(pure, 50, 0)
    assert (weights[:, :9].sum(axis=1) == 9).all()
    assert (weights[:, 9:].sum(axis=1) == 3).all()
    mixed = outcomes_of(np.tile([0, 1, 1, 1, 1], 12), np.full((60, 2), 0.5), groups, 0)
    weights = bootstrap_weights(mixed, 50, 0)
    assert (weights.sum(axis=1) == 12).all()
    assert np.ptp(weights[:, :9].sum(axis=1)) > 0


def test_two_thousand_resamples_take_seconds() -> None:
    rng = np.random.default_rng(0)
    groups = np.arange(2000) % 70
    probs = rng.dirichlet([1, 1], size=2000)
    outcomes = outcomes_of((groups < 40).astype(int), probs, groups, 0)
    started = time.process_time()
    weighted_metrics(outcomes, bootstrap_weights(outcomes, 2000, 0))
    assert time.process_time() - started < 5


def test_many_groups_are_left_out_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = random_outcomes(5)
    whole = leave_one_out(outcomes)
    monkeypatch.setattr(resampling, "CHUNK_ELEMENTS", 3 * outcomes.n_groups)
    assert max(len(piece) for piece in resampling.without_each(outcomes.n_groups)) == 3
    for name, (value, without) in leave_one_out(outcomes).items():
        np.testing.assert_equal(value, whole[name][0])
        np.testing.assert_allclose(without, whole[name][1], rtol=0, atol=1e-13)
