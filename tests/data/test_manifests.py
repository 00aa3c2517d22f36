"""Manifests of files and hashes: a tree held against one, and an index read from one alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from leukemia_lab.data.index import CellIndex, Tree, read_index
from leukemia_lab.data.manifests import check_manifest, check_manifests, read_manifest_index
from leukemia_lab.errors import DataError

TreeFactory = Callable[..., Path]


def digest(file: str) -> str:
    return hashlib.sha256(file.encode()).hexdigest()


def cells(*files: str) -> pd.DataFrame:
    return pd.DataFrame({"cell_id": list(files), "sha256": [digest(file) for file in files]})


def listed(path: Path, rows: dict[str, str], header: str = "file,sha256") -> Path:
    path.write_text("\n".join([header, *(f"{file},{sha256}" for file, sha256 in rows.items())]) + "\n")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "list.csv"


def test_every_file_is_checked_differing_missing_or_not_listed(path: Path) -> None:
    table = cells("x/a.png", "x/b.png", "y/c.png", "y/d.png")
    rows = {
        "a.png": digest("x/a.png"),
        "b.png": digest("other"),
        "d.png": digest("y/d.png"),
        "e.png": digest("e"),
    }
    found = check_manifest(table, listed(path, rows))
    assert (found.checked, found.differing, found.missing, found.not_listed) == (
        3,
        ("x/b.png",),
        ("e.png",),
        1,
    )


def test_a_folder_tells_files_of_one_name_apart(path: Path) -> None:
    table = cells("fold_0/all/1.bmp", "fold_1/all/1.bmp", "fold_10/all/11.bmp")
    rows = {file: digest(file) for file in ("fold_0/all/1.bmp", "fold_1/all/1.bmp")}
    found = check_manifest(table, listed(path, rows))
    assert (found.checked, found.differing, found.not_listed) == (2, (), 1)  # 1.bmp is no end of 11.bmp
    rows["fold_1/all/1.bmp"] = digest("else")
    assert check_manifest(table, listed(path, rows)).differing == ("fold_1/all/1.bmp",)
    windows = {file.replace("/", "\\"): sha256 for file, sha256 in rows.items()}
    assert check_manifest(table, listed(path, windows)).differing == ("fold_1/all/1.bmp",)
    assert check_manifest(table, listed(path, {"old_0/all/1.bmp": digest("a")})).missing == (
        "old_0/all/1.bmp",
    )


def test_spelling_of_hashes_headers_and_names(path: Path) -> None:
    table = cells("x/A.BMP")
    listed(path, {"a.bmp": digest("x/A.BMP").upper()}, header=" SHA , File")
    path.write_bytes(b"\xef\xbb\xbf" + f"SHA256, File\r\n{digest('x/A.BMP').upper()},a.bmp\r\n".encode())
    found = check_manifest(table, path)
    assert (found.checked, found.differing) == (1, ())


def test_a_file_listed_twice(path: Path) -> None:
    table = cells("x/a.png", "y/a.png")
    path.write_text(f"file,sha256\na.png,{digest('x/a.png')}\na.png,{digest('x/a.png').upper()}\n")
    assert check_manifest(table, path).differing == ("y/a.png",)
    path.write_text(f"file,sha256\na.png,{digest('x/a.png')}\na.png,{digest('y/a.png')}\n")
    with pytest.raises(
        DataError, match=r"lists a\.png with 2 hashes\. List each file once, with as many folders"
    ):
        check_manifest(table, path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read as a CSV file"),
        (b"", "cannot be read as a CSV file: it is empty"),
        ("file,sha256\nä,".encode("latin-1"), "cannot be read as a CSV file"),
        (b"name,md5\na,b\n", r"lacks the column\(s\) file, sha256; it has name, md5"),
        (b"file,sha256\na,123\n", "'123' is no SHA-256"),
        (b"file,sha256\na," + b"x" * 64 + b"\n", "is no SHA-256"),
        (b"file,sha256\na,\n", "'' is no SHA-256"),
        (
            b"file,sha256\na,b,c\n",
            "3 values for 2 columns in the row of a; a value with a comma needs quotes",
        ),
    ],
)
def test_a_manifest_that_is_none(content: bytes | None, message: str, path: Path) -> None:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"list\.csv.*({message})"):
        check_manifest(cells("a"), path)


def tree_index(root: Path, tmp_path: Path) -> CellIndex:
    return read_index(Tree(root, "folder"), None, "error", tmp_path / "cache")


def test_other_bytes_are_faults(class_tree: TreeFactory, tmp_path: Path) -> None:
    root = class_tree()
    index = tree_index(root, tmp_path)
    rows = {
        file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(root.rglob("*.png"))
    }
    half = len(rows) // 2
    first = listed(tmp_path / "first.csv", dict(list(rows.items())[:half]) | {"gone.png": digest("gone")})
    second = listed(tmp_path / "second.csv", dict(list(rows.items())[half:]))
    same = check_manifests(index, [first, second], "error")
    assert len(same.table) == len(rows)
    assert same.faults == ()
    assert same.notes == (
        *index.notes,
        "first.csv: 4 cells checked, 0 differ",
        "first.csv: 1 of its files are not there (gone.png, ...)",
        "second.csv: 4 cells checked, 0 differ",
    )
    changed = list(rows)[-1]
    with (root / changed).open("ab") as file:  # an image still, and other bytes
        file.write(b"\0")
    now = tree_index(root, tmp_path)
    with pytest.raises(
        DataError, match=rf"1 faults below .*\n  {changed}: other bytes .*not that of second\.csv"
    ):
        check_manifests(now, [first, second], "error")
    left = check_manifests(now, [first, second], "skip")
    assert sorted(set(rows) - set(left.table["cell_id"])) == [changed]
    assert left.table.index.tolist() == list(range(len(rows) - 1))
    assert [(fault.file, fault.fault) for fault in left.faults] == [(changed, "other bytes")]
    assert left.fingerprint != now.fingerprint


# An index of names alone


def read(path: Path, text: str) -> CellIndex:
    path.write_text(text)
    return read_manifest_index([path])


def test_an_index_of_names_hashes_and_boxes(tmp_path: Path) -> None:
    train, prelim = tmp_path / "train.csv", tmp_path / "prelim.csv"
    train.write_text(
        "file,fold,label,subject,sha256,bytes,x,y,w,h\n"
        f"UID_11_10_1_all.bmp,fold_0,all,ALL_11,{'A' * 64},608454,121,118,222,246\n"
        f"UID_H3_2_7_hem.bmp,fold_2,hem,HEM_3,{'b' * 64},608454,,,,\n"
    )
    prelim.write_text(
        f"file,orig,label,subject,sha256,bytes\n1.bmp,UID_57_29_1_all.bmp,all,57,{'c' * 64},9\n"
    )
    index = read_manifest_index([train, prelim])
    table = index.table.set_index("cell_id")
    assert list(table.index) == ["1.bmp", "UID_11_10_1_all.bmp", "UID_H3_2_7_hem.bmp"]
    assert table["label"].tolist() == ["ALL", "ALL", "HEM"]
    assert table["subject"].tolist() == table["group"].tolist() == ["57", "11", "H3"]
    assert table["official_part"].tolist() == ["prelim", "train", "train"]
    assert table["official_fold"].isna().tolist() == [True, False, False]
    assert table["official_fold"].tolist()[1:] == [0, 2]
    assert table.at["UID_11_10_1_all.bmp", "sha256"] == "a" * 64
    assert table.loc["UID_11_10_1_all.bmp", ["box_x", "box_y", "box_w", "box_h", "n_bytes"]].tolist() == [
        121,
        118,
        222,
        246,
        608454,
    ]
    assert table.loc["UID_H3_2_7_hem.bmp", ["image", "cell"]].tolist() == [2, 7]
    assert (index.positive, index.class_names, index.has_subjects, index.has_pixels) == (
        "ALL",
        ("ALL", "HEM"),
        True,
        False,
    )


def test_names_of_ones_own_take_class_and_subject_from_columns(path: Path) -> None:
    index = read(path, "File,Class,subject\nx\\a.png,blast,p1\ny/b.png,normal,\n")
    assert index.table["cell_id"].tolist() == ["x/a.png", "y/b.png"]
    assert index.table["label"].tolist() == ["blast", "normal"]
    assert index.table["subject"].tolist() == ["P1", None]
    assert index.table["group"].tolist() == ["P1", "y/b.png"]
    assert index.positive is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\na\n", r"lacks the column\(s\) file"),
        ("file\na.png\n", r"a\.png has no class: add a column label"),
        ("file,label\na.png,x\nb.png,\n", r"b\.png has no class"),
        ("file,label\na.png,x\na.png,x\n", r"a\.png stands more than once"),
        ("file,label\na/b.png,x\na\\b.png,x\n", r"a/b\.png stands more than once"),
        ("file,label\n,x\n", "has 1 rows without a file"),
        ("file,label\n", "lists no files"),
    ],
)
def test_an_index_that_cannot_be_read(text: str, message: str, path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(path, text)
