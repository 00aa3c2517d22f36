"""Copies: every kind is found and named, different cells are not, and no pair is lost on the way to the pixels."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from altered_cells import COPIES, bmp, shifted
from PIL import Image

from leukemia_lab.data import copies as copies_module
from leukemia_lab.data.copies import (
    IDENTICAL,
    MAX_DISTANCE,
    NEAR,
    clusters,
    find_copies,
)
from leukemia_lab.data.images import content_fingerprint, read_rgb
from leukemia_lab.data.index import CellIndex, Tree, make_index, scan_tree
from leukemia_lab.data.synthetic_cells import SubjectLook
from leukemia_lab.data.synthetic_cells import draw_cell as draw_lymphoid

ImageArray = npt.NDArray[np.uint8]
DrawCell = Callable[..., ImageArray]
N_SOURCES = 8


def save(path: Path, image: ImageArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def indexed(root: Path) -> CellIndex:
    return make_index(scan_tree(Tree(root, "folder"), root.parent / "cache"))


def copies_in(root: Path) -> pd.DataFrame:
    return find_copies(indexed(root), root.parent / "cache")


def searched_again(index: CellIndex, cache_dir: Path) -> pd.DataFrame:
    """As in a new process."""
    copies_module._find_copies.cache_clear()
    return find_copies(index, cache_dir)


def require_found(cells: Iterable[ImageArray], kind: str, tmp_path: Path) -> None:
    """Each cell with a copy of that kind: these pairs are found, of the kind that they are, and no others."""
    expected_kind, copy = COPIES[kind]
    folder = tmp_path / "tree" / "cells"
    folder.mkdir(parents=True)
    expected = []
    for number, cell in enumerate(cells):
        names = [f"{number}_{what}.{'bmp' if what == 'a' else 'tif'}" for what in ("a", "b")]
        (folder / names[0]).write_bytes(bmp(cell))
        (folder / names[1]).write_bytes(copy(cell))
        expected.append((f"cells/{names[0]}", f"cells/{names[1]}", expected_kind))
    found = copies_in(folder.parent)
    assert list(found[["a", "b", "kind"]].itertuples(index=False, name=None)) == sorted(expected)
    assert found["distance"].between(0, MAX_DISTANCE).all()
    assert found.loc[found["kind"] != NEAR, "distance"].eq(0).all()


@pytest.mark.parametrize("kind", COPIES)
def test_copies_of_drawn_cells(kind: str, tmp_path: Path, draw_cell: DrawCell) -> None:
    require_found((draw_cell(seed) for seed in range(4)), kind, tmp_path)


@pytest.mark.parametrize("kind", COPIES)
def test_copies_of_cells_that_look_like_cnmc(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    look = SubjectLook(*rng.standard_normal(7))  # one subject: as much alike as different cells get
    require_found((draw_lymphoid("all", look, rng) for _ in range(N_SOURCES)), kind, tmp_path)


@pytest.mark.parametrize("kind", COPIES)
def test_copies_of_real_cells(kind: str, tmp_path: Path, shared_data: Path) -> None:
    files = sorted((shared_data / "cnmc_sample" / "C-NMC_training_data").rglob("*_all.bmp"))
    require_found((read_rgb(file) for file in files[::3]), kind, tmp_path)


@pytest.mark.parametrize("kind", COPIES)
def test_copies_of_real_cells_on_a_bright_background(kind: str, tmp_path: Path, shared_data: Path) -> None:
    files = sorted((shared_data / "pbc_sample").rglob("*.jpg"))
    assert len(files) == 450
    require_found((read_rgb(file) for file in files[::56]), kind, tmp_path)


def test_the_sample_holds_three_near_copies(shared_data: Path, tmp_path: Path) -> None:
    index = make_index(scan_tree(Tree(shared_data / "cnmc_sample", "cnmc"), tmp_path))
    found = find_copies(index, tmp_path)
    names = {
        (*sorted(Path(row.a if side == 0 else row.b).stem for side in range(2)),)
        for row in found.itertuples()
    }
    assert names == {
        ("UID_H2_1_1_hem", "UID_H6_1_1_hem"),
        ("UID_H2_1_2_hem", "UID_H6_1_2_hem"),
        ("UID_H10_1_1_hem", "UID_h3_1_1_hem"),
    }
    assert set(found["kind"]) == {NEAR}
    assert found["distance"].max() < 0.01


def test_real_cells_of_another_kind_hold_none(shared_data: Path, tmp_path: Path) -> None:
    index = make_index(scan_tree(Tree(shared_data / "pbc_sample", "folder"), tmp_path))
    assert len(index.table) == 450
    assert find_copies(index, tmp_path).empty


def test_cells_of_one_silhouette_are_not_copies(tmp_path: Path, draw_cell: DrawCell) -> None:
    """Each cell's texture is drawn inside the ellipse of the first."""
    mask = draw_cell(0).any(axis=2, keepdims=True)
    for seed in range(20):
        cell = np.where(mask, np.roll(draw_cell(seed), seed, axis=2) | 20, 0)
        save(tmp_path / "tree" / "cells" / f"{seed}.bmp", cell)
    index = indexed(tmp_path / "tree")
    assert index.table["box_w"].nunique() == index.table["box_h"].nunique() == 1
    assert find_copies(index, tmp_path / "cache").empty


def test_scaled_turned_and_mirrored_copies_are_not_found(tmp_path: Path, draw_cell: DrawCell) -> None:
    """As the docs say."""
    cell = draw_cell(1)
    changed = {
        "cell": cell,
        "larger": np.asarray(Image.fromarray(cell).resize((500, 500))),
        "turned": np.rot90(cell),
        "mirrored": cell[:, ::-1],
    }
    for name, image in changed.items():
        save(tmp_path / "tree" / "cells" / f"{name}.png", np.ascontiguousarray(image))
    assert copies_in(tmp_path / "tree").empty


def test_a_thousand_equal_files_are_paired_with_the_first(tmp_path: Path, draw_cell: DrawCell) -> None:
    folder = tmp_path / "tree" / "cells"
    save(folder / "0000.png", draw_cell(0, 32))
    for number in range(1, 1000):
        shutil.copyfile(folder / "0000.png", folder / f"{number:04}.png")
    save(folder / "other.png", draw_cell(1, 32))
    found = copies_in(tmp_path / "tree")
    assert found["a"].tolist() == ["cells/0000.png"] * 999
    assert found["b"].tolist() == [f"cells/{number:04}.png" for number in range(1, 1000)]
    assert set(found["kind"]) == {IDENTICAL}
    cluster = clusters([f"cells/{number:04}.png" for number in range(1000)], found)
    assert cluster.nunique() == 1


def test_every_pair_of_a_few_equal_files_is_named(tmp_path: Path, draw_cell: DrawCell) -> None:
    folder = tmp_path / "tree" / "cells"
    save(folder / "00.bmp", draw_cell(0, 64))
    for number in range(1, 24):
        shutil.copyfile(folder / "00.bmp", folder / f"{number:02}.bmp")
    assert len(copies_in(tmp_path / "tree")) == 24 * 23 // 2


@pytest.fixture
def three_near(tmp_path: Path, draw_cell: DrawCell) -> CellIndex:
    """Two near copies and another cell."""
    folder = tmp_path / "tree" / "cells"
    save(folder / "a.png", draw_cell(0))
    save(folder / "b.png", shifted(draw_cell(0), 2, 1))
    save(folder / "c.png", draw_cell(1))
    return indexed(tmp_path / "tree")


def test_verified_pairs_are_remembered(
    three_near: CellIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = find_copies(three_near, tmp_path / "cache")
    assert first[["a", "b", "kind"]].to_numpy().tolist() == [["cells/a.png", "cells/b.png", NEAR]]
    read: list[Path] = []

    def recording(path: Path) -> ImageArray:
        read.append(path)
        return read_rgb(path)

    monkeypatch.setattr(copies_module, "read_rgb", recording)
    pd.testing.assert_frame_equal(searched_again(three_near, tmp_path / "cache"), first)
    assert read == []
    pd.testing.assert_frame_equal(searched_again(three_near, tmp_path / "another"), first)
    assert len(read) == 2


def test_what_is_found_is_the_callers_own(three_near: CellIndex, tmp_path: Path) -> None:
    found = find_copies(three_near, tmp_path / "cache")
    found["kind"] = "changed"
    assert set(find_copies(three_near, tmp_path / "cache")["kind"]) == {NEAR}


def test_a_damaged_memo_is_rebuilt(three_near: CellIndex, tmp_path: Path) -> None:
    """Bytes flipped and cut off at random: the pairs stay what they are."""
    cache_dir = tmp_path / "cache"
    first = find_copies(three_near, cache_dir)
    memo = next((cache_dir / "copies").glob("*.parquet"))
    whole = memo.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(20):
        damaged = bytearray(whole)
        damaged[int(rng.integers(len(whole)))] ^= int(rng.integers(1, 256))
        memo.write_bytes(damaged[: int(rng.integers(len(whole)))] if rng.random() < 0.3 else damaged)
        pd.testing.assert_frame_equal(searched_again(three_near, cache_dir), first)
    memo.write_bytes(b"")
    pd.testing.assert_frame_equal(searched_again(three_near, cache_dir), first)
    assert len(pd.read_parquet(memo)) == 1


@pytest.mark.timeout(30)
@pytest.mark.parametrize("change", ["gone", "emptied", "cut short", "another cell", "a named pipe"])
def test_a_file_changed_since_it_was_indexed(
    three_near: CellIndex, tmp_path: Path, draw_cell: DrawCell, change: str
) -> None:
    """No crash, no copy, and nothing wrong is remembered of it when it is back."""
    file = three_near.path_of("cells/b.png")
    content = file.read_bytes()
    if change in ("gone", "a named pipe"):
        file.unlink()
    if change == "a named pipe":
        os.mkfifo(file)
    elif change == "another cell":
        save(file, draw_cell(5))
    elif change != "gone":
        file.write_bytes(content[: 0 if change == "emptied" else 500])
    assert searched_again(three_near, tmp_path / "cache").empty
    file.unlink(missing_ok=True)
    file.write_bytes(content)
    assert len(searched_again(three_near, tmp_path / "cache")) == 1


def test_another_tree_of_equal_names_is_searched_anew(
    three_near: CellIndex, tmp_path: Path, draw_cell: DrawCell
) -> None:
    assert len(find_copies(three_near, tmp_path / "cache")) == 1
    for number, name in enumerate("abc"):
        save(tmp_path / "other" / "cells" / f"{name}.png", draw_cell(10 + number))
    assert copies_in(tmp_path / "other").empty


def test_clusters_join_chains() -> None:
    pairs = pd.DataFrame({"a": ["b", "c", "x"], "b": ["c", "d", "y"]})
    found = clusters(["a", "b", "c", "d", "x", "y"], pairs)
    assert found.groupby(found).agg(lambda rows: "".join(rows.index)).tolist() == ["a", "bcd", "xy"]


def test_fingerprints_of_shifted_cells_are_equal(draw_cell: DrawCell) -> None:
    """On a black background, whatever the shift: what the crowd of copies above rests on."""
    cell = draw_cell(2)
    assert {content_fingerprint(shifted(cell, *step)) for step in ((0, 0), (3, -2), (-8, 8))} == {
        content_fingerprint(cell)
    }
