from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from leukemia_lab.data.cnmc_layout import list_cnmc
from leukemia_lab.data.folder_layout import list_folder
from leukemia_lab.errors import DataError

TreeFactory = Callable[..., Path]


def test_unusable_roots(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist\. Set data\.root"):
        list_cnmc(tmp_path / "nowhere")
    with pytest.raises(DataError, match="it is empty"):
        list_cnmc(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"it holds notes\.txt\. Looked for C-NMC cells: fold_.*CNMC_ROOT"):
        list_cnmc(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        list_folder(tmp_path / "notes.txt", None, None)
    with pytest.raises(DataError, match=r"Looked for <class>/"):
        list_folder(tmp_path, None, None)


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
    listing = list_folder(root, None, None)
    (fault,) = listing.other_faults
    assert (fault.file, fault.fault, fault.detail) == ("blast/b1", "unreadable folder", "Permission denied")
    assert len(listing.cells) == listing.n_files == 6


def test_linked_folders_are_followed_and_loops_are_not(class_tree: TreeFactory, tmp_path: Path) -> None:
    root = class_tree()
    elsewhere = tmp_path / "elsewhere"
    shutil.move(root / "blast", elsewhere)
    (root / "blast").symlink_to(elsewhere)
    (root / "normal" / "loop").symlink_to(root)
    assert len(list_folder(root, None, None).cells) == 8


def test_folders_that_link_to_each_other(class_tree: TreeFactory) -> None:
    root = class_tree()
    (root / "blast" / "x").symlink_to(root / "normal")
    (root / "normal" / "y").symlink_to(root / "blast")
    listing = list_folder(root, None, None)
    assert listing.n_files == len(listing.cells) == 16  # each file by two paths, and no path twice


@pytest.mark.parametrize("layout", ["folder", "cnmc"])
def test_file_name_that_is_not_text(class_tree: TreeFactory, layout: str) -> None:
    root = class_tree()
    path = os.fsencode(root / "blast") + b"/a\xff.png"
    try:
        Path(os.fsdecode(path)).touch()
    except OSError:
        pytest.skip("this file system refuses such names itself")
    listing = list_folder(root, None, None) if layout == "folder" else list_cnmc(root)
    (fault,) = listing.faults
    assert (fault.file, fault.fault) == (r"'blast/a\udcff.png'", "name not UTF-8")
    assert listing.n_files == len(listing.cells) + len(listing.ignored) + 1 == 9
