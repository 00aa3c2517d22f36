"""The leakage gate, on tables of cells with groups and copies that are known."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from leukemia_lab.data import spreading
from leukemia_lab.data.copies import COPY_COLUMNS, clusters
from leukemia_lab.data.index import CellIndex
from leukemia_lab.data.leaks import parted_copies, refuse_leaks
from leukemia_lab.data.protocols import Protocol
from leukemia_lab.data.splits import Split, make_split
from leukemia_lab.data.twins import Evidence, find_twins, merge_twins, surplus
from leukemia_lab.errors import SplitError

PROTOCOL = Protocol("subject_holdout", 0.2, 0.2, n_folds=3, fold=0, seed=0, twins="merge")
GROUPED = ("subject_holdout", "subject_kfold", "challenge", "official_folds", "leave_one_source_out")
MANY = 40  # more equal files than every pair is named of


def table_of(n_subjects: int = 30, cells_each: int = 4) -> pd.DataFrame:
    """Subjects S0, S1, … of two classes by turns, three folds, three sources, and a preliminary part."""
    rows = [
        {
            "cell_id": f"S{number:02}_{i}",
            "label": ("ALL", "HEM")[number % 2],
            "subject": f"S{number:02}",
            "group": f"S{number:02}",
            "official_fold": number % 3 if number < 26 else None,
            "official_part": "train" if number < 26 else "prelim",
            "source": ("a", "b", "c")[number // 2 % 3],
        }
        for number in range(n_subjects)
        for i in range(cells_each)
    ]
    return pd.DataFrame(rows).astype({"official_fold": "Int64"})


def copies_of(pairs: list[tuple[str, str]], kind: str = "near") -> pd.DataFrame:
    rows = [(*sorted(pair), kind, 0.1) for pair in pairs]
    return pd.DataFrame(rows, columns=list(COPY_COLUMNS))


def split_of(table: pd.DataFrame, **changes: Any) -> Split:
    """The split as `make_split` draws it without a word of copies."""
    return make_split(table, dataclasses.replace(PROTOCOL, **changes))


def merged(table: pd.DataFrame, copies: pd.DataFrame) -> pd.DataFrame:
    """The table with the groups and blocks that the copies make."""
    cluster = clusters(list(table["cell_id"]), copies).to_numpy()
    evidence = Evidence(copies, cluster, has_pixels=True)
    index = CellIndex(Path(), table, ("ALL", "HEM"), "ALL", True, (), (), {})
    return merge_twins(index, evidence, find_twins(table, evidence)).table


def in_part(split: Split, part: str) -> pd.Series[str]:
    return split.table.loc[split.table["part"] == part, "cell_id"].reset_index(drop=True)


def test_a_single_near_copy_on_both_sides_is_refused_with_cells_subjects_and_kind() -> None:
    table = table_of()
    split = split_of(table)
    trained, tested = in_part(split, "train")[0], in_part(split, "test")[0]
    refuse_leaks(split, table, copies_of([]))
    with pytest.raises(SplitError) as refused:
        refuse_leaks(split, table, copies_of([(trained, tested)]))
    said = str(refused.value)
    assert said.startswith("1 cells have copies in several parts")
    assert f"{trained} (subject {trained[:3]}, train)" in said
    assert f"{tested} (subject {tested[:3]}, test)" in said
    assert "): near" in said
    assert "protocol.twins=merge" in said
    assert "protocol.twins=ignore (its results are stamped TWINS IGNORED)" in said


def test_copies_inside_a_part_are_no_leak() -> None:
    table = table_of()
    split = split_of(table)
    trained, tested = in_part(split, "train"), in_part(split, "test")
    refuse_leaks(split, table, copies_of([(trained[0], trained[9]), (tested[0], tested.iloc[-1])]))


@pytest.mark.parametrize("stamp", ["LEAKY", "TWINS IGNORED"])
def test_a_stamped_split_passes(stamp: str) -> None:
    table = table_of()
    split = split_of(table)
    leak = copies_of([(in_part(split, "train")[0], in_part(split, "test")[0])])
    refuse_leaks(dataclasses.replace(split, stamps=(stamp,)), table, leak)
    with pytest.raises(SplitError):
        refuse_leaks(dataclasses.replace(split, stamps=("NO SUBJECTS",)), table, leak)


def test_the_groups_that_count_are_those_of_the_data_now() -> None:
    table = table_of()
    split = split_of(table)
    names = [in_part(split, part)[0][:3] for part in ("train", "val")]
    merged = table.assign(group=table["group"].replace(dict.fromkeys(names, "+".join(sorted(names)))))
    message = (
        rf"group {'.'.join(sorted(names))} with the subjects .*{names[0]} \(train\).* is in train and val"
    )
    with pytest.raises(SplitError, match=message):
        refuse_leaks(split, merged, copies_of([]))


def test_a_cell_that_the_data_do_not_have_is_named() -> None:
    table = table_of()
    split = split_of(table)
    with pytest.raises(
        SplitError, match=r"1 of the 104 cells of the split are not in the data \(first: S03_1\)"
    ):
        refuse_leaks(split, table[table["cell_id"] != "S03_1"], copies_of([]))


def test_many_leaks_are_counted_and_the_first_are_named() -> None:
    table = table_of()
    split = split_of(table)
    trained, tested = in_part(split, "train"), in_part(split, "test")
    pairs = list(zip(trained[:9], tested[:9], strict=True))
    with pytest.raises(SplitError, match=r"^9 cells have copies in several parts") as refused:
        refuse_leaks(split, table, copies_of(pairs))
    assert str(refused.value).count("\n  S") == 5
    assert "and 4 more" in str(refused.value)


def test_many_equal_files_are_seen_though_the_one_that_all_are_paired_with_is_not_in_the_split() -> None:
    """Of more than 24 equal files each is paired with the first one alone."""
    table = table_of()
    first, others = "S00_0", [f"S{number:02}_1" for number in range(1, 26)]
    copies = copies_of([(first, other) for other in others], "identical")
    split = split_of(table[table["subject"] != "S00"])
    assert first not in set(split.table["cell_id"])
    with pytest.raises(SplitError, match=r"S01_1 \(subject S01, \w+\) and S\d\d_1 .*: through other copies"):
        refuse_leaks(split, table, copies)


def test_a_cell_without_subject_is_named_without_one() -> None:
    table = table_of().assign(subject=None)
    split = dataclasses.replace(split_of(table, name="random_cells"), stamps=())
    pair = in_part(split, "train")[0], in_part(split, "test")[0]
    parted = parted_copies(split, copies_of([pair]))
    assert parted[["subject_a", "subject_b"]].to_numpy().tolist() == [[None, None]]
    with pytest.raises(SplitError, match=r"S\d\d_\d \((train|test)\) and S\d\d_\d \((train|test)\): near"):
        refuse_leaks(split, table.assign(group=table["cell_id"]), copies_of([pair]))


@pytest.mark.parametrize("name", GROUPED)
def test_no_grouped_protocol_parts_cells_that_are_tied(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random ties between random cells, at many seeds."""
    monkeypatch.setattr(spreading, "MAX_DRAWS", 5)  # how well the parts are balanced is not asked here
    table = table_of(n_subjects=60, cells_each=2)
    table["official_part"] = np.where(table["subject"] < "S52", "train", "prelim")
    table["official_fold"] = table["official_fold"].fillna(0)
    drawn = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        chosen = rng.choice(table["cell_id"], (rng.integers(1, 12), 2), replace=False)
        copies = copies_of([(str(a), str(b)) for a, b in chosen])
        tied = merged(table, copies)
        try:
            split = split_of(tied, name=name, seed=seed, fold=seed % 3, source="abc"[seed % 3])
        except SplitError:  # ties may join so much that a class cannot be in every part
            continue
        drawn += 1
        refuse_leaks(split, tied, copies)
        part = split.table.set_index("cell_id")["part"]
        for a, b in zip(copies["a"], copies["b"], strict=True):
            assert part.get(a) == part.get(b) or a not in part or b not in part
    assert drawn >= 8


@pytest.mark.parametrize("n_equal", [2, MANY])
def test_what_drop_leaves_has_no_copies_under_two_names(n_equal: int) -> None:
    """Equal files of subjects that share too little to be twins, and one that all of many are paired with."""
    table = table_of(n_subjects=60)
    equal = [f"S{number:02}_0" for number in range(n_equal)]
    pairs = [(equal[0], other) for other in equal[1:]]
    copies = copies_of([*pairs, ("S50_1", "S51_1"), ("S51_1", "S52_1")], "identical")
    evidence = Evidence(copies, clusters(list(table["cell_id"]), copies).to_numpy(), has_pixels=True)
    left = table[~surplus(table, evidence, find_twins(table, evidence))]
    cluster = clusters(list(table["cell_id"]), copies)
    names = left.groupby(left["cell_id"].map(cluster))["subject"].nunique()
    assert names.max() == 1
    assert len(table) - len(left) == len(pairs) + 2
    for seed in range(3):
        refuse_leaks(split_of(left, seed=seed), left, copies)
