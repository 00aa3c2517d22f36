"""The benchmark tree: boxes as the manifest gives them, one solid cell a file, twins and nothing else alike."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from leukemia_lab.data.images import Box, cell_box, read_rgb
from leukemia_lab.data.index import CellIndex, Tree, read_index
from leukemia_lab.data.source import is_synthetic
from leukemia_lab.data.twins import TIED, evidence_of, find_twins

SEED = 7
N_TRAIN, N_PRELIM = 26, 4


@pytest.fixture
def draw_cnmc_like(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "benchmarks")
    import draw_cnmc_like

    return draw_cnmc_like


def made_up() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Names 1 and 2 share five boxes, two of them equal bytes; 3 and 4 share four boxes; H1 and 1 a box."""
    rng = np.random.default_rng(SEED)
    boxes = rng.integers((10, 10, 69, 79), (60, 60, 380, 380), size=(17, 4))
    named = [
        *(("1", "all", i) for i in range(6)),
        *(("2", "all", i) for i in (0, 1, 2, 3, 4, 6)),
        *(("3", "all", i) for i in range(7, 12)),
        *(("4", "all", i) for i in (7, 8, 9, 10, 12)),
        *(("h1", "hem", i) for i in (5, 13, 14, 15)),
    ]
    rows = [
        {"file": f"UID_{name}_1_{n}_{label}.bmp", "fold": f"fold_{int(name[-1]) % 3}", "label": label}
        | {"subject": f"{label.upper()}_{name.upper()}", "sha256": f"{name}-{n}"}
        | dict(zip("xywh", map(int, boxes[i]), strict=True))
        for n, (name, label, i) in enumerate(named)
    ]
    for copy, source in ((6, 0), (7, 1)):
        rows[copy]["sha256"] = rows[source]["sha256"]
    prelim = [
        {"file": f"{i}.bmp", "orig": f"UID_{50 + i}_1_1_{label}.bmp", "label": label}
        for i, label in enumerate(("all", "hem") * 2, start=1)
    ]
    return pd.DataFrame(rows), pd.DataFrame(prelim)


def indexed(root: Path, tmp_path: Path) -> CellIndex:
    return read_index(Tree(root, "cnmc"), None, "error", tmp_path / "cache")


def test_cells_fill_their_boxes_and_only_the_planted_names_share_cells(
    draw_cnmc_like: object, tmp_path: Path
) -> None:
    train, prelim = made_up()
    root = tmp_path / "tree"
    draw_cnmc_like.write_tree(root, train, prelim, seed=SEED, limit=None)
    index = indexed(root, tmp_path)
    table = index.table
    assert len(table) == N_TRAIN + N_PRELIM
    assert is_synthetic(root, map(index.path_of, table["cell_id"]))
    for cell_id in table["cell_id"]:
        image = read_rgb(root / cell_id)
        foreground = image.any(axis=2)
        assert ndimage.label(foreground)[1] == 1, cell_id
        np.testing.assert_array_equal(foreground, ndimage.binary_fill_holes(foreground), cell_id)
        assert image[foreground].max(axis=1).min() > 16, cell_id  # a hard edge
    for row in train.itertuples():
        drawn = cell_box(read_rgb(root / f"C-NMC_training_data/{row.fold}/{row.label}/{row.file}"))
        assert drawn == Box(row.x, row.y, row.w + 1, row.h + 1)
    evidence = evidence_of(index, tmp_path / "cache")
    assert evidence.copies["kind"].value_counts().to_dict() == {"near": 3, "identical": 2}
    assert table["sha256"].nunique() == len(table) - 2
    twins = find_twins(table, evidence)
    assert twins.groups == [["1", "2"]]
    assert TIED not in set(twins.pairs["verdict"])


def test_a_tree_is_completed_and_drawn_the_same_again(draw_cnmc_like: object, tmp_path: Path) -> None:
    train, prelim = made_up()
    part, whole = tmp_path / "part", tmp_path / "whole"
    few = draw_cnmc_like.write_tree(part, train, prelim, seed=SEED, limit=6)
    assert len(few) == len(list(part.rglob("*.bmp"))) == 6
    (part / few[0].path).write_bytes(b"cut short")
    kept = part / few[1].path
    written = kept.stat().st_mtime_ns
    for root in (part, whole):
        draw_cnmc_like.write_tree(root, train, prelim, seed=SEED, limit=None)
    assert kept.stat().st_mtime_ns == written
    assert files_of(part) == files_of(whole)
    draw_cnmc_like.write_tree(tmp_path / "other", train, prelim, seed=SEED + 1, limit=None)
    assert not set(files_of(whole).values()) & set(files_of(tmp_path / "other").values())


def test_a_folder_with_other_data_is_left_alone(draw_cnmc_like: object, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit, match="holds other data"):
        draw_cnmc_like.write_tree(tmp_path, *made_up(), seed=SEED, limit=None)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_outlines_of_any_size_are_one_piece_that_touches_all_sides(draw_cnmc_like: object) -> None:
    rng = np.random.default_rng(SEED)
    for _ in range(300):
        width, height = rng.integers(60, 449, size=2)
        mask = draw_cnmc_like.outline_mask(width, height, 0.03, rng)
        assert mask.shape == (height, width)
        assert all(side.any() for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
        assert ndimage.label(mask)[1] == 1
        np.testing.assert_array_equal(mask > 0, ndimage.binary_fill_holes(mask))


def files_of(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*.bmp")
    }


def test_the_real_manifests_give_the_known_groups(draw_cnmc_like: object, shared_data: Path) -> None:
    """On the manifests' boxes alone, nothing is drawn: the four groups of names that share cells."""
    train = pd.read_csv(shared_data / "cnmc_meta" / "train_manifest.csv", dtype={"subject": str})
    subjects = train["subject"].str.split("_").str[1]
    first = pd.Series(draw_cnmc_like.drawn_as(train))
    shared = subjects.groupby(first).agg(frozenset)
    names = {name for group in shared if len(group) > 1 for name in group}
    assert names == {"20", "21", "51", "75", "78", "H10", "H3", "H2", "H4", "H5", "H6", "H7"}
