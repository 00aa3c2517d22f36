from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from listings import check_bookkeeping

from leukemia_lab.data.folder_layout import list_folder
from leukemia_lab.errors import ConfigError

TreeFactory = Callable[..., Path]


def test_class_folders(class_tree: TreeFactory) -> None:
    root = class_tree()
    (root / "blast" / "notes.md").touch()
    (root / "blast" / "b0" / ".hidden.png").touch()
    listing = list_folder(root, None, None)
    assert {(cell.cell_id.split("/")[0], cell.label, cell.subject) for cell in listing.cells} == {
        ("blast", "blast", None),
        ("normal", "normal", None),
    }
    assert len(listing.cells) == 8
    assert listing.side is None
    check_bookkeeping(root, listing)
    assert listing.notes == (
        "2 files are ignored: hidden or not an image (blast/b0/.hidden.png, blast/notes.md)",
    )


@pytest.mark.parametrize("pattern", [r"(?P<subject>[bn]\d+)_(\d+)", r"^[^/]+/([bn]\d+)/"])
def test_subject_pattern(class_tree: TreeFactory, pattern: str) -> None:
    listing = list_folder(class_tree(), pattern, None)
    assert {cell.subject for cell in listing.cells} == {"B0", "B1", "N0", "N1"}


def test_files_without_class_or_subject(class_tree: TreeFactory) -> None:
    root = class_tree()
    shutil.copy(root / "blast/b0/b0_0.png", root / "stray.png")
    shutil.copy(root / "blast/b0/b0_0.png", root / "blast" / "other.png")
    listing = list_folder(root, r"/(?P<subject>[bn]\d+)/", None)
    assert {(fault.file, fault.fault) for fault in listing.faults} == {
        ("stray.png", "no class"),
        ("blast/other.png", "no subject"),
    }
    check_bookkeeping(root, listing)
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
        list_folder(tmp_path, pattern, None)
