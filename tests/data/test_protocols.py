from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from grouped_cells import cells_of, simple_cells
from hypothesis import given, settings
from hypothesis import strategies as st

from leukemia_lab.data import spreading
from leukemia_lab.data.protocols import Protocol
from leukemia_lab.data.splits import make_split
from leukemia_lab.errors import SplitError

GROUPED = ("subject_holdout", "subject_kfold", "challenge", "official_folds")


def protocol(name: str = "subject_holdout", **changes: Any) -> Protocol:
    values: dict[str, Any] = {
        "val_share": 0.2,
        "test_share": 0.2,
        "n_folds": 0 if name == "random_cells" else 3,
        "fold": 0,
        "seed": 0,
        "twins": "merge",
    }
    return Protocol(name=name, **(values | changes))


@st.composite
def random_cells_tables(draw: st.DrawFn) -> pd.DataFrame:
    """Pure groups enough for any protocol, groups of several classes, several subjects and several folds."""
    classes = ["ALL", "HEM", "other"][: draw(st.integers(2, 3))]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    groups: list[dict[str, Any]] = []
    for label in classes:
        groups += [{"labels": [label] * rng.integers(1, 40)} for _ in range(rng.integers(12, 16))]
        groups.append({"labels": [label] * 3, "parts": ["prelim"] * 3})
    for _ in range(draw(st.integers(0, 6))):
        n = rng.integers(2, 30)
        groups.append(
            {
                "labels": list(rng.choice(classes, n)),
                "subjects": [f"M{len(groups)}_{i % 3}" for i in range(n)],
                "folds": list(rng.integers(0, 3, n)),
                "parts": list(rng.choice(["train", "prelim"], n, p=[0.95, 0.05])),
            }
        )
    return cells_of(groups)


@settings(max_examples=15, deadline=None)
@given(cells=random_cells_tables(), seed=st.integers(0, 9), fold=st.integers(0, 2))
def test_grouped_protocols_keep_groups_and_subjects_apart(cells: pd.DataFrame, seed: int, fold: int) -> None:
    for name in GROUPED:
        with pytest.MonkeyPatch.context() as patch:  # how well the parts are balanced is not asked here
            patch.setattr(spreading, "MAX_DRAWS", 20)
            table = make_split(cells, protocol(name, seed=seed, fold=fold)).table
        for column in ("group", "subject"):
            assert table.groupby(column)["part"].nunique().max() == 1, (name, column)
        assert (pd.crosstab(table["part"], table["label"]).to_numpy() > 0).all()
        assert set(table["part"]) == {"train", "val", "test"}
        assert table["cell_id"].is_unique
        assert table["cell_id"].is_monotonic_increasing
        pool = cells[cells["official_part"] == "train"]
        if name != "challenge":
            assert set(table["cell_id"]) == set(pool["cell_id"])


@pytest.mark.parametrize("name", [*GROUPED, "random_cells"])
def test_row_order_does_not_matter_and_seed_zero_is_a_seed(name: str) -> None:
    cells = simple_cells(prelim=True)
    split = make_split(cells, protocol(name))
    shuffled = make_split(cells.sample(frac=1, random_state=3), protocol(name))
    pd.testing.assert_frame_equal(split.table, shuffled.table)
    assert split.hash == shuffled.hash
    others = [make_split(cells, protocol(name, seed=seed)).table for seed in (1, 2, 3)]
    assert any(not split.table["part"].equals(other["part"]) for other in others)


def test_holdout_reaches_the_shares_and_notes_the_balance() -> None:
    split = make_split(simple_cells(n_groups=20), protocol())
    counts = pd.crosstab(split.table["part"], split.table["label"])
    assert counts.loc["train"].tolist() == [120, 120]
    assert counts.loc["val"].tolist() == [40, 40]
    assert counts.loc["test"].tolist() == [40, 40]
    assert split.notes[0] == "train: 240 cells (60.0%), 24 subjects, ALL 50.0%, HEM 50.0%"
    assert split.stamps == ()
    assert split.table["fold"].isna().all()


@pytest.mark.parametrize("sizes", [(500, 3, 1), (10, 10, 10)])
def test_holdout_of_three_groups_a_class_covers_every_part(sizes: tuple[int, ...]) -> None:
    cells = cells_of([{"labels": [label] * n} for label in "AB" for n in sizes])
    table = make_split(cells, protocol()).table
    assert (pd.crosstab(table["part"], table["label"]).to_numpy() > 0).all()
    if sizes[0] == 500:
        assert set(table.loc[table["group"].isin(["G0", "G3"]), "part"]) == {"train"}


def test_every_cell_is_tested_once_in_the_folds() -> None:
    cells = simple_cells()
    splits = [make_split(cells, protocol("subject_kfold", fold=fold)).table for fold in range(3)]
    tested = pd.concat([table.loc[table["part"] == "test", "cell_id"] for table in splits])
    assert sorted(tested) == sorted(cells["cell_id"])
    for fold, table in enumerate(splits):
        pd.testing.assert_series_equal(table["fold"], splits[0]["fold"])
        assert set(table.loc[table["part"] == "test", "fold"]) == {fold}


def test_challenge_tests_on_prelim_and_leaves_shared_groups_out() -> None:
    cells = simple_cells(prelim=True)
    twin = cells["cell_id"].eq("c18_0")
    cells.loc[twin, ["group", "subject"]] = ["G0", "S0"]
    split = make_split(cells, protocol("challenge"))
    test = split.table[split.table["part"] == "test"]
    assert set(test["cell_id"]) == set(cells.loc[cells["official_part"] == "prelim", "cell_id"])
    assert set(test["group"]) & set(split.table.loc[split.table["part"] != "test", "group"]) == set()
    assert split.notes[0].startswith("group G0: 10 training cells left out")


def test_official_folds_move_a_merged_group_to_the_fold_with_most_of_its_cells() -> None:
    cells = simple_cells()
    cells.loc[cells["cell_id"].isin(["c4_0", "c4_1"]), "official_fold"] = 2
    split = make_split(cells, protocol("official_folds", fold=1))
    assert split.notes[0] == "group G4: 2 cells moved to official fold 1, which holds most of the group"
    tested = split.table[split.table["part"] == "test"]
    assert set(tested["group"]) == {f"G{number}" for number in range(1, 18, 3)}
    assert tested["fold"].eq(1).all()


def test_random_cells_is_stratified_and_stamped_leaky() -> None:
    split = make_split(simple_cells(n_groups=10), protocol("random_cells", twins="ignore"))
    counts = pd.crosstab(split.table["part"], split.table["label"])
    assert counts.loc[["train", "val", "test"]].to_numpy().tolist() == [[60, 60], [20, 20], [20, 20]]
    assert split.stamps == ("LEAKY",)
    assert split.table.groupby("subject")["part"].nunique().max() > 1


def test_random_cells_without_folds_draws_what_it_always_drew() -> None:
    drawn = make_split(simple_cells(), protocol("random_cells"))
    assert drawn.hash == "54f93e130fc0ee88fdbcb9a715a1483e0726c24167669af4d1f24d2c7da1fcc2"


def test_folds_of_random_cells_test_each_cell_once_and_keep_the_classes() -> None:
    cells = cells_of([{"labels": ["A"] * 24 + ["B"] * 52}, {"labels": ["A"] * 7}])
    splits = [make_split(cells, protocol("random_cells", n_folds=4, fold=k)) for k in range(4)]
    tested = pd.concat(
        [split.table[split.table["part"] == "test"].assign(at=k) for k, split in enumerate(splits)]
    )
    assert sorted(tested["cell_id"]) == sorted(cells["cell_id"])
    assert (tested["fold"] == tested["at"]).all()
    for split in splits:
        counts = pd.crosstab(split.table["part"], split.table["label"])
        assert counts.loc["test", "A"] in (7, 8)
        assert counts.loc["test", "B"] == 13
        assert counts.loc["val", "B"] == 8  # 0.2 of the 39 outside the test fold
        assert split.stamps == ("LEAKY",)
        assert split.protocol == {"name": "random_cells", "val_share": 0.2, "n_folds": 4} | {
            "fold": split.protocol["fold"],
            "seed": 0,
        }
    assert len({split.hash for split in splits}) == 4
    assert splits[0].table.groupby("subject")["part"].nunique().max() == 3


def test_folds_of_random_cells_do_not_depend_on_row_order_but_on_the_seed() -> None:
    cells, of = simple_cells(), protocol("random_cells", n_folds=3, fold=2)
    assert make_split(cells, of).hash == make_split(cells.sample(frac=1, random_state=1), of).hash
    other = make_split(cells, protocol("random_cells", n_folds=3, fold=2, seed=1))
    assert not other.table["fold"].equals(make_split(cells, of).table["fold"])


@pytest.mark.parametrize(("n_folds", "n_a"), [(2, 4), (3, 4), (5, 5)])
def test_the_fewest_cells_of_which_folds_can_be_made(n_folds: int, n_a: int) -> None:
    cells = cells_of([{"labels": ["A"] * n_a + ["B"] * 9}])
    for fold in range(n_folds):
        make_split(cells, protocol("random_cells", n_folds=n_folds, fold=fold))
    with pytest.raises(SplitError, match=f"class A has {n_a - 1} cells; {n_folds} folds of cells need {n_a}"):
        make_split(cells[1:], protocol("random_cells", n_folds=n_folds))


def test_random_cells_leaves_a_training_cell_in_the_smallest_class() -> None:
    cells = cells_of([{"labels": ["A"] * 3 + ["B"] * 20}])
    table = make_split(cells, protocol("random_cells", val_share=0.45, test_share=0.5)).table
    assert pd.crosstab(table["part"], table["label"])["A"].tolist() == [1, 1, 1]


def test_without_subjects_only_random_cells_works() -> None:
    cells = simple_cells().assign(subject=None)
    assert make_split(cells, protocol("random_cells")).stamps == ("LEAKY", "NO SUBJECTS")
    for name in GROUPED:
        with pytest.raises(SplitError, match=r"180 of 180 cells have no subject .*data\.subject_pattern"):
            make_split(cells, protocol(name))
    cells["subject"] = ["S1"] * 179 + [None]
    cells["group"] = "G1"
    with pytest.raises(SplitError, match=r"1 of 180 cells have no subject \(first: c17_9\)"):
        make_split(cells, protocol())


@pytest.mark.parametrize("name", GROUPED)
def test_ignored_twins_are_stamped(name: str) -> None:
    assert make_split(simple_cells(prelim=True), protocol(name, twins="ignore")).stamps == ("TWINS IGNORED",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "random"}, "protocol.name is 'random'; choose one of subject_holdout"),
        ({"val_share": 0.0}, r"protocol\.val_share is 0\.0; the val part needs a share"),
        ({"test_share": 1.2}, r"protocol\.test_share is 1\.2; the test part"),
        ({"val_share": 0.5, "test_share": 0.5}, "nothing is left to train on"),
        ({"seed": -1}, "protocol.seed is -1"),
        ({"name": "subject_kfold", "n_folds": 1}, "n_folds is 1"),
        ({"name": "subject_kfold", "fold": 3}, "protocol.fold is 3; with n_folds=3 it is 0 to 2"),
        (
            {"name": "random_cells", "n_folds": 3, "fold": 3},
            "protocol.fold is 3; with n_folds=3 it is 0 to 2",
        ),
        ({"name": "subject_kfold", "fold": -1}, "protocol.fold is -1"),
        ({"name": "subject_kfold", "n_folds": 10}, "class ALL has 9 subjects; 10 folds need 10 or more"),
        (
            {"name": "official_folds", "fold": 3},
            r"protocol\.fold is 3; the official folds here are \[0, 1, 2\]",
        ),
        ({"name": "challenge"}, "the data has no such cells"),
    ],
)
def test_a_protocol_that_cannot_be_carried_out(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SplitError, match=message):
        make_split(simple_cells(), protocol(**changes))


@pytest.mark.parametrize(
    ("cells", "name", "message"),
    [
        (simple_cells(n_groups=2), "subject_holdout", "class ALL has 2 subjects; subject_holdout needs 3"),
        (simple_cells(n_groups=2).assign(group="G"), "subject_holdout", "has 2 subjects in 1 groups"),
        (simple_cells(n_groups=1, prelim=True), "challenge", "class ALL has 1 subjects; outside the test"),
        (simple_cells().assign(official_fold=pd.NA), "official_folds", "180 of 180 cells have no official"),
        (cells_of([{"labels": ["A", "A", "B", "B", "B"]}]), "random_cells", "class A has 2 cells"),
        (simple_cells().assign(official_part="prelim"), "subject_holdout", "no training cells"),
        (simple_cells().head(0), "subject_holdout", "no cells to split"),
        (simple_cells().drop(columns="group"), "subject_holdout", "lacks the columns group"),
        (simple_cells().assign(label=None), "subject_holdout", "180 of 180 cells have no label"),
        (pd.concat([simple_cells()] * 2), "subject_holdout", "cell c0_0 is in the table of cells more"),
        (simple_cells().assign(subject="S1"), "subject_holdout", "subject S1 is in 18 groups"),
    ],
)
def test_cells_that_cannot_be_split(cells: pd.DataFrame, name: str, message: str) -> None:
    with pytest.raises(SplitError, match=message):
        make_split(cells, protocol(name))
