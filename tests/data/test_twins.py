"""Twins: what is merged, what is only tied, and how often chance is mistaken for twins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from leukemia_lab.data import twins as twins_module
from leukemia_lab.data.copies import COPY_COLUMNS, clusters
from leukemia_lab.data.index import CellIndex
from leukemia_lab.data.known_twins import KnownTwins
from leukemia_lab.data.twins import (
    APART,
    BY_USER,
    MERGED,
    TIED,
    Evidence,
    cells_with_twin_elsewhere,
    chance_test,
    find_twins,
    merge_twins,
    surplus,
)
from leukemia_lab.errors import DataError

GROUPS = [["20", "21"], ["51", "75", "78"], ["H2", "H4", "H5", "H6", "H7"], ["H3", "H10"]]
BOX_AND_HASH = ["sha256", "box_x", "box_y", "box_w", "box_h"]


def cells_of(subjects: Sequence[str | None]) -> pd.DataFrame:
    """Cells c0000, c0001, ... of these subjects."""
    ids = [f"c{number:04}" for number in range(len(subjects))]
    table = pd.DataFrame({"cell_id": ids, "subject": pd.Series(subjects, dtype=object)})
    table["group"] = table["subject"].where(table["subject"].notna(), table["cell_id"])
    return table.assign(label="ALL", official_part="train")


def copied(table: pd.DataFrame, pairs: Sequence[tuple[int, int]]) -> Evidence:
    """Verified copies, by the numbers of the cells."""
    ids = table["cell_id"]
    rows = [(ids[a], ids[b], "near", 0.1) for a, b in pairs]
    copies = pd.DataFrame(rows, columns=list(COPY_COLUMNS))
    return Evidence(copies, clusters(list(ids), copies).to_numpy(), has_pixels=True)


def crowd(
    n_cells: int, shared: Mapping[tuple[str, str], int], others: int = 12
) -> tuple[pd.DataFrame, Evidence]:
    """Names with `n_cells` each, of which two share so many cells; `others` share nothing."""
    names = [*dict.fromkeys(name for pair in shared for name in pair), *(f"X{n}" for n in range(others))]
    table = cells_of([name for name in names for _ in range(n_cells)])
    free = {name: iter(table.index[table["subject"] == name]) for name in names}
    pairs = [(next(free[a]), next(free[b])) for (a, b), n in shared.items() for _ in range(n)]
    return table, copied(table, pairs)


def index_of(table: pd.DataFrame, has_pixels: bool = True) -> CellIndex:
    has_subjects = bool(table["subject"].notna().any())
    return CellIndex(Path(), table, ("ALL", "HEM"), "ALL", has_subjects, (), (), {}, has_pixels)


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


@pytest.mark.parametrize("small", [1, 5, 40])
def test_one_shared_cell_merges_nothing_by_itself(small: int) -> None:
    """Not even where the names are so small that chance would hardly give it."""
    table = cells_of([*["1"] * small, *["2"] * small, *(f"X{n}" for n in range(10) for _ in range(400))])
    evidence = copied(table, [(0, small)])
    twins = find_twins(table, evidence)
    assert twins.groups == []
    assert twins.pairs["verdict"].tolist() == [TIED]
    merged = merge_twins(index_of(table), evidence, twins).table
    assert merged["group"].tolist() == table["subject"].tolist()
    assert merged.groupby("block")["subject"].agg(lambda names: sorted(set(names))).tolist()[0] == ["1", "2"]
    assert merged["block"].nunique() == 11


def test_ties_join_groups_in_chains_of_blocks() -> None:
    table, evidence = crowd(30, {("1", "2"): 10, ("2", "3"): 1, ("3", "4"): 1})
    twins = find_twins(table, evidence)
    merged = (
        merge_twins(index_of(table), evidence, twins).table.drop_duplicates("subject").set_index("subject")
    )
    assert merged.loc[["1", "2", "3", "4"], "group"].tolist() == ["1+2", "1+2", "3", "4"]
    assert merged.loc[["1", "2", "3", "4"], "block"].nunique() == 1
    assert merged.loc[merged.index.str.startswith("X"), "block"].nunique() == 12


def test_chains_of_twins_are_one_group_in_natural_order() -> None:
    shared = {("H10", "H3"): 8, ("H3", "21"): 8, ("7", "H2"): 9}
    table, evidence = crowd(30, shared)
    twins = find_twins(table, evidence)
    assert twins.groups == [["7", "H2"], ["21", "H3", "H10"]]
    assert {twins.group_of[name] for name in ("H10", "H3", "21")} == {"21+H3+H10"}
    assert twins.group_of["X0"] == "X0"
    first = twins.pairs[["a", "b"]].to_numpy().tolist()
    assert sorted(map(tuple, first)) == [("21", "H3"), ("7", "H2"), ("H3", "H10")]
    merged = merge_twins(index_of(table), evidence, twins)
    assert set(merged.table.loc[merged.table["subject"] == "H3", "group"]) == {"21+H3+H10"}
    again = merge_twins(merged, evidence, find_twins(merged.table, evidence))
    pd.testing.assert_frame_equal(again.table, merged.table)


def test_copies_within_a_name_do_not_count() -> None:
    table = cells_of(["1"] * 20 + ["2"] * 20)
    evidence = copied(table, list(combinations(range(20), 2)))
    twins = find_twins(table, evidence)
    assert twins.pairs.empty
    assert twins.groups == []


def test_several_copies_of_a_cell_are_one_shared_cell() -> None:
    table = cells_of(["1"] * 20 + ["2"] * 20 + [f"X{n}" for n in range(10) for _ in range(20)])
    pairs = [(0, n) for n in range(1, 10)] + [(0, 20 + n) for n in range(10)]
    assert find_twins(table, copied(table, pairs)).pairs["shared"].tolist() == [1]


def test_copies_of_copies_are_tied_too() -> None:
    """More than 24 equal files are paired with the first only, all the same no two of their names may be parted."""
    table = cells_of([name for n in range(40) for name in [str(n)] * 30])
    evidence = copied(table, [(0, 30 * n) for n in range(1, 40)])
    twins = find_twins(table, evidence)
    assert len(twins.pairs) == 40 * 39 // 2
    assert set(twins.pairs["verdict"]) == {TIED}
    assert merge_twins(index_of(table), evidence, twins).table["block"].nunique() == 1


@pytest.mark.parametrize("n_subjects", [0, 1, 2])
def test_few_subjects(n_subjects: int) -> None:
    table = cells_of([str(n) for n in range(n_subjects) for _ in range(20)] + [None] * 3)
    twins = find_twins(table, copied(table, []))
    assert twins.pairs.empty
    assert twins.group_of == {str(n): str(n) for n in range(n_subjects)}
    if n_subjects == 2:
        assert find_twins(table, copied(table, [(n, 20 + n) for n in range(6)])).groups == [["0", "1"]]


def test_cells_without_subjects_are_grouped_with_their_copies() -> None:
    table = cells_of([None, None, None, "1", "1", "2"])
    evidence = copied(table, [(0, 2), (1, 3)])
    twins = find_twins(table, evidence)
    merged = merge_twins(index_of(table), evidence, twins).table
    assert twins.pairs.empty
    assert merged["group"].tolist() == ["c0000", "c0001", "c0000", "1", "1", "2"]
    block = merged["block"].tolist()
    assert block[0] == block[2]
    assert block[1] == block[3] == block[4]
    assert len(set(block)) == 3


def test_cells_of_no_place_are_not_counted() -> None:
    table, evidence = crowd(10, {("1", "2"): 6, ("2", "3"): 4})
    place = pd.Series(pd.array([0] * 10 + [1] * 10 + [None] * (len(table) - 20), dtype="Int64"))
    assert cells_with_twin_elsewhere(table, evidence, find_twins(table, evidence), place) == {0: 6, 1: 6}


def known(merge: Sequence[Sequence[str]] = (), apart: Sequence[Sequence[str]] = ()) -> KnownTwins:
    lists = (tuple(tuple(names) for names in given) for given in (merge, apart))
    return KnownTwins(*lists, Path("twins.yaml"))


def test_the_user_merges_names() -> None:
    table, evidence = crowd(30, {("1", "2"): 8, ("5", "6"): 1})
    twins = find_twins(table, evidence, known(merge=[["X10", "1", "X9"], ["6", "5"]]))
    assert twins.groups == [["1", "2", "X9", "X10"], ["5", "6"]]
    verdicts = twins.pairs.set_index(["a", "b"])
    assert verdicts["verdict"].to_dict() == {
        ("1", "2"): MERGED,
        ("1", "X9"): BY_USER,
        ("1", "X10"): BY_USER,
        ("5", "6"): BY_USER,
    }
    assert verdicts.loc[("5", "6"), "shared"] == 1
    assert verdicts.loc[("1", "X9"), "shared"] == 0


def test_the_user_keeps_names_apart() -> None:
    table, evidence = crowd(30, {("1", "2"): 8, ("5", "6"): 9})
    twins = find_twins(table, evidence, known(apart=[["2", "1"]]))
    assert twins.groups == [["5", "6"]]
    assert twins.pairs["verdict"].tolist() == [APART, MERGED]
    block = merge_twins(index_of(table), evidence, twins).table.groupby("subject")["block"].first()
    assert block["1"] == block["2"]  # their copies still must not be parted


def test_names_kept_apart_must_not_be_joined_by_a_third() -> None:
    table, evidence = crowd(30, {("1", "2"): 8, ("2", "3"): 8, ("1", "3"): 8})
    with pytest.raises(DataError, match=r"twins.yaml keeps 1 and 3 apart.*group 1\+2\+3: a third"):
        find_twins(table, evidence, known(apart=[["1", "3"]]))
    assert find_twins(table, evidence, known(apart=[["1", "3"], ["2", "3"]])).groups == [["1", "2"]]
    with pytest.raises(DataError, match="merges X1 and X2, and keeps them apart"):
        find_twins(table, evidence, known(merge=[["X1", "X2"]], apart=[["X1", "X2"]]))


def test_a_name_that_is_not_there() -> None:
    table, evidence = crowd(5, {("H10", "H11"): 5})
    for lists in ({"merge": [["H10", "H12"]]}, {"apart": [["H10", "H12"]]}):
        with pytest.raises(DataError, match=r"twins.yaml names the subject H12, which is not in the data\."):
            find_twins(table, evidence, known(**lists))


def test_surplus_prefers_preliminary_names_then_the_larger() -> None:
    shared = {("1", "2"): 8, ("2", "3"): 8, ("H5", "H6"): 8, ("8", "9"): 1}
    table, evidence = crowd(20, shared)
    table.loc[table["subject"].isin(["2", "9"]), "official_part"] = "prelim"
    dropped = (table["subject"] == "H5") & (table.groupby("subject").cumcount() >= 15)
    table, kept_ids = table[~dropped].reset_index(drop=True), set(table.loc[~dropped, "cell_id"])
    copies = evidence.copies[evidence.copies["a"].isin(kept_ids) & evidence.copies["b"].isin(kept_ids)]
    evidence = Evidence(copies, clusters(list(table["cell_id"]), copies).to_numpy(), True)
    gone = surplus(table, evidence, find_twins(table, evidence))
    n_gone = gone.groupby(table["subject"]).sum()
    n_gone = n_gone[n_gone > 0].to_dict()
    assert n_gone == {"1": 20, "3": 20, "H5": 15, "8": 1}


def test_surplus_leaves_one_name_and_no_copies_whatever_the_data() -> None:
    rng = np.random.default_rng(5)
    for _ in range(40):
        subjects = [None if name == 0 else str(name) for name in rng.integers(0, 12, 200)]
        table = cells_of(subjects)
        table.loc[table["subject"].isin(["1", "2", "3"]), "official_part"] = "prelim"
        pairs = {tuple(sorted(pair)) for pair in rng.integers(0, 200, (60, 2)).tolist() if pair[0] != pair[1]}
        pairs |= {(int(a), int(b)) for a, b in zip(np.arange(0, 20), np.arange(100, 120), strict=True)}
        evidence = copied(table, sorted(pairs))
        names = known(merge=[["1", "4", "7"], ["5", "6"]])
        twins = find_twins(table, evidence, names)
        left = table[~surplus(table, evidence, twins)]
        of_names = left.dropna(subset="subject")
        assert of_names.groupby(of_names["subject"].map(twins.group_of))["subject"].nunique().eq(1).all()
        assert not {"4", "7"} & set(left["subject"])
        owner = left["subject"].where(left["subject"].notna(), left["cell_id"])
        assert owner.groupby(evidence.cluster[left.index]).nunique().eq(1).all()
        preferred = {"1", "2", "3"} & set(left["subject"])
        assert preferred
        one_of_each = set(evidence.cluster[table.index[table["subject"].isin(preferred)]])
        assert one_of_each <= set(evidence.cluster[left.index])


def test_surplus_of_many_equal_files() -> None:
    """They are paired with the first only: when that one goes, the others are copies all the same."""
    table = cells_of([name for n in range(40) for name in [str(n)] * (30 + n)])
    first = table.groupby("subject", sort=False).head(1).index
    evidence = copied(table, [(first[0], other) for other in first[1:]])
    gone = surplus(table, evidence, find_twins(table, evidence))
    assert sorted(table.index[gone]) == sorted(first[:-1])  # the largest name keeps its copy
