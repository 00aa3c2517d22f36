from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from listings import check_bookkeeping, faults, reasons

from leukemia_lab.data.cnmc_layout import list_cnmc
from leukemia_lab.data.cnmc_names import parse_name
from leukemia_lab.data.layouts import Listing

TreeFactory = Callable[..., Path]


def label_file(top: Path) -> Path:
    return next(top.rglob("*.csv"))


def facts(listing: Listing) -> set[tuple[object, ...]]:
    return {
        (cell.label, cell.subject, cell.image, cell.cell, cell.official_fold, cell.official_part)
        for cell in listing.cells
    }


EXPECTED = {
    ("ALL", "1", 1, 1, 0, "train"),
    ("ALL", "1", 1, 2, 0, "train"),
    ("HEM", "H1", 1, 1, 0, "train"),
    ("ALL", "2", 1, 1, 1, "train"),
    ("HEM", "H2", 12, 3, 1, "train"),
    ("ALL", "10", 1, 1, 2, "train"),
    ("HEM", "H3", 1, 1, 2, "train"),
    ("ALL", "57", 29, 1, None, "prelim"),
    ("HEM", "H49", 35, 1, None, "prelim"),
}


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("above", [False, True])
def test_both_layouts_from_either_root(cnmc_tree: TreeFactory, mirror: bool, above: bool) -> None:
    top = cnmc_tree(mirror)
    root = top.parent if above else top
    listing = list_cnmc(root)
    assert facts(listing) == EXPECTED
    assert len(listing.cells) == 9
    assert not listing.faults
    assert listing.side == 450
    check_bookkeeping(root, listing)
    ids = [cell.cell_id for cell in listing.cells]
    assert ids == sorted(ids)
    assert all((root / cell_id).is_file() for cell_id in ids)


def test_notes_name_rows_without_a_file_and_final_images(cnmc_tree: TreeFactory) -> None:
    notes = list_cnmc(cnmc_tree()).notes
    table = "C-NMC_test_prelim_phase_data/C-NMC_test_prelim_phase_data_labels.csv"
    assert f"1 of 3 rows of {table} have no file (3.bmp)" in notes
    assert any(note.startswith("1 files are ignored: final phase, no label (") for note in notes)


def test_root_may_be_the_training_folder_or_one_fold(cnmc_tree: TreeFactory) -> None:
    training = cnmc_tree() / "C-NMC_training_data"
    assert len(list_cnmc(training).cells) == 7
    assert {cell.official_fold for cell in list_cnmc(training / "fold_2").cells} == {2}


def test_names_in_any_case(cnmc_tree: TreeFactory) -> None:
    top = cnmc_tree()
    folder = top / "C-NMC_training_data" / "fold_0"
    (folder / "hem" / "UID_H1_1_1_hem.bmp").rename(folder / "hem" / "uid_h1_1_1_HEM.BMP")
    (folder / "hem").rename(folder / "HEM")
    assert facts(list_cnmc(top)) == EXPECTED


def test_parse_name() -> None:
    assert parse_name("UID_h3_12_4_hem.bmp") == ("H3", 12, 4, "HEM")
    assert parse_name("UID_20_1_1_all.bmp.bak") is None
    assert parse_name("UID_20_1_all.bmp") is None


def test_csv_beside_the_images(cnmc_tree: TreeFactory) -> None:
    top = cnmc_tree()
    table = label_file(top)
    shutil.move(table, table.parent / "C-NMC_test_prelim_phase_data" / table.name)
    assert facts(list_cnmc(top)) == EXPECTED


def test_csv_as_a_spreadsheet_writes_it(cnmc_tree: TreeFactory) -> None:
    top = cnmc_tree()
    rows = [
        '"Patient_ID", "new_names" ,labels',
        '"UID_57_29_1_all.bmp", 1.bmp , 1 ',
        "",
        "UID_H49_35_1_hem.bmp,2.BMP,0,",
        ",,",
    ]
    label_file(top).write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rows).encode())
    assert facts(list_cnmc(top)) == EXPECTED


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_of_the_csv(cnmc_tree: TreeFactory, encoding: str, line_end: str) -> None:
    top = cnmc_tree()
    text = label_file(top).read_text()
    label_file(top).write_bytes(text.replace("\n", line_end).encode(encoding))
    assert facts(list_cnmc(top)) == EXPECTED


def test_repeated_rows_are_noted_and_contradictions_listed(cnmc_tree: TreeFactory) -> None:
    top = cnmc_tree()
    text = label_file(top).read_text()
    label_file(top).write_text(text + "UID_57_29_1_all.bmp,1.bmp,1\n")
    assert any(
        note.startswith("1 rows of") and "are repeated and agree" in note for note in list_cnmc(top).notes
    )
    label_file(top).write_text(text + "UID_58_29_1_all.bmp,1.bmp,1\n")
    listing = list_cnmc(top)
    (fault,) = listing.faults
    assert (Path(fault.file).name, fault.fault) == ("1.bmp", "contradicting labels")
    assert re.search(r"line 5: 1\.bmp contradicts .*line 2", fault.detail)
    assert not listing.other_faults
    check_bookkeeping(top, listing)


def test_contradicting_rows_without_a_file(cnmc_tree: TreeFactory) -> None:
    top = cnmc_tree()
    with label_file(top).open("a") as file:
        file.write("UID_58_29_1_all.bmp,3.bmp,1\n")
    listing = list_cnmc(top)
    assert facts(listing) == EXPECTED
    assert [(fault.file, fault.fault) for fault in listing.other_faults] == [
        (label_file(top).relative_to(top).as_posix(), "contradicting labels")
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("UID_57_1_1_all.bmp,9.bmp,2", r"line 5: labels is '2', expected 1 \(ALL\) or 0 \(HEM\)"),
        ("UID_57_1_1_all.bmp,9.bmp", "line 5: labels is ''"),
        ("patient 57,9.bmp,1", "line 5: Patient_ID is 'patient 57', expected UID_"),
        ("UID_57_1_1_all.bmp,,1", "line 5: new_names is empty"),
        ("UID_57_1_1_all.bmp,9.bmp,1,all", "line 5: 4 values for 3 columns"),
        ('UID_57_1_1_all.bmp,9.bmp,"1\nx', "line 6: a value holds a line break"),
        (f"UID_57_{'1' * 5000}_1_all.bmp,9.bmp,1", "line 5: Patient_ID is"),
    ],
)
def test_unusable_rows_are_named_by_line(cnmc_tree: TreeFactory, row: str, message: str) -> None:
    top = cnmc_tree()
    with label_file(top).open("a") as file:
        file.write(row + "\n")
    listing = list_cnmc(top)
    (fault,) = listing.other_faults
    assert fault.file == label_file(top).relative_to(top).as_posix()
    assert fault.fault == "unreadable row"
    assert re.match(message, fault.detail)
    assert facts(listing) == EXPECTED


@pytest.mark.parametrize("bad_first", [True, False])
def test_an_unusable_row_is_the_fault_of_its_file(cnmc_tree: TreeFactory, bad_first: bool) -> None:
    top = cnmc_tree()
    header, good, *rows = label_file(top).read_text().splitlines()
    bad = "UID_57_29_1_all.bmp,1.BMP,2"
    label_file(top).write_text("\n".join([header, *([bad, good] if bad_first else [good, bad]), *rows]))
    listing = list_cnmc(top)
    (fault,) = listing.faults
    assert (Path(fault.file).name, fault.fault) == ("1.bmp", "unreadable row")
    assert "labels is '2'" in fault.detail
    assert not listing.other_faults


def test_unusable_tables_are_listed(cnmc_tree: TreeFactory) -> None:
    top = cnmc_tree()
    for content, fault, detail in (
        (
            b"Patient_ID,name,label\na,b,c\n",
            "missing column",
            "lacks new_names, labels; it has Patient_ID, name, label",
        ),
        (b"", "missing column", "it has none"),
        (b"\xff\xfe\x00", "unreadable table", "UTF-16"),
        ("Patient_ID,new_names,labels\né,1.bmp,1".encode("latin-1"), "unreadable table", "UTF-8"),
        (b"new_names,NEW_NAMES,Patient_ID,labels\n", "repeated column", "new_names and NEW_NAMES"),
    ):
        label_file(top).write_bytes(content)
        listing = list_cnmc(top)
        (found,) = listing.other_faults
        assert (found.file, found.fault) == (label_file(top).relative_to(top).as_posix(), fault)
        assert detail in found.detail
        assert {Path(file).name: code for file, code in faults(listing).items()} == {
            "1.bmp": "no label",
            "2.bmp": "no label",
        }
        assert len(listing.cells) == 7
        check_bookkeeping(top, listing)


def test_prelim_images_without_a_row(cnmc_tree: TreeFactory) -> None:
    top = cnmc_tree()
    label_file(top).unlink()
    listing = list_cnmc(top)
    assert [fault.fault for fault in listing.faults] == ["no label", "no label"]
    assert len(listing.cells) == 7


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("fold_0/hem/UID_5_1_1_all.bmp", "class contradiction"),
        ("fold_0/hem/cell 5.bmp", "unreadable name"),
        ("fold_1/hem/UID_H1_1_1_hem.bmp", "duplicate name"),
    ],
)
def test_faults_of_training_names(cnmc_tree: TreeFactory, name: str, fault: str) -> None:
    top = cnmc_tree()
    training = top / "C-NMC_training_data"
    shutil.copy(training / "fold_0/hem/UID_H1_1_1_hem.bmp", training / name)
    listing = list_cnmc(top)
    assert [(found.file, found.fault) for found in listing.faults] == [(f"C-NMC_training_data/{name}", fault)]
    assert facts(listing) == EXPECTED


def test_label_against_the_original_name(cnmc_tree: TreeFactory) -> None:
    top = cnmc_tree()
    label_file(top).write_text(label_file(top).read_text().replace("1.bmp,1\n", "1.bmp,0\n", 1))
    assert [fault.fault for fault in list_cnmc(top).faults] == ["class contradiction"]


def test_stray_and_hidden_files_are_noted(cnmc_tree: TreeFactory) -> None:
    top = cnmc_tree()
    shutil.copy(next(top.rglob("UID_1_1_1_all.bmp")), top / "preview.bmp")
    (top / "readme.txt").touch()
    (top / "synthetic.json").touch()
    (top / "C-NMC_training_data/fold_0/all/._UID_1_1_1_all.bmp").touch()
    (top / ".git").mkdir()
    (top / ".git" / "UID_9_1_1_all.bmp").touch()
    listing = list_cnmc(top)
    assert facts(listing) == EXPECTED
    assert "1 files are ignored: outside the folders of C-NMC (preview.bmp)" in listing.notes
    assert any(note.startswith("2 files are ignored: hidden or not an image (") for note in listing.notes)
    assert not any("synthetic" in note for note in listing.notes)
    assert reasons(listing) == {
        "preview.bmp": "outside the folders of C-NMC",
        "readme.txt": "hidden or not an image",
        "synthetic.json": "synthetic manifest",
        "C-NMC_training_data/fold_0/all/._UID_1_1_1_all.bmp": "hidden or not an image",
        "C-NMC_test_final_phase_data/C-NMC_test_final_phase_data/1.bmp": "final phase, no label",
    }
    check_bookkeeping(top, listing)


def test_of_two_copies_the_larger_is_read(cnmc_tree: TreeFactory) -> None:
    archive = cnmc_tree(mirror=False)
    root = cnmc_tree(mirror=True).parent
    listing = list_cnmc(root)
    assert facts(listing) == EXPECTED
    assert all(cell.cell_id.startswith("C-NMC/") for cell in listing.cells)  # the first of equals
    assert len(listing.faults) == 9
    assert set(faults(listing).values()) == {"second copy"}
    assert any("3 rows of" in note and "repeated and agree" in note for note in listing.notes)
    check_bookkeeping(root, listing)
    next((archive / "C-NMC_training_data" / "fold_1").rglob("*.bmp")).unlink()
    listing = list_cnmc(root)
    assert facts(listing) == EXPECTED
    assert {cell.cell_id.split("/")[0] for cell in listing.cells if cell.official_fold == 1} == {
        "C-NMC_Leukemia"
    }
    (fault,) = (fault for fault in listing.faults if "/fold_1/" in fault.file)
    assert fault.detail == "fold 1 is read from C-NMC_Leukemia/training_data/fold_1"
    check_bookkeeping(root, listing)


def test_a_label_file_alone_is_listed(tmp_path: Path) -> None:
    (tmp_path / "prelim.csv").write_text("no label file")
    listing = list_cnmc(tmp_path)
    assert [fault.fault for fault in listing.other_faults] == ["missing column"]
    check_bookkeeping(tmp_path, listing)
