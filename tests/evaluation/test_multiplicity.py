"""Holm's correction against its definition; letters against what they promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from leukemia_lab.evaluation.multiplicity import holm, letter, letters
from leukemia_lab.evaluation.paired import all_pairs


def rejected_by_holm(p: list[float], alpha: float) -> set[int]:
    """Holm (1979): the smallest p against alpha / m, the next against alpha / (m - 1), until one is not rejected."""
    found: set[int] = set()
    for step, k in enumerate(sorted(range(len(p)), key=lambda k: p[k])):
        if p[k] > alpha / (len(p) - step):
            break
        found.add(k)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_adjusted_p_values_reject_what_holms_procedure_rejects(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.random(12) ** 4
    adjusted = holm(p)
    for alpha in (0.01, 0.05, 0.2, 0.5):
        assert set(np.flatnonzero(adjusted <= alpha)) == rejected_by_holm(list(p), alpha)
    assert (adjusted >= p).all()
    assert (adjusted <= 1).all()


def test_known_values_and_tests_that_were_not_made() -> None:
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    found = holm(np.array([0.01, np.nan, 0.04]))
    assert found[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(found[1])
    assert np.isnan(holm(np.array([np.nan]))).all()


@pytest.mark.parametrize("seed", range(30))
def test_two_runs_share_a_letter_if_and_only_if_they_were_not_told_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_runs = int(rng.integers(2, 12))
    pairs = all_pairs(n_runs)
    differ = rng.random(len(pairs)) < rng.random()
    found = letters(rng.permutation(n_runs), pairs, differ)
    for (a, b), told_apart in zip(pairs, differ, strict=True):
        assert bool(set(found[a]) & set(found[b])) == (not told_apart)
    assert all(found)


def test_ordered_runs_get_the_letters_of_a_textbook() -> None:
    values = np.array([0.70, 0.90, 0.80, 0.85])
    pairs = all_pairs(4)
    differ = np.abs(values[pairs[:, 0]] - values[pairs[:, 1]]) > 0.075
    assert letters(np.argsort(-values), pairs, differ) == [["c"], ["a"], ["b"], ["a", "b"]]


def test_all_alike_and_all_different() -> None:
    pairs = all_pairs(3)
    assert letters(np.arange(3), pairs, np.zeros(3, dtype=bool)) == [["a"]] * 3
    assert letters(np.arange(3), pairs, np.ones(3, dtype=bool)) == [["a"], ["b"], ["c"]]


def test_letters_go_on_after_z() -> None:
    names = [letter(k) for k in range(26 + 26 * 26 + 1)]
    assert (names[0], names[25], names[26], names[51], names[52], names[-1]) == (
        *("a", "z", "aa", "az", "ba"),
        "aaa",
    )
    assert all(a != b for a, b in itertools.pairwise(names))
    assert len(set(names)) == len(names)
