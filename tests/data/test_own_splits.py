"""Splits that users write themselves: what is enough, what is refused and with which words."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from split_samples import HOLDOUT, SUFFIXES, cells_table, changed, loaded, own_file, own_rows

from leukemia_lab.data.split_files import write_split
from leukemia_lab.data.splits import make_split
from leukemia_lab.errors import SplitError


def test_a_csv_of_cells_and_parts_is_enough(tmp_path: Path) -> None:
    split = make_split(cells_table(), HOLDOUT)
    own = loaded(own_file(tmp_path / "own.csv", own_rows()))
    pd.testing.assert_frame_equal(
        own.table, split.table, check_dtype=False
    )  # subjects, groups, classes of the index
    assert own.protocol == {"name": "manifest"}
    assert own.stamps == ()
    assert own.hash != split.hash
    assert any("8 cells of the data are not in own.csv and are left out" in note for note in own.notes)
    assert own.notes[-1].startswith("test: ")


def _crlf_and_bom(text: str) -> bytes:
    return codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode()


def _shuffled(text: str) -> bytes:
    head, *lines = text.splitlines()
    return "\n".join([head, *np.random.default_rng(0).permutation(lines)]).encode()


def _other_columns(text: str) -> bytes:
    head, *lines = text.splitlines()
    more = [f'{line},{number},"a, ""b""",' for number, line in enumerate(lines)]
    return "\n".join([f" {head.upper()} ,box,remark,", *more]).encode()


def _blank_lines(text: str) -> bytes:
    return text.replace("\n", "\n\n").encode()


def _quoted(text: str) -> bytes:
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows(csv.reader(io.StringIO(text)))
    return file.getvalue().encode()


@pytest.mark.parametrize("written", [_crlf_and_bom, _shuffled, _other_columns, _blank_lines, _quoted])
def test_a_csv_may_be_written_in_many_ways(written: Callable[[str], bytes], tmp_path: Path) -> None:
    plain = own_file(tmp_path / "own.csv", own_rows())
    other = tmp_path / "other.csv"
    other.write_bytes(written(plain.read_text()))
    assert loaded(other).hash == loaded(plain).hash


def test_commas_in_names_need_quotes(tmp_path: Path) -> None:
    cells = cells_table()
    renamed = cells.assign(cell_id=[cell.replace("/", ", ") for cell in cells["cell_id"]])
    rows = [row | {"cell_id": row["cell_id"].replace("/", ", ")} for row in own_rows()]
    path = own_file(tmp_path / "own.csv", rows)
    assert len(loaded(path, renamed).table) == len(rows)
    path.write_text(path.read_text().replace('"', ""))
    with pytest.raises(
        SplitError, match="4 values for 2 columns in the row of fold_0; a value with a comma needs"
    ):
        loaded(path, renamed)


def test_folds_of_ones_own_are_kept(tmp_path: Path) -> None:
    folds = ["0", "1", "", "2.0"]
    rows = [row | {"fold": folds[number % 4]} for number, row in enumerate(own_rows())]
    table = loaded(own_file(tmp_path / "own.csv", rows)).table
    assert [None if pd.isna(fold) else int(fold) for fold in table["fold"][:4]] == [0, 1, None, 2]


@pytest.mark.parametrize("fold", ["one", "1.5", "inf", "1e30", "99999999999999999999999"])
def test_a_fold_that_is_no_whole_number_is_refused(fold: str, tmp_path: Path) -> None:
    rows = [row | {"fold": fold} for row in own_rows()]
    with pytest.raises(SplitError, match=r"own\.csv: fold must be a whole number or empty"):
        loaded(own_file(tmp_path / "own.csv", rows))


def test_cells_that_the_data_do_not_have_are_named(tmp_path: Path) -> None:
    rows = changed(own_rows(), 5, cell_id="fold_9/x.bmp")
    with pytest.raises(
        SplitError, match=r"does not fit the data:\n  1 of its 72 cells are not in the data: fold_9/x"
    ):
        loaded(own_file(tmp_path / "own.csv", rows))
    rows = [row | {"cell_id": f"C-NMC/{row['cell_id']}.bmp"} for row in own_rows()]
    with pytest.raises(SplitError) as refused:
        loaded(own_file(tmp_path / "own.csv", rows))
    said = str(refused.value)
    assert "72 of its 72 cells are not in the data: C-NMC/fold_0/" in said
    assert "and 67 more" in said
    assert (
        "the data's cells are named like fold_0/all/S0_0.bmp: name them as the data do, or set data.root"
        in said
    )


def test_bare_names_or_other_folders_do_where_names_are_unique(tmp_path: Path) -> None:
    """As in a split drawn from a table of file names, or from another layout of the same data."""
    whole = loaded(own_file(tmp_path / "own.csv", own_rows())).table
    for folder in ("", "C-NMC/training/"):
        rows = [row | {"cell_id": f"{folder}{Path(row['cell_id']).name}"} for row in own_rows()]
        pd.testing.assert_frame_equal(loaded(own_file(tmp_path / "names.csv", rows)).table, whole)


def test_another_class_or_subject_is_named(tmp_path: Path) -> None:
    now = cells_table().set_index("cell_id")
    rows = [
        row | {"label": now.at[row["cell_id"], "label"], "subject": now.at[row["cell_id"], "subject"]}
        for row in own_rows()
    ]
    loaded(own_file(tmp_path / "own.csv", rows))
    wrong = changed(changed(rows, 2, label="XYZ"), 4, subject="S99")
    with pytest.raises(SplitError) as refused:
        loaded(own_file(tmp_path / "own.csv", wrong))
    said = str(refused.value)
    cell, other = wrong[2]["cell_id"], wrong[4]["cell_id"]
    assert f"1 cells have another label: {cell} is XYZ there, {rows[2]['label']} here" in said
    assert f"1 cells have another subject: {other} is S99 there, {rows[4]['subject']} here" in said


def test_a_parquet_may_have_cells_as_its_index_and_columns_of_any_kind(tmp_path: Path) -> None:
    table = pd.DataFrame(own_rows()).assign(box=[[1, 2]] * 72, when=pd.Timestamp("2020-01-01"))
    table.set_index("cell_id").to_parquet(tmp_path / "own.parquet")
    assert loaded(tmp_path / "own.parquet").hash == loaded(own_file(tmp_path / "own.csv", own_rows())).hash


def test_leaky_accepts_subjects_on_both_sides_and_stamps(tmp_path: Path) -> None:
    path = own_file(tmp_path / "own.csv", changed(own_rows(), 0, part="val"))
    path.write_text(path.read_text().replace("S1_0.bmp,train", "S1_0.bmp,test"))
    assert loaded(path, leaky=True).stamps == ("LEAKY",)
    assert loaded(path, leaky=True, ignore_twins=True).stamps == ("LEAKY", "TWINS IGNORED")


def test_ignoring_twins_stamps_and_merging_refuses_them(tmp_path: Path) -> None:
    apart = cells_table().assign(group=cells_table()["subject"])
    split = next(
        split
        for seed in range(20)
        if (split := make_split(apart, dataclasses.replace(HOLDOUT, seed=seed, twins="ignore")))
        .table.set_index("subject")
        .loc[["S0", "S2"], "part"]
        .nunique()
        == 2
    )
    for suffix in SUFFIXES:
        path = tmp_path / f"split.{suffix}"
        write_split(split, path)
        again = loaded(path, apart, ignore_twins=True)
        assert (again.hash, again.stamps) == (split.hash, ("TWINS IGNORED",))
        message = r"group S0\+S2 with the subjects S0 \(\w+\), S2 \(\w+\) is in .*protocol\.twins=ignore"
        with pytest.raises(SplitError, match=message):
            loaded(path)


def test_data_without_subjects_are_stamped(tmp_path: Path) -> None:
    cells = cells_table().assign(subject=None, group=cells_table()["cell_id"])
    assert loaded(own_file(tmp_path / "own.csv", own_rows()), cells).stamps == ("NO SUBJECTS",)
