from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from listings import check_bookkeeping, faults, reasons

from leukemia_lab.data.folder_layout import list_folder
from leukemia_lab.data.index import Tree, read_index
from leukemia_lab.data.layouts import Fault, Listing
from leukemia_lab.data.metadata import find_metadata
from leukemia_lab.errors import ConfigError, DataError

TreeFactory = Callable[..., Path]
FILES = ("a.png", "b.png", "deep/c.tif", "deep/d.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four empty image files: a listing reads no pixel."""
    top = tmp_path / "cells"
    for file in FILES:
        (top / file).parent.mkdir(parents=True, exist_ok=True)
        (top / file).touch()
    return top


def listed(root: Path, *lines: str) -> Listing:
    """The listing of `root` under a metadata.csv of these lines, with the bookkeeping checked."""
    (root / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    listing = list_folder(root, None, root / "metadata.csv")
    check_bookkeeping(root, listing)
    return listing


def test_every_column(root: Path) -> None:
    listing = listed(
        root,
        "cell,class,subject,source,image,official_fold,official_part,stain",
        "a.png,blast,h1,Lab A,3,0,train,MGG",
        "b.png,normal,H1,,4.0,,prelim,",
        "deep/c.tif,normal,x,Lab B,,2.0,,PAS",
        "deep/d.png,blast,y,Lab B,,,,PAS",
    )
    assert not listing.faults + listing.other_faults
    assert listing.label_files == ("metadata.csv",)
    assert [
        (c.cell_id, c.label, c.subject, c.source, c.image, c.official_fold, c.official_part, dict(c.extra))
        for c in listing.cells
    ] == [
        ("a.png", "blast", "H1", "Lab A", 3, 0, "train", {"stain": "MGG"}),
        ("b.png", "normal", "H1", None, 4, None, "prelim", {"stain": ""}),
        ("deep/c.tif", "normal", "X", "Lab B", None, 2, None, {"stain": "PAS"}),
        ("deep/d.png", "blast", "Y", "Lab B", None, None, None, {"stain": "PAS"}),
    ]


@pytest.mark.parametrize("cell", ["cell", "Cell_ID", "FILE", "path"])
@pytest.mark.parametrize("label", ["class", "Label"])
def test_header_names(root: Path, cell: str, label: str) -> None:
    listing = listed(root, f"{label},{cell}", *(f"blast,{file}" for file in FILES))
    assert [(found.cell_id, found.label) for found in listing.cells] == [(file, "blast") for file in FILES]


@pytest.mark.parametrize("written", ["deep/c.tif", "deep\\c.tif", "./deep//c.tif", "x/../deep/c.tif"])
def test_paths_as_they_may_be_written(root: Path, written: str) -> None:
    assert [cell.cell_id for cell in listed(root, "cell,class", f"{written},blast").cells] == ["deep/c.tif"]


@pytest.mark.parametrize("written", ["../cells/a.png", "/a.png", "C:\\a.png", "deep/../../a.png", ".."])
def test_paths_that_leave_the_root(root: Path, written: str) -> None:
    listing = listed(root, "cell,class", f"{written},blast", "b.png,normal")
    detail = f"line 2: cell is {written!r}, expected a path below data.root"
    assert listing.other_faults == (Fault("metadata.csv", "outside the root", detail),)
    assert [cell.cell_id for cell in listing.cells] == ["b.png"]


def test_rows_without_file_and_files_without_row(root: Path) -> None:
    (root / "notes.txt").touch()
    listing = listed(root, "cell,class", "a.png,blast", "gone.png,blast")
    assert listing.rows_without_file == ("gone.png",)
    assert "1 of 2 rows of metadata.csv have no image file (gone.png)" in listing.notes
    assert reasons(listing) == dict.fromkeys(FILES[1:], "no row in metadata.csv") | {
        "notes.txt": "hidden or not an image"
    }
    assert any(note.startswith("3 files are ignored: no row in metadata.csv (") for note in listing.notes)


def test_rows_twice(root: Path) -> None:
    listing = listed(root, "cell,class,id", "a.png,blast,1", "./a.png,blast,2", "b.png,blast,3")
    assert listing.notes[0] == "1 rows of metadata.csv are repeated and agree"
    assert len(listing.cells) == 2
    listing = listed(root, "cell,class", "a.png,blast", "b.png,blast", "a.png,normal")
    detail = "metadata.csv line 4: a.png contradicts metadata.csv line 2"
    assert listing.faults == (Fault("a.png", "contradicting labels", detail),)


@pytest.mark.parametrize(
    ("row", "fault", "detail"),
    [
        ("a.png,,s,0,train,1", "no class", "class is empty"),
        ("a.png,blast,,0,train,1", "no subject", "its row of metadata.csv has none"),
        ("a.png,blast,s,zero,train,1", "unreadable row", "official_fold is 'zero', expected a whole number"),
        ("a.png,blast,s,1.5,train,1", "unreadable row", "official_fold is '1.5'"),
        ("a.png,blast,s,-1,train,1", "unreadable row", "official_fold is '-1'"),
        ("a.png,blast,s,0,test,1", "unreadable row", "official_part is 'test', expected train or prelim"),
        ("a.png,blast,s,0,train,one", "unreadable row", "image is 'one'"),
        ("a.png,blast,s,0,train,1,more", "unreadable row", "7 values for 6 columns"),
    ],
)
def test_rows_at_fault(root: Path, row: str, fault: str, detail: str) -> None:
    header = "cell,class,subject,official_fold,official_part,image"
    listing = listed(root, header, row, "b.png,normal,t,0,train,1")
    assert faults(listing) == {"a.png": fault}
    assert detail in listing.faults[0].detail
    assert [cell.cell_id for cell in listing.cells] == ["b.png"]
    elsewhere = listed(root, header, row.replace("a.png", "gone.png"), "b.png,normal,t,0,train,1")
    assert not elsewhere.faults
    codes = [found.fault for found in elsewhere.other_faults]
    assert codes == ([] if fault == "no subject" else [fault])


def test_a_row_without_a_cell(root: Path) -> None:
    listing = listed(root, "cell,class", ",blast", "a.png,blast")
    assert listing.other_faults == (Fault("metadata.csv", "unreadable row", "line 2: cell is empty"),)


@pytest.mark.parametrize(
    ("content", "fault", "detail"),
    [
        ("cell,subject\na.png,s", "missing column", "lacks class; it has cell, subject"),
        ("", "missing column", "lacks cell, class; it has none"),
        ("cell,class,label\na.png,blast,1", "repeated column", "class and label both give the class"),
        ("path,file,class\na.png,x,1", "repeated column", "path and file both give the cell"),
        ("cell;class\na.png;blast", "missing column", "it has cell;class"),
        ("cell,class\né.png,1".encode("latin-1"), "unreadable table", "UTF-8"),
    ],
)
def test_tables_at_fault(root: Path, content: str | bytes, fault: str, detail: str) -> None:
    table = root / "metadata.csv"
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    listing = list_folder(root, None, table)
    check_bookkeeping(root, listing)
    (found,) = listing.other_faults
    assert (found.file, found.fault) == ("metadata.csv", fault)
    assert detail in found.detail
    assert faults(listing) == dict.fromkeys(FILES, "no label")


def test_no_row_names_an_image(root: Path) -> None:
    with pytest.raises(DataError, match=r"Looked for the images that .*metadata\.csv names \(x/a\.png\)"):
        listed(root, "cell,class", "x/a.png,blast")


def test_a_table_outside_the_root_is_none_of_its_files(root: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("cell,class\na.png,\nb.png,normal\n")
    listing = list_folder(root, None, table)
    check_bookkeeping(root, listing)
    assert listing.label_files == ()
    assert listing.faults == (Fault("a.png", "no class", f"{table} line 2: class is empty"),)


def test_a_pattern_and_a_table_exclude_each_other(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"Leave data\.subject_pattern null, or set data\.metadata=null"):
        list_folder(root, "(a)", root / "metadata.csv")


def test_find_metadata(root: Path, tmp_path: Path) -> None:
    assert find_metadata(root, None) is None
    assert find_metadata(root, "auto") is None
    assert find_metadata(tmp_path / "nowhere", "auto") is None
    (root / "metadata.csv").touch()
    assert find_metadata(root, None) is None
    assert find_metadata(root, "auto") == root / "metadata.csv"
    assert find_metadata(root, Path("deep/d.png")) == root / "deep" / "d.png"
    assert find_metadata(root, tmp_path / "cells" / "a.png") == root / "a.png"
    for given in (Path("other.csv"), Path("deep"), tmp_path / "other.csv"):
        with pytest.raises(ConfigError, match=rf"data\.metadata={given}: there is no file .*{given}"):
            find_metadata(root, given)


def test_the_index_of_a_described_tree(class_tree: TreeFactory, tmp_path: Path) -> None:
    root = class_tree()
    images = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    rows = [f"{file},{'odd' if n % 2 else 'even'},s{n // 4}" for n, file in enumerate(images)]
    table = root / "metadata.csv"
    table.write_text("\n".join(["file,label,subject", *rows]))
    index = read_index(Tree(root, "folder", None, table), None, "error", tmp_path)
    assert index.table["cell_id"].tolist() == images
    assert index.table["label"].tolist() == ["even", "odd"] * 4
    assert index.table["subject"].tolist() == ["S0"] * 4 + ["S1"] * 4
    table.write_text(table.read_text() + "\n,odd,s1\n")
    with pytest.raises(DataError, match=r"metadata\.csv: unreadable row \(line 10: cell is empty\)"):
        read_index(Tree(root, "folder", None, table), None, "error", tmp_path)
    assert len(read_index(Tree(root, "folder", None, table), None, "skip", tmp_path).table) == 8


def test_metadata_has_no_use_with_cnmc(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.metadata=.*no use with data\.layout=cnmc"):
        read_index(Tree(tmp_path, "cnmc", None, tmp_path / "metadata.csv"), None, "error", tmp_path)


def test_twelve_thousand_rows_are_read_quickly(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(12_000)]
    for name in names:
        (tmp_path / name).touch()
    rows = [f"{name},blast,s{number % 70},lab,x" for number, name in enumerate(names)]
    (tmp_path / "metadata.csv").write_text("\n".join(["cell,class,subject,source,note", *rows]))
    started = time.process_time()
    listing = list_folder(tmp_path, None, tmp_path / "metadata.csv")
    assert time.process_time() - started < 3  # about 0.2 s
    assert len(listing.cells) == 12_000
