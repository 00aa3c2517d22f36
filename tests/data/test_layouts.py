from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from leukemia_lab.data.cnmc_names import parse_name
from leukemia_lab.data.layouts import Listing, list_cnmc, list_folder
from leukemia_lab.errors import ConfigError, DataError

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
    ids = [cell.cell_id for cell in listing.cells]
    assert ids == sorted(ids)
    assert all((root / cell_id).is_file() for cell_id in ids)


def test_notes_name_rows_without_a_file_and_final_images(cnmc_tree: TreeFactory) -> None:
    notes = list_cnmc(cnmc_tree()).notes
    table = "C-NMC_test_prelim_phase_data/C-NMC_test_prelim_phase_data_labels.csv"
    assert f"1 of 3 rows of {table} have no file (3.bmp)" in notes
    assert "1 final-phase images have no labels: they are not part of the index" in notes


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


def test_repeated_rows_are_noted_and_contradictions_refused(cnmc_tree: TreeFactory) -> None:
    top = cnmc_tree()
    text = label_file(top).read_text()
    label_file(top).write_text(text + "UID_57_29_1_all.bmp,1.bmp,1\n")
    assert any(
        note.startswith("1 rows of") and "are repeated and agree" in note for note in list_cnmc(top).notes
    )
    label_file(top).write_text(text + "UID_58_29_1_all.bmp,1.bmp,1\n")
    with pytest.raises(DataError, match=r"line 5: 1\.bmp contradicts .*line 2"):
        list_cnmc(top)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("UID_57_1_1_all.bmp,9.bmp,2", r"line 5: labels is '2', expected 1 \(ALL\) or 0 \(HEM\)"),
        ("UID_57_1_1_all.bmp,9.bmp", "line 5: labels is ''"),
        ("patient 57,9.bmp,1", "line 5: Patient_ID is 'patient 57', expected UID_"),
        ("UID_57_1_1_all.bmp,,1", "line 5: new_names is empty"),
    ],
)
def test_unusable_rows_are_named_by_line(cnmc_tree: TreeFactory, row: str, message: str) -> None:
    top = cnmc_tree()
    with label_file(top).open("a") as file:
        file.write(row + "\n")
    with pytest.raises(DataError, match=message):
        list_cnmc(top)


def test_missing_columns_are_named(cnmc_tree: TreeFactory) -> None:
    top = cnmc_tree()
    label_file(top).write_text("Patient_ID,name,label\na,b,c\n")
    with pytest.raises(
        DataError, match=r"lacks the column\(s\) new_names, labels; it has Patient_ID, name, label"
    ):
        list_cnmc(top)
    label_file(top).write_text("")
    with pytest.raises(DataError, match="it has none"):
        list_cnmc(top)
    label_file(top).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read as a CSV file"):
        list_cnmc(top)


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
    (top / "C-NMC_training_data/fold_0/all/._UID_1_1_1_all.bmp").touch()
    (top / ".git").mkdir()
    (top / ".git" / "UID_9_1_1_all.bmp").touch()
    listing = list_cnmc(top)
    assert facts(listing) == EXPECTED
    assert "1 files lie outside the folders of C-NMC and are ignored (preview.bmp)" in listing.notes
    assert any(note.startswith("2 files are hidden or not .bmp") for note in listing.notes)


def test_two_copies_under_one_root(cnmc_tree: TreeFactory) -> None:
    cnmc_tree(mirror=False)
    root = cnmc_tree(mirror=True).parent
    with pytest.raises(DataError, match=r"of C-NMC 2 times: C-NMC/.*, C-NMC_Leukemia/.*Set data\.root"):
        list_cnmc(root)


def test_unusable_roots(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist\. Set data\.root"):
        list_cnmc(tmp_path / "nowhere")
    with pytest.raises(DataError, match="it is empty"):
        list_cnmc(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"it holds notes\.txt\. Looked for C-NMC cells: fold_.*CNMC_ROOT"):
        list_cnmc(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        list_folder(tmp_path / "notes.txt", None)
    with pytest.raises(DataError, match=r"Looked for <class>/"):
        list_folder(tmp_path, None)


def test_unreadable_folder_is_not_passed_over(
    class_tree: TreeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = class_tree()
    scandir = os.scandir

    def refuse(folder: str) -> object:
        if str(folder).endswith("b1"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"Permission denied: .*b1"):
        list_folder(root, None)


def test_linked_folders_are_followed_and_loops_are_not(class_tree: TreeFactory, tmp_path: Path) -> None:
    root = class_tree()
    elsewhere = tmp_path / "elsewhere"
    shutil.move(root / "blast", elsewhere)
    (root / "blast").symlink_to(elsewhere)
    (root / "normal" / "loop").symlink_to(root)
    assert len(list_folder(root, None).cells) == 8


def test_file_name_that_is_not_text(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/a\xff.png"
    try:
        Path(os.fsdecode(path)).touch()
    except OSError:
        pytest.skip("this file system refuses such names itself")
    with pytest.raises(DataError, match="is not UTF-8"):
        list_folder(tmp_path, None)


def test_class_folders(class_tree: TreeFactory) -> None:
    root = class_tree()
    (root / "blast" / "notes.md").touch()
    (root / "blast" / "b0" / ".hidden.png").touch()
    listing = list_folder(root, None)
    assert {(cell.cell_id.split("/")[0], cell.label, cell.subject) for cell in listing.cells} == {
        ("blast", "blast", None),
        ("normal", "normal", None),
    }
    assert len(listing.cells) == 8
    assert listing.side is None
    assert listing.notes == (
        "2 files are hidden or not images and are ignored (blast/b0/.hidden.png, blast/notes.md)",
    )


@pytest.mark.parametrize("pattern", [r"(?P<subject>[bn]\d+)_(\d+)", r"^[^/]+/([bn]\d+)/"])
def test_subject_pattern(class_tree: TreeFactory, pattern: str) -> None:
    listing = list_folder(class_tree(), pattern)
    assert {cell.subject for cell in listing.cells} == {"B0", "B1", "N0", "N1"}


def test_files_without_class_or_subject(class_tree: TreeFactory) -> None:
    root = class_tree()
    shutil.copy(root / "blast/b0/b0_0.png", root / "stray.png")
    shutil.copy(root / "blast/b0/b0_0.png", root / "blast" / "other.png")
    listing = list_folder(root, r"/(?P<subject>[bn]\d+)/")
    assert {(fault.file, fault.fault) for fault in listing.faults} == {
        ("stray.png", "no class"),
        ("blast/other.png", "no subject"),
    }
    assert len(listing.cells) == 8


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(?P<subject>", "is not a regular expression"),
        (r"\d+", "has 0 groups, none named subject"),
        (r"(\d+)_(\d+)", "has 2 groups, none named subject"),
    ],
)
def test_unusable_subject_patterns(tmp_path: Path, pattern: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        list_folder(tmp_path, pattern)
