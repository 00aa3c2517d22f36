"""The test against chance: how often it takes chance for twins, and what it finds in spite of chance."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from crowds import crowd

from leukemia_lab.data import twins as twins_module
from leukemia_lab.data.twins import MERGED, TIED, chance_test, find_twins


def by_chance(
    n_cells: Sequence[int], n_shared: npt.NDArray[np.int64]
) -> tuple[pd.Series[str], npt.NDArray[np.int64]]:
    """Names 0, 1, ... of so many cells; each two share so many, each of them a cell of its own for both."""
    cluster = np.arange(sum(n_cells))
    start = np.concatenate([[0], np.cumsum(n_cells)[:-1]])
    used = np.zeros(len(n_cells), dtype=int)
    for (a, b), n in zip(combinations(range(len(n_cells)), 2), n_shared, strict=True):
        for _ in range(n):
            cluster[start[b] + used[b]] = cluster[start[a] + used[a]]
            used[[a, b]] += 1
    assert (used <= n_cells).all()
    names = np.repeat([str(number) for number in range(len(n_cells))], n_cells)
    return pd.Series(names), cluster


def null_counts(
    n_cells: npt.NDArray[np.int64], mean: float, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Poisson counts of shared cells, proportional to the product of the sizes, `mean` a pair on average."""
    first, second = np.triu_indices(len(n_cells), 1)
    exposure = n_cells[first] * n_cells[second]
    return rng.poisson(mean * exposure / exposure.mean())


def sizes(n_names: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    return np.exp(rng.uniform(np.log(20), np.log(400), n_names)).astype(int)


@pytest.mark.parametrize("mean", [0.05, 0.5])
def test_chance_alone_hardly_ever_merges(mean: float) -> None:
    """150 replications for each rate, 60 names: a familywise rate of .001 merges in none; .01 allows three of 300."""
    rng = np.random.default_rng(int(100 * mean))
    wrong, ratios = 0, []
    for _ in range(150):
        n_cells = sizes(60, rng)
        tested = chance_test(*by_chance(n_cells, null_counts(n_cells, mean, rng)), None)
        wrong += bool(tested["is_twin"].any())
        row = tested.iloc[0]
        products = [a * b for a, b in combinations(n_cells.tolist(), 2)]
        truth = mean * n_cells[int(row["a"])] * n_cells[int(row["b"])] / np.mean(products)
        ratios.append(row["expected"] / truth)
    assert wrong <= 1
    assert np.mean(ratios) == pytest.approx(1, abs=0.03)


def test_the_familywise_rate_is_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a rate of .2, which can be counted; counts are whole numbers, so that it is not used up."""
    monkeypatch.setattr(twins_module, "FAMILYWISE", 0.2)
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(150):
        n_cells = sizes(60, rng)
        wrong += bool(chance_test(*by_chance(n_cells, null_counts(n_cells, 0.5, rng)), None)["is_twin"].any())
    assert 1 <= wrong <= 150 * 0.2


def test_five_shared_cells_among_thirty_names_are_found() -> None:
    rng = np.random.default_rng(2)
    for _ in range(60):
        counts = np.zeros(30 * 29 // 2, dtype=int)
        counts[rng.integers(len(counts))] = 5
        tested = chance_test(*by_chance(sizes(30, rng), counts), None)
        assert tested["is_twin"].tolist() == [True]


def test_twins_are_found_in_spite_of_chance() -> None:
    """Twelve shared cells where chance gives each two names .5 on average, 1 in 200 of them more than 4."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        n_cells = np.full(40, 120)
        counts = null_counts(n_cells, 0.5, rng)
        planted = rng.choice(len(counts), 3, replace=False)
        counts[planted] += 12
        tested = chance_test(*by_chance(n_cells, counts), None)
        expected = counts[counts > 0] >= 12
        assert tested["is_twin"].tolist() == expected.tolist()


def test_many_twins_do_not_hide_others() -> None:
    """Half of all names are twins with most of their cells; two with five are found beside them."""
    shared = {(f"A{n}", f"B{n}"): 50 for n in range(15)} | {("C", "D"): 5}
    twins = find_twins(*crowd(60, shared, others=30))
    assert len(twins.groups) == 16
    assert ["C", "D"] in twins.groups


@pytest.mark.parametrize("n_names", [2, 3, 4])
def test_a_data_set_of_twins_alone(n_names: int) -> None:
    """No pair shares nothing, so that the rate of chance cannot be told from the data."""
    names = [f"T{n}" for n in range(n_names)]
    assert find_twins(*crowd(20, dict.fromkeys(combinations(names, 2), 5))).groups == [names]


def test_found_twins_leave_the_estimate_of_chance() -> None:
    names = [f"T{n}" for n in range(6)]
    shared = dict.fromkeys(combinations(names, 2), 40) | {("C", "D"): 1}
    pairs = find_twins(*crowd(250, shared, others=6)).pairs.set_index(["a", "b"])
    n_names = 6 + 2 + 6
    untouched = n_names * (n_names - 1) // 2 - 15
    assert pairs.loc[("C", "D"), "expected"] == pytest.approx(-np.log(1 - 1 / untouched))
    assert pairs.loc[("C", "D"), "verdict"] == TIED


@pytest.mark.parametrize("n_shared", [1, 2, 3, 5, 20])
def test_more_shared_cells_are_less_likely_by_chance(n_shared: int) -> None:
    twins = find_twins(*crowd(40, {("1", "2"): n_shared}, others=28))
    row = twins.pairs.iloc[0]
    assert (row["shared"], row["verdict"]) == (n_shared, MERGED if n_shared >= 5 else row["verdict"])
    assert n_shared > 1 or row["verdict"] == TIED
