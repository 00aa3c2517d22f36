from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image

from leukemia_lab.data import twins
from leukemia_lab.data.images import FINGERPRINT, content_fingerprint
from leukemia_lab.data.index import CellIndex, read_index
from leukemia_lab.data.twins import MAX_DISTANCE, find_near_copies, merge_twins, merged_groups

ImageArray = npt.NDArray[np.uint8]
DrawCell = Callable[..., ImageArray]


def index_of(cells: list[tuple[str | None, ImageArray]]) -> CellIndex:
    """An index of cells c0, c1, ... with these subjects; without subjects each cell is its own group."""
    ids = [f"c{number}" for number in range(len(cells))]
    subjects = [subject for subject, _ in cells]
    table = pd.DataFrame({"cell_id": ids, "subject": pd.Series(subjects, dtype=object)})
    table["group"] = [
        cell if subject is None else subject for cell, subject in zip(ids, subjects, strict=True)
    ]
    table["fingerprint"] = [content_fingerprint(image) for _, image in cells]
    return CellIndex(Path(), table, ("ALL", "HEM"), "ALL", subjects[0] is not None, (), ())


def jpeg(image: ImageArray) -> ImageArray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95)
    return np.asarray(Image.open(buffer))


def offset(image: ImageArray, levels: int) -> ImageArray:
    return (image.astype(np.int16) + levels).clip(0, 255).astype(np.uint8)


def noisy(image: ImageArray) -> ImageArray:
    noise = np.random.default_rng(0).integers(-2, 3, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


COPIES: dict[str, Callable[[ImageArray], ImageArray]] = {
    "identical": lambda image: image,
    "shifted": lambda image: np.roll(image, (3, -2), axis=(0, 1)),
    "brighter": lambda image: offset(image, 2),
    "darker": lambda image: offset(image, -2),
    "noisy": noisy,
    "jpeg": jpeg,
}


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("seed", range(5))
def test_copies_are_found(draw_cell: DrawCell, kind: str, seed: int) -> None:
    cell = draw_cell(seed)
    pairs = find_near_copies(index_of([("1", cell), ("2", COPIES[kind](cell))]).table)
    assert pairs[["a", "b"]].to_numpy().tolist() == [["c0", "c1"]]
    if kind in ("identical", "shifted"):
        assert pairs.loc[0, "distance"] == 0


def test_different_cells_are_not_copies(draw_cell: DrawCell) -> None:
    """Not even with one silhouette: each cell's texture is drawn inside the ellipse of the first."""
    mask = draw_cell(0).any(axis=2, keepdims=True)
    cells = [
        (str(seed), np.where(mask, np.roll(draw_cell(seed), seed, axis=2) | 20, 0)) for seed in range(40)
    ]
    sizes = np.frombuffer(b"".join(index_of(cells).table["fingerprint"]), FINGERPRINT)[["width", "height"]]
    assert len(np.unique(sizes)) == 1
    assert find_near_copies(index_of(cells).table).empty


def test_same_texture_in_another_size_is_not_a_copy(draw_cell: DrawCell) -> None:
    cell = draw_cell(1)
    larger = np.asarray(Image.fromarray(cell).resize((500, 500)))
    assert find_near_copies(index_of([("1", cell), ("2", larger)]).table).empty


def test_candidates_lose_no_pair() -> None:
    """Against a search through all pairs of fingerprints that lie about MAX_DISTANCE apart."""
    rng = np.random.default_rng(0)
    base = rng.normal(0, 32, (1, 16, 16))
    records = np.zeros(120, FINGERPRINT)
    records["grid"] = (base + rng.normal(0, 2.9, (120, 16, 16))).clip(-127, 127)
    table = pd.DataFrame(
        {"cell_id": [f"c{n:03}" for n in range(120)], "fingerprint": [r.tobytes() for r in records]}
    )
    table["group"] = table["cell_id"]
    grids = records["grid"].astype(float).reshape(120, -1) / 32
    distances = np.abs(grids[:, None] - grids[None]).mean(axis=2)
    expected = int((distances[np.triu_indices(120, 1)] <= MAX_DISTANCE).sum())
    assert 500 < expected < 6500
    assert len(find_near_copies(table)) == expected


def test_copies_within_a_subject_do_not_count(draw_cell: DrawCell) -> None:
    index = index_of([("1", draw_cell(0)), ("1", draw_cell(0)), ("2", draw_cell(1))])
    assert find_near_copies(index.table).empty
    pd.testing.assert_frame_equal(merge_twins(index).table, index.table)
    assert merged_groups(index) == []


def test_subjects_are_joined_through_a_chain(draw_cell: DrawCell) -> None:
    cells = [("H10", 0), ("H3", 0), ("H3", 1), ("21", 1), ("7", 2), ("20", 3), ("H2", 4), ("H1", 4)]
    index = index_of([(subject, draw_cell(seed)) for subject, seed in cells])
    merged = merge_twins(index)
    expected = ["21+H3+H10"] * 4 + ["7", "20"] + ["H1+H2"] * 2
    assert merged.table["group"].tolist() == expected
    assert merged_groups(merged) == [["21", "H3", "H10"], ["H1", "H2"]]
    assert merged.table["subject"].tolist() == [s for s, _ in cells]
    again = merge_twins(merged)
    assert again.table["group"].tolist() == expected


def test_twins_are_looked_for_once(draw_cell: DrawCell, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []

    def recording(table: pd.DataFrame) -> pd.DataFrame:
        searched.append(len(table))
        return find_near_copies(table)

    monkeypatch.setattr(twins, "find_near_copies", recording)
    twins._known_near_copies.cache_clear()
    cells = [("1", draw_cell(0)), ("2", draw_cell(0)), ("3", draw_cell(1))]
    results = [merge_twins(index_of(cells)).table["group"].tolist() for _ in range(3)]
    assert results == [["1+2", "1+2", "3"]] * 3
    assert searched == [3]
    merge_twins(index_of([("1", draw_cell(0)), ("2", draw_cell(2)), ("3", draw_cell(1))]))
    assert searched == [3, 3]


def test_a_merged_index_teaches_nothing_wrong_of_the_unmerged(draw_cell: DrawCell) -> None:
    """Its cells and bytes are the same, but within the merged groups no copies are looked for."""
    unmerged = index_of([("1", draw_cell(0)), ("2", draw_cell(0)), ("3", draw_cell(1))])
    merged = merge_twins(unmerged)
    twins._known_near_copies.cache_clear()
    merge_twins(merged)
    assert merge_twins(unmerged).table["group"].tolist() == ["1+2", "1+2", "3"]


def test_copies_without_subjects_are_joined_by_cell(draw_cell: DrawCell) -> None:
    merged = merge_twins(index_of([(None, draw_cell(0)), (None, draw_cell(1)), (None, draw_cell(0))]))
    assert merged.table["group"].tolist() == ["c0+c2", "c1", "c0+c2"]
    assert merged_groups(merged) == [["c0", "c2"]]


def test_real_twins(shared_data: Path, tmp_path: Path) -> None:
    index = read_index(shared_data / "cnmc_sample", "cnmc", None, None, "error", tmp_path)
    pairs = find_near_copies(index.table)
    names = {tuple(sorted(Path(cell).stem for cell in pair)) for pair in pairs[["a", "b"]].to_numpy()}
    assert names == {
        ("UID_H2_1_1_hem", "UID_H6_1_1_hem"),
        ("UID_H2_1_2_hem", "UID_H6_1_2_hem"),
        ("UID_H10_1_1_hem", "UID_h3_1_1_hem"),
    }
    assert pairs["distance"].max() < 0.01
    assert merged_groups(merge_twins(index)) == [["H2", "H6"], ["H3", "H10"]]


def test_real_cells_of_another_kind_have_no_twins(shared_data: Path, tmp_path: Path) -> None:
    index = read_index(shared_data / "pbc_sample", "folder", None, None, "error", tmp_path)
    assert find_near_copies(index.table).empty
