"""The planted truth holds: the copies are what their kind says, in the place that was asked for. And it is found."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from planted_twins import COPIES, OTHER_FOLD, PLACES, PRELIMINARY, SAME_FOLD, Planted, plant_twins

from leukemia_lab.data.images import cell_box, read_rgb
from leukemia_lab.data.index import CellIndex, Tree, read_index
from leukemia_lab.data.source import is_synthetic
from leukemia_lab.data.twins import MERGED, evidence_of, find_twins

CELLS = 4
PLAN = [
    Planted(0, 0.5, "identical", "same fold"),
    Planted(1, 0.1, "header", "other fold"),
    Planted(2, 1.0, "shift", PRELIMINARY),
    Planted(3, 0.75, "grey", "other fold"),
    Planted(4, 1.0, "jpeg", "same fold"),
]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[CellIndex, list[frozenset[str]], list[int]]:
    root = tmp_path_factory.mktemp("planted") / "tree"
    truth = plant_twins(root, np.random.default_rng(3), 6, CELLS, PLAN)
    index = read_index(Tree(root, "cnmc"), None, "error", root.parent / "cache")
    return index, [twins.subjects for twins in truth], [twins.n_shared for twins in truth]


def test_the_tree_is_whole_and_stamped(planted: tuple) -> None:
    index, names, n_shared = planted
    assert len(index.table) == (6 + len(PLAN)) * CELLS
    assert index.table.groupby("subject").size().eq(CELLS).all()
    assert index.notes == ()
    assert is_synthetic(index.root, map(index.path_of, index.table["cell_id"]))
    assert names == [
        frozenset(pair) for pair in (("1", "7"), ("H2", "H8"), ("3", "9"), ("H4", "H10"), ("5", "11"))
    ]
    assert n_shared == [2, 1, 4, 3, 4]


@pytest.mark.parametrize("number", range(len(PLAN)))
def test_twins_share_as_many_cells_as_planted_and_differ_as_their_kind_says(
    planted: tuple, number: int
) -> None:
    index, names, n_shared = planted
    table = index.table.set_index("subject")
    source, twin = sorted(names[number], key=lambda name: int(name.strip("H")))
    rows = {name: table.loc[name] for name in (source, twin)}
    files = {name: [index.root / cell_id for cell_id in rows[name]["cell_id"]] for name in rows}
    shared = [
        (a, b)
        for a in files[source]
        for b in files[twin]
        if are_copies(PLAN[number].kind, read_rgb(a), read_rgb(b))
    ]
    assert len(shared) == n_shared[number]
    for a, b in shared:
        assert (a.read_bytes() == b.read_bytes()) == (PLAN[number].kind == "identical")
    place = PLAN[number].place
    assert set(rows[twin]["official_part"]) == {"prelim" if place == PRELIMINARY else "train"}
    if place != PRELIMINARY:
        same = rows[twin]["official_fold"].iloc[0] == rows[source]["official_fold"].iloc[0]
        assert same == (place == SAME_FOLD)


def are_copies(kind: str, source: np.ndarray, copy: np.ndarray) -> bool:
    if kind == "shift":
        a, b = cell_box(source), cell_box(copy)
        steps = (b.y - a.y, b.x - a.x)
        moved = {abs(step) for step in steps} <= {1, 2, 3}
        return moved and np.array_equal(np.roll(source, steps, axis=(0, 1)), copy)
    if kind == "jpeg":
        file = io.BytesIO()
        Image.fromarray(source).save(file, "JPEG", quality=90)
        return np.array_equal(np.asarray(Image.open(file)), copy) and not np.array_equal(source, copy)
    difference = np.abs(source.astype(int) - copy)
    return bool(difference.max() == (2 if kind == "grey" else 0))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", COPIES)
def test_every_kind_goes_to_every_place(kind: str, place: str, tmp_path: Path) -> None:
    plant_twins(tmp_path / "tree", np.random.default_rng(0), 2, 1, [Planted(0, 1.0, kind, place)])
    index = read_index(Tree(tmp_path / "tree", "cnmc"), None, "error", tmp_path / "cache")
    assert sorted(index.table["subject"]) == ["1", "3", "H2"]
    assert index.table["sha256"].duplicated().any() == (kind == "identical")
    headers = {(index.root / cell_id).read_bytes()[14] for cell_id in index.table["cell_id"]}
    assert len(headers) == (1 if kind != "header" and (kind == "identical" or place != PRELIMINARY) else 2)


def require_exactly_the_planted(root: Path, n_cells: int, plan: list[Planted]) -> None:
    """All planted twins are merged, each with as many shared cells as planted; no other names share any."""
    truth = plant_twins(root, np.random.default_rng(n_cells), len(plan), n_cells, plan)
    assert min(twins.n_shared for twins in truth) >= 5
    cache_dir = root.with_name("cache")
    index = read_index(Tree(root, "cnmc"), None, "error", cache_dir)
    found = find_twins(index.table, evidence_of(index, cache_dir))
    pairs = {frozenset((row.a, row.b)): (row.shared, row.verdict) for row in found.pairs.itertuples()}
    assert pairs == {twins.subjects: (twins.n_shared, MERGED) for twins in truth}
    assert {frozenset(names) for names in found.groups} == {twins.subjects for twins in truth}
    second_names = {max(twins.subjects, key=lambda name: int(name.strip("H"))) for twins in truth}
    alone = index.table[~index.table["subject"].isin(second_names)].reset_index(drop=True)
    assert len(alone) == len(plan) * n_cells
    without_twins = replace(index, table=alone)
    assert find_twins(alone, evidence_of(without_twins, cache_dir)).pairs.empty


def test_every_kind_is_found_in_every_place(tmp_path: Path) -> None:
    """Twins with all their cells and with five of six, in turn; where they are taken out, nothing is found."""
    shares = (1.0, 0.8)
    combinations = enumerate(product(COPIES, PLACES))
    plan = [Planted(i, shares[i % len(shares)], kind, place) for i, (kind, place) in combinations]
    require_exactly_the_planted(tmp_path / "tree", 6, plan)


def test_a_tenth_of_the_cells_is_enough(tmp_path: Path) -> None:
    plan = [Planted(0, 0.1, "jpeg", OTHER_FOLD), Planted(1, 0.2, "shift", PRELIMINARY)]
    require_exactly_the_planted(tmp_path / "tree", 42, plan)
