"""The synthetic tree is written once, wholly and repeatably, and never over other people's files."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from leukemia_lab.data import synthetic
from leukemia_lab.data.synthetic import SyntheticSpec, tree_name, twin_pairs, write_tree
from leukemia_lab.data.synthetic_cells import draw_cell
from leukemia_lab.errors import DataError

TINY = SyntheticSpec(n_cells=16, n_subjects=9, seed=5, n_twins=1, subject_effect=1.0)
PRELIM = "C-NMC_test_prelim_phase_data"


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_an_impossible_spec_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="n_cells is 7: give at least n_subjects=9"):
        write_tree(tmp_path / "tree", replace(TINY, n_cells=7))
    assert list(tmp_path.iterdir()) == []


def test_same_seed_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from leukemia_lab.data import synthetic\n"
        "synthetic.ThreadPoolExecutor = lambda: ThreadPoolExecutor(1)\n"
        f"synthetic.write_tree(pathlib.Path(sys.argv[1]), synthetic.{TINY!r})\n"
    )
    write_tree(tmp_path / "tree", TINY)
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "again")], check=True, timeout=120)
    assert digests(tmp_path / "again") == digests(tmp_path / "tree")


def test_another_seed_gives_other_cells(tmp_path: Path) -> None:
    trees = {}
    for seed in (5, 6):
        write_tree(tmp_path / str(seed), replace(TINY, seed=seed, n_twins=0))
        trees[seed] = {h for name, h in digests(tmp_path / str(seed)).items() if name.endswith(".bmp")}
    assert len(trees[5]) == TINY.n_cells
    assert trees[5].isdisjoint(trees[6])


def test_tree_name_depends_on_every_value_and_on_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[dict[str, float]] = [
        {},
        {"n_cells": 17},
        {"n_subjects": 10},
        {"seed": 1},
        {"n_twins": 0},
        {"subject_effect": 0.0},
    ]
    names = [tree_name(replace(TINY, **change)) for change in changes]
    assert tree_name(replace(TINY)) == names[0]
    monkeypatch.setattr(synthetic, "GENERATOR_VERSION", synthetic.GENERATOR_VERSION + 1)
    names.append(tree_name(TINY))
    assert len(set(names)) == 7


def test_manifest_tells_stamp_spec_files_and_twins(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    write_tree(root, TINY)
    manifest = json.loads((root / "synthetic.json").read_text())
    assert manifest["stamp"] == "SYNTHETIC"
    assert manifest["complete"] is True
    assert SyntheticSpec(**manifest["spec"]) == TINY
    assert [tuple(pair) for pair in manifest["twins"]] == twin_pairs(TINY)
    on_disk = {p.relative_to(root).as_posix(): p.stat().st_size for p in root.rglob("*.*") if p.is_file()}
    del on_disk["synthetic.json"]
    assert manifest["files"] == on_disk


def test_whole_tree_is_left_alone_and_a_damaged_one_repaired(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    assert write_tree(root, TINY)
    before = digests(root)
    assert not write_tree(root, TINY)
    lost, cut, kept = sorted(root.rglob("*.bmp"))[:3]
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:1000])
    (root / PRELIM / f"{PRELIM}_labels.csv").unlink()
    written_at = kept.stat().st_mtime_ns
    assert write_tree(root, TINY)
    assert digests(root) == before
    assert kept.stat().st_mtime_ns == written_at


def interrupt_after(n_cells: int) -> Callable[..., np.ndarray]:
    drawn = iter(range(n_cells))

    def draw(*args: object) -> np.ndarray:
        if next(drawn, None) is None:
            raise KeyboardInterrupt
        return draw_cell(*args)

    return draw


def test_interrupted_tree_is_completed(tmp_path: Path) -> None:
    write_tree(tmp_path / "whole", TINY)
    root = tmp_path / "tree"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "draw_cell", interrupt_after(3))
        with pytest.raises(KeyboardInterrupt):
            write_tree(root, TINY)
    assert json.loads((root / "synthetic.json").read_text())["complete"] is False
    assert len(list(root.rglob("*.bmp"))) == 3
    assert write_tree(root, TINY)
    assert digests(root) == digests(tmp_path / "whole")


def test_death_before_the_first_manifest_is_no_obstacle(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    (root / ".synthetic.json.partial").write_text("{")
    assert write_tree(root, TINY)
    assert not (root / ".synthetic.json.partial").exists()


def test_two_writers_at_once_write_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        wrote = list(pool.map(lambda _: write_tree(tmp_path / "tree", TINY), range(2)))
    assert sorted(wrote) == [False, True]


@pytest.mark.parametrize("content", ["holiday", '{"spec": {}}', "[]"])
def test_other_peoples_files_are_never_touched(tmp_path: Path, content: str) -> None:
    name = "notes.txt" if content == "holiday" else "synthetic.json"
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / name).write_text(content)
    with pytest.raises(DataError, match=r"is not our synthetic data\. Nothing was written\. Give a new"):
        write_tree(tmp_path / "tree", TINY)
    assert [path.name for path in (tmp_path / "tree").iterdir()] == [name]


def test_a_tree_of_another_spec_is_refused(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", TINY)
    before = digests(tmp_path / "tree")
    with pytest.raises(DataError, match=r"'seed': 5.*asked for was.*'seed': 6.*delete this one"):
        write_tree(tmp_path / "tree", replace(TINY, seed=6))
    assert digests(tmp_path / "tree") == before


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DataError, match=r"Cannot write synthetic data to .*tree: .*It takes 10 MB: set data.root"
    ):
        write_tree(tmp_path / "file" / "tree", TINY)


def test_the_working_folder_may_be_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert write_tree(Path(), TINY)
    assert not write_tree(tmp_path / "here", TINY)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"{tmp_path} is not empty and has no readable synthetic.json"):
        write_tree(Path(), TINY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "here.lock"]


def test_a_link_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError, match=r"Cannot write synthetic data to .*loop"):
        write_tree(tmp_path / "loop", TINY)


def test_size_on_disk_is_told_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tree(tmp_path / "tree", TINY)
    assert "SYNTHETIC data: 16 of 16 cells, 10 MB" in capsys.readouterr().err
