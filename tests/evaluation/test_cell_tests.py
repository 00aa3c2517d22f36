"""McNemar's and DeLong's tests against SciPy, the definitions of 1988 by brute force, and a case done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, norm
from sklearn.metrics import roc_auc_score

from leukemia_lab.evaluation.cell_tests import delong, mcnemar
from leukemia_lab.evaluation.paired import all_pairs


@pytest.mark.parametrize("seed", range(5))
def test_mcnemar_is_scipys_binomial_test_of_the_discordant_cells(seed: int) -> None:
    rng = np.random.default_rng(seed)
    correct = rng.random((5, 60)) < rng.uniform(0.3, 0.99, size=(5, 1))
    pairs = all_pairs(5)
    found = mcnemar(correct, pairs)
    for k, (a, b) in enumerate(pairs):
        first, second = int((correct[a] & ~correct[b]).sum()), int((correct[b] & ~correct[a]).sum())
        assert (found.only_first[k], found.only_second[k]) == (first, second)
        assert found.p[k] == pytest.approx(binomtest(first, first + second).pvalue, abs=1e-12)


def test_mcnemar_of_equal_runs_is_one() -> None:
    assert mcnemar(np.ones((2, 4), dtype=bool), all_pairs(2)).p.tolist() == [1.0]


def brute_force(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """DeLong et al. (1988), eq. 3-6, with the kernel of every pair of cells: scores x [2, m] and y [2, n]."""
    kernel = (x[:, :, None] > y[:, None, :]) + 0.5 * (x[:, :, None] == y[:, None, :])
    areas = kernel.mean(axis=(1, 2))
    v10, v01 = kernel.mean(axis=2), kernel.mean(axis=1)
    s10 = (v10 - areas[:, None]) @ (v10 - areas[:, None]).T / (x.shape[1] - 1)
    s01 = (v01 - areas[:, None]) @ (v01 - areas[:, None]).T / (y.shape[1] - 1)
    s = s10 / x.shape[1] + s01 / y.shape[1]
    contrast = np.array([1, -1])
    z = (areas[0] - areas[1]) / np.sqrt(contrast @ s @ contrast)
    return float(areas[0] - areas[1]), float(z), float(2 * (1 - norm.cdf(abs(z))))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_delong_is_its_definition_with_ties(seed: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    positive = rng.random(50) < 0.4
    scores = np.round(rng.normal(size=(4, 50)) + rng.normal(size=50) + 0.8 * positive, decimals)
    pairs = all_pairs(4)
    found = delong(scores, positive, pairs)
    for k, pair in enumerate(pairs):
        x, y = scores[pair][:, positive], scores[pair][:, ~positive]
        assert (found.difference[k], found.z[k], found.p[k]) == pytest.approx(brute_force(x, y), abs=1e-9)
        areas = [roc_auc_score(positive, scores[run]) for run in pair]
        assert found.difference[k] == pytest.approx(areas[0] - areas[1], abs=1e-12)


def test_delong_by_hand() -> None:
    # Positives score 3, 1 in the first run and 3, 4 in the second, negatives 2, 0 in both.
    # First: V10 = (1, 1/2), V01 = (1/2, 1), area 3/4; second: all 1, area 1.
    # Variance of the difference: (1/8) / 2 + (1/8) / 2 = 1/8; z = -(1/4) / sqrt(1/8).
    positive = np.array([True, True, False, False])
    found = delong(np.array([[3.0, 1, 2, 0], [3.0, 4, 2, 0]]), positive, all_pairs(2))
    assert found.difference[0] == pytest.approx(-0.25)
    assert found.z[0] == pytest.approx(-0.25 / np.sqrt(0.125))
    assert found.p[0] == pytest.approx(0.4795, abs=1e-4)


def test_delong_without_variance() -> None:
    positive = np.array([True, True, False, False])
    perfect, reversed_ = [3.0, 2, 1, 0], [0.0, 1, 2, 3]
    found = delong(np.array([perfect, perfect, reversed_]), positive, all_pairs(3))
    assert found.p[0] == 1
    assert found.z[0] == 0
    assert np.isnan(found.p[1])
    assert found.difference[1] == 1
