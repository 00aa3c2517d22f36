from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from leukemia_lab.data.source import is_synthetic, synthetic_root, tree_root
from leukemia_lab.data.synthetic import SyntheticSpec
from leukemia_lab.errors import ConfigError

CELLS = ("all/1.bmp", "all/2.bmp", "hem/3.bmp")


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """A tree as the generator leaves it, as far as its stamp goes."""
    root = tmp_path / "projects" / "drawn"
    write_cells(root)
    (root / "synthetic.json").touch()
    return root


def synthetic(root: Path, cell_ids: list[str]) -> bool:
    return is_synthetic(root, [root / cell_id for cell_id in cell_ids])


def write_cells(root: Path) -> None:
    for cell in CELLS:
        (root / cell).parent.mkdir(parents=True, exist_ok=True)
        (root / cell).touch()


def test_the_tree_and_a_folder_in_it(drawn: Path) -> None:
    assert synthetic(drawn, CELLS)
    assert synthetic(drawn / "all", ["1.bmp"])
    assert synthetic(drawn / "all", [])


def test_other_cells_are_not_synthetic(drawn: Path, tmp_path: Path) -> None:
    """Not even beside a synthetic tree: the folder above both counts only for the cells it is read for."""
    write_cells(drawn.parent / "real")
    assert not synthetic(drawn.parent / "real", CELLS)
    assert not synthetic(tmp_path, [f"projects/real/{cell}" for cell in CELLS])


def test_root_above_the_tree(drawn: Path, tmp_path: Path) -> None:
    write_cells(tmp_path / "real")
    cells = [f"real/{cell}" for cell in CELLS]
    assert synthetic(tmp_path, [*cells, "projects/drawn/hem/3.bmp"])


def test_linked_class_folders(drawn: Path, tmp_path: Path) -> None:
    root = tmp_path / "linked"
    root.mkdir()
    for name in ("all", "hem"):
        (root / name).symlink_to(drawn / name)
    assert synthetic(root, CELLS)


def test_one_linked_file(drawn: Path, tmp_path: Path) -> None:
    root = tmp_path / "mixed"
    write_cells(root)
    (root / "hop.bmp").symlink_to(drawn / "hem/3.bmp")
    (root / "hem/4.bmp").symlink_to("../hop.bmp")  # a link to a link
    assert not synthetic(root, CELLS)
    assert synthetic(root, [*CELLS, "hem/4.bmp"])


def test_relative_root(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(drawn / "all")
    assert synthetic(Path(), ["1.bmp"])


def test_twelve_thousand_cells_take_a_moment(tmp_path: Path) -> None:
    cells = [f"fold_{number % 3}/all/{number}.bmp" for number in range(12_000)]
    for fold in range(3):
        (tmp_path / f"fold_{fold}" / "all").mkdir(parents=True)
    for cell in cells:
        os.close(os.open(tmp_path / cell, os.O_CREAT))
    started = time.perf_counter()
    assert not synthetic(tmp_path, cells)
    assert time.perf_counter() - started < 2.0  # about 0.15 s on one free core


def test_a_tree_of_the_user_needs_a_root() -> None:
    assert tree_root("cnmc", Path("~/cells")) == Path.home() / "cells"
    with pytest.raises(ConfigError, match=r"data=folder needs it; set data\.root=/path/to/a/tree"):
        tree_root("folder", None)


def test_synthetic_root_is_in_the_cache_or_where_the_user_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = SyntheticSpec(n_cells=16, n_subjects=9, seed=5, n_twins=1, subject_effect=1.0)
    monkeypatch.setenv("LEUKEMIA_LAB_CACHE", str(tmp_path / "cache"))
    cached = synthetic_root(None, spec)
    assert cached.is_relative_to(tmp_path / "cache" / "synthetic")
    assert synthetic(cached, [])
    shutil.rmtree(cached)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert (synthetic_root(Path(), spec) / "synthetic.json").is_file()
    assert not cached.exists()
