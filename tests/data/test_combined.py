"""Several trees as one data set: names, classes, sources, pixels and faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from source_trees import CLASSES, PATTERN

from leukemia_lab.data.cache import decoded_images
from leukemia_lab.data.combined import CombinedTree, combine
from leukemia_lab.data.images import fit_square, read_rgb
from leukemia_lab.data.index import CellIndex, Tree
from leukemia_lab.errors import DataError

TreeFactory = Callable[..., Path]
OURS = {"blast": "ALL", "normal": "HEM"}


def combined(trees: list[CombinedTree], tmp_path: Path, **changes: Any) -> CellIndex:
    given: dict[str, Any] = {"positive_class": None, "bad_files": "error"} | changes
    return combine(trees, cache_dir=tmp_path / "cache", **given)


@pytest.fixture
def trees(cnmc_tree: TreeFactory, class_tree: TreeFactory) -> list[CombinedTree]:
    """C-NMC's layout with 9 cells, and class folders with 4 cells of each of three classes."""
    classes = class_tree(("blast", "normal", "debris"))
    return [
        CombinedTree("cnmc", Tree(cnmc_tree(), "cnmc"), {}),
        CombinedTree("ours", Tree(classes, "folder", PATTERN), OURS | {"debris": None}),
    ]


def test_two_layouts_are_one_data_set(trees: list[CombinedTree], tmp_path: Path) -> None:
    index = combined(trees, tmp_path, positive_class="ALL")
    table = index.table
    assert (index.class_names, index.positive, index.has_subjects) == (CLASSES, "ALL", True)
    assert table["source"].value_counts().to_dict() == {"cnmc": 9, "ours": 8}
    assert not table["cell_id"].str.contains("debris").any()
    assert table["cell_id"].is_monotonic_increasing
    assert table.index.tolist() == list(range(17))
    ours = table[table["source"] == "ours"].set_index("cell_id")
    assert ours.at["ours/blast/b0/b0_1.png", "label"] == "ALL"
    assert ours.at["ours/normal/n1/n1_3.png", "label"] == "HEM"
    assert set(ours["subject"]) == set(ours["group"]) == {"OURS:B0", "OURS:B1", "OURS:N0", "OURS:N1"}
    theirs = table[table["source"] == "cnmc"]
    assert {"CNMC:1", "CNMC:H3", "CNMC:57"} <= set(theirs["subject"])
    assert theirs["official_part"].value_counts().to_dict() == {"train": 7, "prelim": 2}
    for cell_id, sha256 in zip(table["cell_id"], table["sha256"], strict=True):
        path = index.path_of(cell_id)
        assert path.is_file()
        assert path.is_relative_to(index.trees[cell_id.split("/")[0]])
        assert len(sha256) == 64
    assert index.roots == tuple(part.tree.root for part in trees)


def test_equal_names_of_two_sources_stay_two_subjects(class_tree: TreeFactory, tmp_path: Path) -> None:
    root = class_tree()
    same = [CombinedTree(name, Tree(root, "folder", PATTERN), {}) for name in ("a", "b")]
    table = combined(same, tmp_path).table
    assert table["subject"].nunique() == 8
    assert table["cell_id"].is_unique


def test_the_decoded_cache_holds_the_pixels_of_each_source(trees: list[CombinedTree], tmp_path: Path) -> None:
    index = combined(trees, tmp_path)
    images = decoded_images(index, 24, tmp_path / "cache")
    for row, cell_id in enumerate(index.table["cell_id"]):
        np.testing.assert_array_equal(images[row], fit_square(read_rgb(index.path_of(cell_id)), 24))


def test_faults_carry_the_name_of_their_source(trees: list[CombinedTree], tmp_path: Path) -> None:
    damaged = trees[1].tree.root / "blast" / "b0" / "b0_0.png"
    damaged.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1 faults below .*\n  ours/blast/b0/b0_0\.png: "):
        combined(trees, tmp_path)
    index = combined(trees, tmp_path, bad_files="skip")
    assert [fault.file for fault in index.faults] == ["ours/blast/b0/b0_0.png"]
    assert len(index.table) == 16


@pytest.mark.parametrize(
    ("classes", "positive", "message"),
    [
        (
            {"blats": "ALL"},
            None,
            r"data\.trees\.ours\.classes names blats, .*: blast, debris, normal\. Did you mean blast",
        ),
        (dict.fromkeys(("blast", "normal", "debris"), "x"), "y", "positive_class=y is not a class"),
        (OURS, "ALL", "positive_class=ALL has no meaning with 3 classes"),
    ],
)
def test_classes_that_do_not_fit(
    classes: dict[str, str | None],
    positive: str | None,
    message: str,
    trees: list[CombinedTree],
    tmp_path: Path,
) -> None:
    theirs = CombinedTree("ours", trees[1].tree, classes)
    with pytest.raises(DataError, match=message):
        combined([trees[0], theirs], tmp_path, positive_class=positive)


def test_one_class_in_all_is_refused_with_the_roots(trees: list[CombinedTree], tmp_path: Path) -> None:
    same = [
        CombinedTree("cnmc", trees[0].tree, {"ALL": "cell", "HEM": "cell"}),
        CombinedTree("ours", trees[1].tree, dict.fromkeys(("blast", "normal", "debris"), "cell")),
    ]
    with pytest.raises(
        DataError, match=rf"{trees[0].tree.root}, {trees[1].tree.root} has 21 usable cells of 1 classes"
    ):
        combined(same, tmp_path)
