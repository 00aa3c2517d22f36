"""Labels permuted across the groups of each part: what stays, what changes, and that nothing can be learnt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from split_samples import HOLDOUT, cells_table, loaded

from leukemia_lab.data.permuting import PERMUTED_LABELS, permute_labels
from leukemia_lab.data.protocols import PARTS
from leukemia_lab.data.split_files import read_split, write_split
from leukemia_lab.data.splits import Split, check_split, make_split
from leukemia_lab.errors import SplitError


def uneven_cells(seed: int = 0) -> pd.DataFrame:
    """Subjects of 1 to 12 cells, 18 of ALL and 12 of HEM, two of them twins."""
    rng = np.random.default_rng(seed)
    names = [f"S{number}" for number in range(18)] + [f"H{number}" for number in range(12)]
    rows = [
        {"cell_id": f"{name}_{i}", "label": "HEM" if name[0] == "H" else "ALL", "subject": name}
        for name in names
        for i in range(rng.integers(1, 13))
    ]
    table = pd.DataFrame(rows).assign(official_part="train", official_fold=pd.NA)
    table["group"] = table["subject"].replace({"S0": "S0+S1", "S1": "S0+S1"})
    return table.astype({"official_fold": "Int64"})


def label_of_group(split: Split) -> pd.Series[str]:
    """By part and group; fails where the cells of one have several labels."""
    owners = split.table.groupby(["part", "group"])["label"]
    assert (owners.nunique() == 1).all()
    return owners.first()


def test_groups_swap_labels_inside_their_part() -> None:
    split = make_split(uneven_cells(), HOLDOUT)
    drawn = [permute_labels(split, seed) for seed in (1, 2)]
    before, after, other = map(label_of_group, (split, *drawn))
    for part in PARTS:
        assert before[part].value_counts().to_dict() == after[part].value_counts().to_dict()
        assert set(after[part]) == {"ALL", "HEM"}
    assert not before.equals(after)
    assert not after.equals(other)
    unchanged = [name for name in split.table if name != "label"]
    pd.testing.assert_frame_equal(split.table[unchanged], drawn[0].table[unchanged])
    pd.testing.assert_frame_equal(drawn[0].table, permute_labels(split, 1).table)
    assert drawn[0].stamps == (*split.stamps, PERMUTED_LABELS)
    assert len({split.hash, drawn[0].hash, drawn[1].hash}) == 3


def test_every_group_is_as_likely_to_have_a_label_as_any_other() -> None:
    split = make_split(uneven_cells(), HOLDOUT)
    n_draws = 100
    shares = sum(label_of_group(permute_labels(split, seed)) == "ALL" for seed in range(n_draws)) / n_draws
    expected = (label_of_group(split) == "ALL").groupby("part").transform("mean")
    assert (shares - expected).abs().max() < 5 * np.sqrt(0.25 / n_draws)


def test_cells_are_permuted_where_there_are_no_subjects() -> None:
    cells = uneven_cells().assign(subject=None)
    random_cells = replace(HOLDOUT, name="random_cells", twins="merge")
    split = make_split(cells.assign(group=cells["cell_id"]), random_cells)
    after = permute_labels(split, 0).table
    counts = [table.groupby("part")["label"].value_counts().to_dict() for table in (split.table, after)]
    assert counts[0] == counts[1]
    of_one_name = after.assign(name=after["cell_id"].str.split("_").str[0]).groupby("name")["label"]
    assert (of_one_name.nunique() == 2).any()


def test_a_group_with_cells_of_both_classes_keeps_those_of_each_class_together() -> None:
    cells = uneven_cells()
    mixed = cells["subject"].isin(["S2", "S3", "S4", "S5", "S6"]) & cells["cell_id"].str.endswith(
        ("_0", "_1")
    )
    split = make_split(cells.assign(label=cells["label"].mask(mixed, "HEM")), HOLDOUT)
    after = split.table.assign(now=permute_labels(split, 0).table["label"])
    blocks = after.groupby(["part", "group", "label"])["now"]
    assert (blocks.nunique() == 1).all()
    for _, own in blocks.first().groupby("part"):
        assert sorted(own) == sorted(own.index.get_level_values("label"))


def test_a_permuted_split_is_written_read_and_not_taken_for_the_data(tmp_path: Path) -> None:
    split = permute_labels(make_split(cells_table(), HOLDOUT), 0)
    check_split(split)
    write_split(split, tmp_path / "split.parquet")
    assert read_split(tmp_path / "split.parquet").hash == split.hash
    with pytest.raises(SplitError, match="cells have another label"):
        loaded(tmp_path / "split.parquet")


def pooled_auroc(splits: list[Split], value_of: dict[str, float]) -> float:
    """The AUROC of pooled out-of-fold scores of a logistic regression on one value a cell."""
    tested = []
    for split in splits:
        x = split.table["cell_id"].map(value_of).to_numpy()[:, None]
        truth = (split.table["label"] == "ALL").to_numpy()
        train, test = ((split.table["part"] == part).to_numpy() for part in ("train", "test"))
        model = LogisticRegression(class_weight="balanced").fit(x[train], truth[train])
        tested.append(pd.DataFrame({"truth": truth[test], "score": model.decision_function(x[test])}))
    table = pd.concat(tested)
    return float(roc_auc_score(table["truth"], table["score"]))


def test_a_cross_validation_on_permuted_labels_ends_at_chance() -> None:
    cells = uneven_cells().sort_values("cell_id", ignore_index=True)
    codes = pd.factorize(cells["group"])[0]
    rng = np.random.default_rng(0)
    values = 2.0 * (cells["label"] == "ALL") + rng.normal(0, 0.5, 30)[codes] + rng.normal(0, 0.5, len(cells))
    value_of = dict(zip(cells["cell_id"], values, strict=True))
    n_folds = 5
    folds = [
        Split(
            cells.assign(
                part=pd.Series((codes - k) % n_folds).map({0: "test", 1: "val"}).fillna("train"), fold=k
            ).astype({"fold": "Int64"}),
            {"name": "by hand", "fold": k},
            (),
            (),
        )
        for k in range(n_folds)
    ]
    assert pooled_auroc(folds, value_of) > 0.75  # the same models find what is there
    areas = [pooled_auroc([permute_labels(fold, seed) for fold in folds], value_of) for seed in range(30)]
    assert abs(np.mean(areas) - 0.5) < 3 * np.std(areas, ddof=1) / np.sqrt(len(areas))


def test_the_note_counts_the_cells_whose_label_changed_and_says_where_none_did() -> None:
    few = uneven_cells()
    split = make_split(few[few["subject"].isin(["S2", "S3", "S4", "H0", "H1", "H2"])], HOLDOUT)
    some_kept = 0
    for seed in range(10):  # a subject of each class in a part: half of the permutations leave it as it is
        found = permute_labels(split, seed)
        note = next(note for note in found.notes if note.startswith(f"permute_labels={seed}"))
        changed = (split.table["label"] != found.table["label"]).groupby(split.table["part"]).sum()
        for part in PARTS:
            assert f"{changed[part]} of {(split.table['part'] == part).sum()} cells of {part}" in note
            assert (changed[part] == 0) == (part in note.partition(";")[2].partition(";")[2])
        some_kept += "kept all labels" in note
    assert 0 < some_kept < 10


def test_the_notes_end_with_the_class_shares_that_there_are_now() -> None:
    split = make_split(uneven_cells(), HOLDOUT)
    found = permute_labels(split, 0)
    assert found.notes[: len(split.notes)] == split.notes
    for part, note in zip(PARTS, found.notes[-len(PARTS) :], strict=True):
        shares = [
            (table.loc[table["part"] == part, "label"] == "ALL").mean()
            for table in (split.table, found.table)
        ]
        assert f"{shares[0]:.1%}" != f"{shares[1]:.1%}"
        assert note.startswith(f"after permuting, {part}: ")
        assert f"ALL {shares[1]:.1%}" in note
