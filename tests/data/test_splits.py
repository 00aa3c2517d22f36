from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from leukemia_lab.data.protocols import Protocol
from leukemia_lab.data.split_files import write_split
from leukemia_lab.data.splits import Split, check_split, make_split
from leukemia_lab.errors import SplitError

HOLDOUT = Protocol("subject_holdout", 0.2, 0.2, n_folds=3, fold=0, seed=0, twins="merge")


def cells_with_prelim() -> pd.DataFrame:
    """Nine subjects a class with ten cells each, and two of the preliminary test set."""
    names = [f"S{number}" for number in range(20)]
    return pd.DataFrame(
        [
            {
                "cell_id": f"{name}_{i}",
                "label": "HEM" if number % 2 else "ALL",
                "subject": name,
                "group": name.replace("S", "G"),
                "official_fold": number % 3 if number < 18 else None,
                "official_part": "train" if number < 18 else "prelim",
            }
            for number, name in enumerate(names)
            for i in range(10)
        ]
    ).astype({"official_fold": "Int64"})


def planted(split: Split, column: str, name: str, from_part: str, to_part: str) -> Split:
    """Put one cell of `from_part` under the `name` of a subject or group that stands in `to_part`."""
    table = split.table.copy()
    table.loc[table.index[table["part"] == from_part][0], column] = name
    assert (table.loc[table[column] == name, "part"] == to_part).sum() > 0
    return dataclasses.replace(split, table=table)


def test_a_planted_subject_leak_is_named_with_its_parts_and_cells() -> None:
    split = make_split(cells_with_prelim(), dataclasses.replace(HOLDOUT, twins="ignore"))
    tested = split.table.loc[split.table["part"] == "test", "subject"].iloc[0]
    leaky = planted(split, "subject", tested, "train", "test")
    message = (
        rf"^subject {tested} is in train and test \(11 cells, first S\d+_\d\)\. .*protocol=subject_holdout\.$"
    )
    with pytest.raises(SplitError, match=message):
        check_split(leaky)
    of_a_file = dataclasses.replace(leaky, protocol={"name": "manifest"})
    with pytest.raises(SplitError, match=r"protocol\.leaky=true \(its results are stamped LEAKY\)"):
        check_split(of_a_file)
    check_split(dataclasses.replace(leaky, stamps=("LEAKY",)))


def test_a_planted_group_leak_names_group_and_subjects(tmp_path: Path) -> None:
    split = make_split(cells_with_prelim(), HOLDOUT)
    validated = split.table.loc[split.table["part"] == "val", "group"].iloc[0]
    leaky = planted(split, "group", validated, "train", "val")
    message = (
        rf"^group {validated} with the subjects S\d+ \((train|val)\), S\d+ \((train|val)\) is in train and val "
        r"\(11 cells, first S\d+_\d\)\. Twins were not merged: .* protocol\.twins=merge, .* protocol\.twins=ignore"
    )
    for file in ("split.parquet", "split.csv"):
        with pytest.raises(SplitError, match=message):
            write_split(leaky, tmp_path / file)
    assert list(tmp_path.iterdir()) == []


def test_check_split_refuses_what_is_no_partition() -> None:
    split = make_split(cells_with_prelim(), HOLDOUT)
    twice = dataclasses.replace(split, table=pd.concat([split.table, split.table.tail(1)]))
    with pytest.raises(SplitError, match="cell S9_9 is in the split more than once"):
        check_split(twice)
    wrong = dataclasses.replace(split, table=split.table.assign(part="dev"))
    with pytest.raises(SplitError, match="part 'dev'; parts are train, val, test"):
        check_split(wrong)
    with pytest.raises(SplitError, match="there are no cells in the split"):
        check_split(dataclasses.replace(split, table=split.table.head(0)))
    of_one_class = split.table[(split.table["part"] != "val") | (split.table["label"] != "HEM")]
    with pytest.raises(SplitError, match="val has no HEM cells"):
        check_split(dataclasses.replace(split, table=of_one_class))


def test_hash_changes_with_what_shapes_the_split_and_with_nothing_else() -> None:
    cells = cells_with_prelim()
    split = make_split(cells, HOLDOUT)
    assert len(split.hash) == 64
    assert split.hash == make_split(cells, dataclasses.replace(HOLDOUT, n_folds=7, fold=2)).hash
    for column in ("cell_id", "subject", "group", "label", "part"):
        changed = split.table.copy()
        changed.loc[0, column] = "else"
        assert dataclasses.replace(split, table=changed).hash != split.hash
    assert dataclasses.replace(split, table=split.table.assign(fold=0)).hash != split.hash
    assert dataclasses.replace(split, stamps=("LEAKY",)).hash != split.hash
    assert (
        dataclasses.replace(split, protocol=dataclasses.replace(HOLDOUT, seed=1).shape()).hash != split.hash
    )


def test_official_folds_of_the_real_names(shared_data: Path) -> None:
    manifest = pd.read_csv(shared_data / "cnmc_meta" / "train_manifest.csv")
    subject = manifest["file"].str.split("_").str[1].str.upper()
    twins = [["20", "21"], ["51", "75", "78"], ["H10", "H3"], ["H2", "H4", "H5", "H6", "H7"]]
    group_of = {name: "+".join(names) for names in twins for name in names}
    cells = pd.DataFrame(
        {
            "cell_id": manifest["fold"] + "/" + manifest["file"],
            "label": manifest["label"].str.upper(),
            "subject": subject,
            "group": subject.map(lambda name: group_of.get(name, name)),
            "official_fold": manifest["fold"].str[-1].astype("Int64"),
            "official_part": "train",
        }
    )
    split = make_split(cells, dataclasses.replace(HOLDOUT, name="official_folds", fold=2))
    assert (split.table["subject"].nunique(), split.table["group"].nunique()) == (73, 65)
    assert [note.split(":")[0] for note in split.notes[:4]] == ["group " + "+".join(names) for names in twins]
    untwinned = make_split(
        cells.assign(group=cells["subject"]),
        dataclasses.replace(HOLDOUT, name="official_folds", twins="ignore"),
    )
    tested = untwinned.table[untwinned.table["part"] == "test"]
    assert tested["label"].value_counts().to_dict() == {"ALL": 2397, "HEM": 1130}
    holdout = make_split(cells, HOLDOUT).table
    shares = pd.crosstab(holdout["part"], holdout["label"], normalize="columns").loc[["train", "val", "test"]]
    assert np.allclose(shares, [[0.6, 0.6], [0.2, 0.2], [0.2, 0.2]], atol=0.01)
