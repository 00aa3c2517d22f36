"""The pass over pixels: what was read is kept while it goes on, and taken up again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from leukemia_lab.data import scan as scan_module
from leukemia_lab.data.layouts import Fault
from leukemia_lab.data.scan import PixelFacts, scan_pixels

Tree = tuple[Path, list[str], Path]


@pytest.fixture
def tree(class_tree: Callable[..., Path], tmp_path: Path) -> Tree:
    """Root, ids of twelve cells, and a cache folder."""
    root = class_tree(cells=6, side=32)
    cell_ids = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    assert len(cell_ids) == 12
    return root, cell_ids, tmp_path / "cache"


class Reading:
    """Stands in for the reading of a file: notes which are read, and what the memo then holds; stops at one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cache_dir: Path, stop_at: str | None = None) -> None:
        self.files: list[str] = []
        self.saved: list[int] = []
        read = scan_module._read_facts

        def reading(root: Path, cell_id: str) -> PixelFacts | Fault:
            self.files.append(cell_id)
            memo = next((cache_dir / "index").glob("*.parquet"), None)
            self.saved.append(0 if memo is None else len(pd.read_parquet(memo)))
            if cell_id == stop_at:
                raise KeyboardInterrupt
            return read(root, cell_id)

        monkeypatch.setattr(scan_module, "_read_facts", reading)
        monkeypatch.setattr(scan_module, "_BATCH", 3)


def test_the_memo_is_saved_while_files_are_read(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "_SAVE_SECONDS", -1.0)
    reading = Reading(monkeypatch, tree[2])
    facts, faults = scan_pixels(*tree)
    assert (len(facts), faults) == (12, [])
    assert sorted(zip(reading.files, reading.saved, strict=True)) == [
        (cell_id, number // 3 * 3) for number, cell_id in enumerate(tree[1])
    ]


def test_the_memo_is_not_saved_for_every_file(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(monkeypatch, tree[2])
    scan_pixels(*tree)
    assert set(reading.saved) == {0}


def test_an_interrupted_pass_is_taken_up_again(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    _, cell_ids, cache_dir = tree
    with monkeypatch.context() as patch:
        Reading(patch, cache_dir, stop_at=cell_ids[7])
        with pytest.raises(KeyboardInterrupt):
            scan_pixels(*tree)
    reading = Reading(monkeypatch, cache_dir)
    facts, faults = scan_pixels(*tree)
    assert sorted(reading.files) == cell_ids[7:]
    assert (sorted(facts), faults) == (cell_ids, [])
    assert facts == scan_pixels(tree[0], cell_ids, cache_dir.with_name("another"))[0]


def test_an_interrupted_pass_forgets_nothing(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was known before of other files is still known."""
    root, cell_ids, cache_dir = tree
    scan_pixels(root, cell_ids[:6], cache_dir)
    with monkeypatch.context() as patch:
        Reading(patch, cache_dir, stop_at=cell_ids[9])
        with pytest.raises(KeyboardInterrupt):
            scan_pixels(root, cell_ids[6:], cache_dir)
    reading = Reading(monkeypatch, cache_dir)
    scan_pixels(*tree)
    assert sorted(reading.files) == cell_ids[9:]


def test_faulty_files_are_looked_at_each_time(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cell_ids, cache_dir = tree
    (root / cell_ids[2]).write_bytes(b"")
    for _ in range(2):
        with monkeypatch.context() as patch:
            reading = Reading(patch, cache_dir)
            facts, faults = scan_pixels(*tree)
        assert [(fault.file, fault.fault) for fault in faults] == [(cell_ids[2], "empty file")]
        assert len(facts) == 11
    assert reading.files == [cell_ids[2]]


def test_a_memo_holds_what_is_there(tree: Tree) -> None:
    root, cell_ids, cache_dir = tree
    scan_pixels(*tree)
    (root / cell_ids[0]).unlink()
    (root / cell_ids[1]).write_bytes((root / cell_ids[2]).read_bytes())
    facts, _ = scan_pixels(root, cell_ids[1:], cache_dir)
    memo = pd.read_parquet(next((cache_dir / "index").glob("*.parquet")))
    assert sorted(memo["path"]) == cell_ids[1:] == sorted(facts)
    assert facts[cell_ids[1]].sha256 == facts[cell_ids[2]].sha256


def test_a_damaged_memo_is_rebuilt(tree: Tree) -> None:
    """Bytes flipped and cut off at random: never an error, never another fact."""
    first, _ = scan_pixels(*tree)
    memo = next((tree[2] / "index").glob("*.parquet"))
    whole = memo.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[int(rng.integers(len(whole)))] ^= int(rng.integers(1, 256))
        memo.write_bytes(damaged[: int(rng.integers(len(whole)))] if rng.random() < 0.3 else damaged)
        assert scan_pixels(*tree) == (first, [])
    assert len(pd.read_parquet(memo)) == 12


@pytest.mark.timeout(30)
def test_what_is_no_regular_file_is_a_fault_and_is_not_waited_for(tree: Tree) -> None:
    root, cell_ids, cache_dir = tree
    os.mkfifo(root / "pipe.bmp")
    (root / "folder.bmp").mkdir()
    (root / "loop.bmp").symlink_to("loop.bmp")
    (root / "nowhere.bmp").symlink_to("absent.bmp")
    odd = ["folder.bmp", "loop.bmp", "nowhere.bmp", "pipe.bmp", "vanished.bmp"]
    facts, faults = scan_pixels(root, [*cell_ids, *odd], cache_dir)
    assert sorted(facts) == cell_ids
    assert {fault.file: fault.fault for fault in faults} == dict.fromkeys(odd, "unreadable")
