"""Split manifests on disk: written and read back, one's own, tampered with, not of these data, damaged at random."""

from __future__ import annotations

import codecs
import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_samples import HOLDOUT, SUFFIXES, Row, cells_table, changed, loaded, own_file, own_rows

from leukemia_lab.data.protocols import SHAPED_BY
from leukemia_lab.data.split_files import read_split, write_split
from leukemia_lab.data.splits import make_split
from leukemia_lab.errors import SplitError

# Written and read back


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", list(SHAPED_BY))
def test_written_splits_read_back_equal(name: str, suffix: str, tmp_path: Path) -> None:
    cells = cells_table()
    if name == "random_cells":
        cells = cells.assign(subject=None, group=cells["cell_id"])
    split = make_split(cells, dataclasses.replace(HOLDOUT, name=name))  # type: ignore[arg-type]
    path = tmp_path / f"split.{suffix}"
    write_split(split, path)
    again = read_split(path)
    pd.testing.assert_frame_equal(again.table, split.table)
    assert (again.protocol, again.stamps, again.notes) == (split.protocol, split.stamps, split.notes)
    assert again.hash == split.hash
    assert loaded(path, cells).hash == split.hash
    assert loaded(path, cells).stamps == split.stamps
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_files_open_in_pandas(tmp_path: Path) -> None:
    split = make_split(cells_table(), dataclasses.replace(HOLDOUT, name="subject_kfold"))
    columns = ["cell_id", "subject", "group", "label", "part", "fold"]
    write_split(split, tmp_path / "split.parquet")
    write_split(split, tmp_path / "split.csv")
    assert pq.read_table(tmp_path / "split.parquet").column_names == columns
    table = pd.read_csv(tmp_path / "split.csv", skiprows=1)
    assert list(table) == columns
    assert table["part"].tolist() == split.table["part"].tolist()
    assert table["fold"].tolist() == split.table["fold"].tolist()


@settings(max_examples=20, deadline=None)
@given(
    names=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1),
        min_size=6,
        max_size=6,
        unique=True,
    )
)
def test_any_name_of_a_cell_survives(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    cells = pd.DataFrame(
        {
            "cell_id": names,
            "label": ["A", "B"] * 3,
            "subject": [f'S{i}, "{i}"' for i in range(6)],
            "group": [f'S{i}, "{i}"' for i in range(6)],
            "official_fold": pd.array([None] * 6, dtype="Int64"),
            "official_part": None,
        }
    )
    split = make_split(cells, HOLDOUT)
    for suffix in SUFFIXES:
        path = tmp_path_factory.mktemp("split") / f"split.{suffix}"
        write_split(split, path)
        pd.testing.assert_frame_equal(read_split(path).table, split.table)
        assert loaded(path, cells).hash == split.hash


def test_a_csv_keeps_its_hash_when_a_spreadsheet_or_git_changes_its_line_ends(tmp_path: Path) -> None:
    split = make_split(cells_table(), HOLDOUT)
    path = tmp_path / "split.csv"
    write_split(split, path)
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_split(path).hash == loaded(path).hash == split.hash


# Tampered with


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("column", ["cell_id", "subject", "group", "label", "part", "fold"])
def test_a_tampered_file_is_refused(column: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"split.{suffix}"
    write_split(make_split(cells_table(), HOLDOUT), path)
    if suffix == "csv":
        head, *lines = path.read_text().splitlines()
        rows = list(csv.DictReader(lines))
        rows[3][column] = {"part": "test" if rows[3]["part"] != "test" else "val", "fold": "2"}.get(
            column, "else"
        )
        own_file(path, rows)
        path.write_text(f"{head}\n{path.read_text()}")
    else:
        rows = pq.read_table(path)
        values = rows[column].to_pylist()
        values[3] = {"part": "test" if values[3] != "test" else "val", "fold": 2}.get(column, "else")
        field = rows.schema.field(column)
        pq.write_table(
            rows.set_column(rows.column_names.index(column), field, pa.array(values, field.type)), path
        )
    message = "was changed after it was written: stored hash [0-9a-f]{12}, content has [0-9a-f]{12}"
    for read in (read_split, loaded):
        with pytest.raises(SplitError, match=message):
            read(path)


def test_a_changed_stamp_protocol_or_hash_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    write_split(make_split(cells_table(), dataclasses.replace(HOLDOUT, name="random_cells")), path)
    text = path.read_text()
    for old, new in (('["LEAKY"]', "[]"), ('"random_cells"', '"challenge"'), ('"seed": 0', '"seed": 1')):
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(SplitError, match="was changed after it was written"):
            loaded(path)


@pytest.mark.parametrize(
    "head", ["{}", "[]", "3", '{"hash": "a", "protocol": {}, "stamps": "LEAKY", "notes": []}']
)
def test_a_head_that_is_damaged_is_refused(head: str, tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    write_split(make_split(cells_table(), HOLDOUT), path)
    lines = path.read_text().split("\n", 1)[1]
    path.write_text(f"# leukemia_lab split: {head}\n{lines}")
    with pytest.raises(SplitError, match="own protocol and hash is damaged"):
        loaded(path)
    path.write_text(f"# leukemia_lab split: {{\n{lines}")
    with pytest.raises(SplitError, match="cannot be read as a split"):
        loaded(path)


def test_a_foreign_or_absent_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "split.parquet"
    with pytest.raises(SplitError, match="there is no split at"):
        read_split(path)
    write_split(make_split(cells_table(), HOLDOUT), path)
    rows = pq.read_table(path)
    pq.write_table(rows.drop_columns(["fold"]), path)
    with pytest.raises(SplitError, match="lacks the columns fold"):
        read_split(path)
    rows.to_pandas().to_parquet(path)
    with pytest.raises(
        SplitError, match="not a split written by leukemia_lab: it does not say which protocol"
    ):
        read_split(path)
    assert loaded(path).protocol == {"name": "manifest"}  # one's own, then
    path.write_text("cell_id,part")
    with pytest.raises(SplitError, match="cannot be read as a split"):
        read_split(path)


@pytest.mark.parametrize("name", ["split", "split.csv", "split.parquet"])
def test_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    write_split(make_split(cells_table(), HOLDOUT), tmp_path / name / "split.parquet")
    with pytest.raises(
        SplitError, match=rf"{name} is no file\. Name the split itself: .*{name}/split\.parquet"
    ):
        loaded(tmp_path / name)


# One's own


# What does not fit the data


def test_a_written_split_of_other_data_names_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "split.parquet"
    write_split(make_split(cells_table(), HOLDOUT), path)
    renamed = cells_table().replace({"subject": {"S3": "S33"}, "group": {"S3": "S33"}})
    with pytest.raises(SplitError, match=r"4 cells have another subject: .*S3_0\.bmp is S3 there, S33 here"):
        loaded(path, renamed)
    nameless = cells_table().assign(subject=None, group=cells_table()["cell_id"])
    with pytest.raises(SplitError, match=r"72 cells have another subject: .* is S0 there, None here"):
        loaded(path, nameless)


def test_other_groups_give_another_hash(tmp_path: Path) -> None:
    path = tmp_path / "split.parquet"
    split = make_split(cells_table(), HOLDOUT)
    write_split(split, path)
    home = split.table.set_index("subject")["part"]
    apart = [name for name in ("S4", "S6", "S8", "S10", "S12") if home[name].iloc[0] == home["S1"].iloc[0]]
    assert apart
    merged = cells_table().replace({"group": {"S1": f"S1+{apart[0]}", apart[0]: f"S1+{apart[0]}"}})
    assert loaded(path, merged).hash != split.hash


BAD_ROWS: dict[str, tuple[Callable[[list[Row]], list[Row]], str]] = {
    "cell twice": (lambda rows: [*rows, rows[7]], r"own\.csv: cell fold_0/\S+ is there more than once"),
    "unknown part": (
        lambda rows: changed(rows, 0, part="dev"),
        r"is in part 'dev'; parts are train, val, test",
    ),
    "no part": (lambda rows: changed(rows, 0, part=""), r"own\.csv: 1 rows have no part"),
    "no name": (lambda rows: changed(rows, 0, cell_id=""), "1 rows have no cell_id"),
    "other columns": (
        lambda rows: [{"cell": row["cell_id"], "group": "x"} for row in rows],
        "lacks the columns cell_id, part",
    ),
    "no part column": (lambda rows: [{"cell_id": row["cell_id"]} for row in rows], "lacks the columns part"),
    "no test part": (
        lambda rows: [row | {"part": row["part"].replace("test", "train")} for row in rows],
        "test has no ALL cells",
    ),
    "no HEM in val": (
        lambda rows: [row for row in rows if row["part"] != "val" or "/hem/" not in row["cell_id"]],
        "val has no HEM cells under protocol manifest",
    ),
    "subject on both sides": (
        lambda rows: changed(rows, 0, part="test" if rows[0]["part"] != "test" else "val"),
        r"subject S0 is in .* \(4 cells, first fold_0/all/S0_0\.bmp\)\. .*protocol\.leaky=true",
    ),
}


@pytest.mark.parametrize("case", BAD_ROWS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_split_that_is_none_is_refused(case: str, suffix: str, tmp_path: Path) -> None:
    change, message = BAD_ROWS[case]
    path = own_file(tmp_path / "own.csv", change(own_rows()))
    if suffix == "parquet":
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        path = tmp_path / "own.parquet"
        table.to_parquet(path)
    with pytest.raises(SplitError, match=message.replace(r"own\.csv", r"own\.\w+")):
        loaded(path)


# Policies


# Damaged at random
