"""Split manifests on disk: written and read back, one's own, tampered with, not of these data, damaged at random."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukemia_lab.data.index import INDEX_COLUMNS, CellIndex
from leukemia_lab.data.protocols import SHAPED_BY, Protocol
from leukemia_lab.data.split_files import load_manifest, read_split, write_split
from leukemia_lab.data.splits import Split, make_split
from leukemia_lab.errors import SplitError

HOLDOUT = Protocol("subject_holdout", 0.2, 0.2, n_folds=3, fold=0, seed=0, twins="merge", source="a")
SUFFIXES = ("parquet", "csv")
Row = dict[str, str]


def cells_table() -> pd.DataFrame:
    """Nine subjects a class with four cells each, two of the preliminary test set; one group is a pair of twins."""
    rows = [
        {
            "cell_id": f"fold_{number % 3}/{'hem' if number % 2 else 'all'}/S{number}_{i}.bmp",
            "label": "HEM" if number % 2 else "ALL",
            "subject": f"S{number}",
            "group": "S0+S2" if number in (0, 2) else f"S{number}",
            "official_fold": number % 3 if number < 18 else None,
            "official_part": "train" if number < 18 else "prelim",
            "source": "ab"[number // 2 % 2],
        }
        for number in range(20)
        for i in range(4)
    ]
    return pd.DataFrame(rows).astype({"official_fold": "Int64"}).sort_values("cell_id", ignore_index=True)


def index_of(cells: pd.DataFrame) -> CellIndex:
    class_names = tuple(sorted(set(cells["label"])))
    has_subjects = bool(cells["subject"].notna().any())
    table = cells.reindex(columns=list(INDEX_COLUMNS))
    return CellIndex(Path("/data"), table, class_names, None, has_subjects, (), (), {})


def loaded(path: Path, cells: pd.DataFrame | None = None, **policies: bool) -> Split:
    index = index_of(cells_table() if cells is None else cells)
    return load_manifest(path, index, **({"leaky": False, "ignore_twins": False} | policies))


def own_rows() -> list[Row]:
    """A split of one's own as `csv` would write it: cell and part."""
    split = make_split(cells_table(), HOLDOUT).table
    return [
        {"cell_id": cell, "part": part} for cell, part in zip(split["cell_id"], split["part"], strict=True)
    ]


def own_file(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def changed(rows: list[Row], place: int, **values: str) -> list[Row]:
    return [row | values if number == place else row for number, row in enumerate(rows)]


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


# What does not fit the data


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


def test_what_holds_no_cells_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    for text, message in (
        ("", "cannot be read as a split: it is empty"),
        ("\n\n", "cannot be read as a split: it is empty"),
        ("cell_id,part\n", "there are no cells in the split"),
        ("cell_id,part,part\na,train,val\n", "it has 2 columns part"),
        ("PK\x03\x04 \x00\x00", "lacks the columns cell_id, part"),
    ):
        path.write_text(text)
        with pytest.raises(SplitError, match=message):
            loaded(path)
    path.write_bytes("cell_id,part\nä,train".encode("latin-1"))
    with pytest.raises(SplitError, match="cannot be read as a split: 'utf-8' codec"):
        loaded(path)


def test_a_parquet_of_numbers_is_no_split(tmp_path: Path) -> None:
    path = tmp_path / "own.parquet"
    pd.DataFrame({"cell_id": [1, 2], "part": ["train", "val"]}).to_parquet(path)
    with pytest.raises(SplitError, match=r"own\.parquet: cell_id must be text, not 1"):
        loaded(path)


@pytest.mark.parametrize("written", [True, False])
def test_text_that_is_no_utf_8_is_refused(written: bool, tmp_path: Path) -> None:
    path = tmp_path / "split.parquet"
    write_split(make_split(cells_table(), HOLDOUT), path)
    rows = pq.read_table(path)
    pq.write_table(rows if written else rows.replace_schema_metadata(), path, compression="none")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"S3", b"S\xff"))
    assert path.read_bytes() != whole
    with pytest.raises(SplitError, match=r"split\.parquet cannot be read as a split"):
        loaded(path)


def test_a_parquet_may_have_cells_as_its_index_and_columns_of_any_kind(tmp_path: Path) -> None:
    table = pd.DataFrame(own_rows()).assign(box=[[1, 2]] * 72, when=pd.Timestamp("2020-01-01"))
    table.set_index("cell_id").to_parquet(tmp_path / "own.parquet")
    assert loaded(tmp_path / "own.parquet").hash == loaded(own_file(tmp_path / "own.csv", own_rows())).hash


# Policies


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


# Damaged at random


def _damage(data: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes flipped, cut out, put in twice, or all from some place on."""
    damaged = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        start = int(rng.integers(len(damaged) + 1))
        end = start + int(rng.integers(1, 30))
        match rng.integers(5):
            case 0:
                damaged[start:end] = rng.integers(0, 256, len(damaged[start:end]), dtype=np.uint8).tobytes()
            case 1:
                del damaged[start:end]
            case 2:
                damaged[start:start] = damaged[start:end]
            case 3 if start < len(damaged):
                damaged[start] ^= 1 << int(rng.integers(8))
            case 4 if rng.random() < 0.2:
                del damaged[start:]
    return bytes(damaged)


@pytest.mark.parametrize("kind", ["csv", "own.csv", "parquet"])
def test_damage_at_random_is_refused_or_harmless(kind: str, tmp_path: Path) -> None:
    """What still loads has every cell in the part that it was in, or is one's own, which no hash guards."""
    split = make_split(cells_table(), HOLDOUT)
    path = tmp_path / f"split.{kind}"
    if kind == "own.csv":
        own_file(path, own_rows())
    else:
        write_split(split, path)
    whole = path.read_bytes()
    index = index_of(cells_table())
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        path.write_bytes(_damage(whole, rng))
        try:
            found: Any = load_manifest(path, index, leaky=False, ignore_twins=False)
        except SplitError:
            refused += 1
            continue
        if found.protocol != {"name": "manifest"}:
            assert found.hash == split.hash
        assert set(found.table["part"]) == {"train", "val", "test"}
        assert set(found.table["cell_id"]) <= set(index.table["cell_id"])
    assert refused > 350
