"""The paired jackknife against recomputing each metric without each group; what it says where it can say nothing."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from paired_models import models, tables
from scipy.stats import t as student_t

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation import paired
from leukemia_lab.evaluation.metrics import METRICS, metric_values
from leukemia_lab.evaluation.outcomes import Outcomes
from leukemia_lab.evaluation.paired import all_pairs, differences, resampled
from leukemia_lab.evaluation.uncertainty import NO_GROUPS

SHARES = set(METRICS) - {"mcc", "brier"}  # which have other spans
AT = {name: k for k, name in enumerate(METRICS)}


def values_without(model: Outcomes) -> list[dict[str, float]]:
    """The metrics of all cells, then without each group in turn, with nothing but their definition."""
    kept = [np.ones(len(model.truth), dtype=bool), *(model.groups != g for g in range(model.n_groups))]
    return [metric_values(model.truth[cells], model.probs[cells], model.positive) for cells in kept]


def expected(without: list[float], labels: list[int], level: float) -> tuple[float, float, float, float]:
    """The difference, its interval and p, from the difference of all cells and without each group of these classes."""
    value = without[0]
    by_class: dict[int, list[float]] = {}
    for label, difference in zip(labels, without[1:], strict=True):
        by_class.setdefault(label, []).append(difference)
    parts = [(len(d) - 1) / len(d) * sum((x - np.mean(d)) ** 2 for x in d) for d in by_class.values()]
    variance = sum(parts)
    freedom = variance**2 / sum(v**2 / (len(d) - 1) for v, d in zip(parts, by_class.values(), strict=True))
    half = student_t.ppf((1 + level) / 2, freedom) * variance**0.5
    p = 2 * student_t.sf(abs(value) / variance**0.5, freedom)
    return value, max(value - half, -1.0), min(value + half, 1.0), p


@pytest.mark.parametrize("n_groups", [(5, 4), (3, 3, 2)])
def test_differences_are_those_of_recomputing_without_each_group(n_groups: tuple[int, ...]) -> None:
    drawn = models(np.random.default_rng(len(n_groups)), [1.0, 1.5, 0.5], n_groups=n_groups)
    labels = [int(drawn[0].truth[drawn[0].groups == g][0]) for g in range(drawn[0].n_groups)]
    values = [values_without(model) for model in drawn]
    checked = 0
    for level in (0.95, 0.8):
        found = differences(resampled(drawn), all_pairs(3), level)
        assert found.pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
        for (k, (a, b)), metric in itertools.product(enumerate(found.pairs), sorted(SHARES)):
            m = AT[metric]
            if found.reasons[k, m] is None:
                without = [
                    one[metric] - other[metric] for one, other in zip(values[a], values[b], strict=True)
                ]
                got = [x[k, m] for x in (found.difference, found.low, found.high, found.p)]
                assert got == pytest.approx(expected(without, labels, level), abs=1e-9), metric
                checked += 1
    assert checked > 40


def test_the_same_predictions_differ_by_nothing() -> None:
    model = models(np.random.default_rng(0), [1.0])[0]
    twin = replace(model, probs=model.probs.copy())
    found = differences(resampled([model, twin]), all_pairs(2))
    assert (found.difference == 0).all()
    assert (found.p == 1).all()
    assert (found.low == 0).all()
    assert (found.high == 0).all()
    assert set(found.reasons[0]) == {paired.SAME}


def test_the_same_decisions_differ_in_what_is_not_decided_alone() -> None:
    model = models(np.random.default_rng(1), [1.0])[0]
    probs = 0.5 + 0.5 * (model.probs - 0.5)
    found = differences(resampled([model, replace(model, probs=probs)]), all_pairs(2))
    assert found.reasons[0, AT["accuracy"]] == paired.NO_SPREAD
    assert found.difference[0, AT["accuracy"]] == 0
    assert found.p[0, AT["accuracy"]] == 1
    assert np.isnan(found.low[0, AT["accuracy"]])
    assert found.reasons[0, AT["brier"]] is None
    assert found.p[0, AT["brier"]] < 1


def test_a_single_group_of_a_class_has_a_reason_and_the_other_class_a_p_value() -> None:
    found = differences(
        resampled(models(np.random.default_rng(2), [1.0, 0.3], n_groups=(6, 1))), all_pairs(2)
    )
    assert found.reasons[0, AT["auroc"]] == found.reasons[0, AT["specificity"]] == paired.ALONE
    assert np.isnan(found.p[0, AT["auroc"]])
    assert np.isfinite(found.difference[0, AT["auroc"]])
    assert found.reasons[0, AT["sensitivity"]] is None
    assert 0 < found.p[0, AT["sensitivity"]] <= 1


def test_without_groups_there_are_values_and_a_reason() -> None:
    drawn = [table.assign(group=None) for table in tables(np.random.default_rng(3), [1.0, 0.3])]
    outcomes = [Outcomes.of(table, ("ALL", "HEM"), "ALL") for table in drawn]
    found = differences(resampled(outcomes), all_pairs(2))
    assert set(found.reasons[0]) == {NO_GROUPS}
    assert np.isfinite(found.difference).all()
    assert np.isnan(found.p).all()


def test_an_undefined_metric_has_a_reason() -> None:
    first, second = models(np.random.default_rng(4), [1.0, 0.3])
    never = replace(second, probs=np.tile([0.1, 0.9], (len(second.truth), 1)))
    found = differences(resampled([first, never]), all_pairs(2))
    assert found.reasons[0, AT["precision"]] == paired.UNDEFINED
    assert np.isnan(found.p[0, AT["precision"]])
    assert np.isfinite(found.p[0, AT["accuracy"]])


def test_other_cells_are_refused() -> None:
    first, second = models(np.random.default_rng(5), [1.0, 0.3])
    with pytest.raises(RunError, match="same cells"):
        resampled([first, replace(second, cell_ids=second.cell_ids[::-1])])
    with pytest.raises(RunError, match="same cells"):
        resampled([first, replace(second, truth=1 - second.truth)])


def test_equal_models_are_told_apart_about_as_often_as_they_should() -> None:
    rng = np.random.default_rng(6)
    n = 300
    p = np.stack(
        [
            differences(
                resampled(models(rng, [1.5, 1.5], n_groups=(14, 12), cells=(10, 10))), all_pairs(2)
            ).p[0]
            for _ in range(n)
        ]
    )
    for metric in ("accuracy", "sensitivity", "auroc"):
        rejected = np.mean(p[:, AT[metric]] < 0.05)
        assert 0.015 <= rejected <= 0.095, metric  # 0.05 within 3.5 standard errors


def test_a_large_difference_is_found() -> None:
    drawn = models(np.random.default_rng(7), [0.5, 3.0], n_groups=(14, 12), cells=(10, 10))
    found = differences(resampled(drawn), all_pairs(2))
    m = AT["auroc"]
    assert found.p[0, m] < 0.001
    assert found.high[0, m] < 0
    assert found.difference[0, m] < -0.2
