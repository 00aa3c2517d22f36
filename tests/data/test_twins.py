"""Twins: what is merged, what is only tied, what the user says of them, and what of them is surplus."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from crowds import cells_of, copied, crowd, index_of

from leukemia_lab.data.copies import clusters
from leukemia_lab.data.known_twins import KnownTwins
from leukemia_lab.data.twins import (
    APART,
    BY_USER,
    MERGED,
    TIED,
    Evidence,
    cells_with_twin_elsewhere,
    find_twins,
    merge_twins,
    surplus,
)
from leukemia_lab.errors import DataError


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
