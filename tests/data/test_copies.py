"""Copies: every kind is found and named, different cells are not, and no pair is lost on the way to the pixels."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import binary_erosion, gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from leukemia_lab.data import copies as copies_module
from leukemia_lab.data.copies import (
    IDENTICAL,
    MAX_DISTANCE,
    MAX_SIZE_DIFFERENCE_PX,
    MIN_CORRELATION,
    NEAR,
    PIXELS,
    candidates,
    clusters,
    correlation,
    find_copies,
)
from leukemia_lab.data.images import FINGERPRINT, GRID_STEPS_PER_SD, content_fingerprint, read_rgb
from leukemia_lab.data.index import CellIndex, Tree, make_index, scan_tree
from leukemia_lab.data.synthetic import TRAINING_DIB, encode_bmp
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


def shifted(image: ImageArray, rows: int, columns: int) -> ImageArray:
    """Moved down and right; what comes in repeats the edge."""
    reach = max(abs(rows), abs(columns))
    framed = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    height, width = image.shape[:2]
    return framed[reach - rows : reach - rows + height, reach - columns : reach - columns + width]


def offset(image: ImageArray, levels: int) -> ImageArray:
    return (image.astype(np.int16) + levels).clip(0, 255).astype(np.uint8)


def noisy(image: ImageArray) -> ImageArray:
    noise = np.random.default_rng(0).integers(-2, 3, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


def bmp(image: ImageArray) -> bytes:
    return encode_bmp(image, TRAINING_DIB)


def other_header(image: ImageArray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "TIFF")
    return buffer.getvalue()


def jpeg(image: ImageArray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


COPIES: dict[str, tuple[str, Callable[[ImageArray], bytes]]] = {
    "identical": (IDENTICAL, bmp),
    "other header": (PIXELS, other_header),
    "shift 1": (NEAR, lambda image: bmp(shifted(image, 1, -1))),
    "shift 2": (NEAR, lambda image: bmp(shifted(image, -2, 2))),
    "shift 3": (NEAR, lambda image: bmp(shifted(image, 3, 3))),
    "shift of rows": (NEAR, lambda image: bmp(shifted(image, -3, 0))),
    "shift of columns": (NEAR, lambda image: bmp(shifted(image, 0, 3))),
    "brighter": (NEAR, lambda image: bmp(offset(image, 2))),
    "darker": (NEAR, lambda image: bmp(offset(image, -2))),
    "noise": (NEAR, lambda image: bmp(noisy(image))),
    "jpeg 95": (NEAR, lambda image: jpeg(image, 95)),
    "jpeg 90": (NEAR, lambda image: jpeg(image, 90)),
    "jpeg 75": (NEAR, lambda image: jpeg(image, 75)),
    "shift and jpeg": (NEAR, lambda image: jpeg(shifted(image, 3, -2), 75)),
}


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


def record(width: int, height: int, grid: npt.ArrayLike) -> bytes:
    return np.array((width, height, grid), dtype=FINGERPRINT).tobytes()


@pytest.mark.parametrize("side", ["width", "height"])
def test_size_gate(side: str) -> None:
    grid = np.random.default_rng(0).integers(-60, 60, (16, 16))
    for difference in (0, MAX_SIZE_DIFFERENCE_PX, MAX_SIZE_DIFFERENCE_PX + 1):
        size = {"width": 200, "height": 180}
        prints = [record(**size, grid=grid), record(**(size | {side: size[side] - difference}), grid=grid)]
        assert len(candidates(prints)[0]) == (difference <= MAX_SIZE_DIFFERENCE_PX)


def pairs_of(prints: npt.NDArray[np.void]) -> set[tuple[int, int]]:
    a, b, distance = candidates([one.tobytes() for one in prints])
    assert (a < b).all()
    assert (distance <= MAX_DISTANCE).all()
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    assert len(pairs) == len(set(pairs))
    return set(pairs)


def pairs_by_brute_force(prints: npt.NDArray[np.void]) -> set[tuple[int, int]]:
    grids = prints["grid"].astype(float).reshape(len(prints), -1) / GRID_STEPS_PER_SD
    sizes = np.stack([prints["width"], prints["height"]], axis=1).astype(int)
    pairs = set()
    for a in range(len(prints)):
        near = np.abs(grids[a + 1 :] - grids[a]).mean(axis=1) <= MAX_DISTANCE
        alike = (np.abs(sizes[a + 1 :] - sizes[a]) <= MAX_SIZE_DIFFERENCE_PX).all(axis=1)
        pairs |= {(a, a + 1 + int(b)) for b in np.flatnonzero(near & alike)}
    return pairs


@pytest.mark.parametrize("widths", [(100, 400), (200, 210), (200, 201)])
def test_no_candidate_is_lost_in_several_chunks(widths: tuple[int, int]) -> None:
    """Fingerprints about MAX_DISTANCE apart, in families of eight, of any order, over three chunks of 512."""
    rng = np.random.default_rng(widths[1])
    families, members = 160, 8
    prints = np.zeros(families * members, FINGERPRINT)
    base = rng.normal(0, GRID_STEPS_PER_SD, (families, 1, 16, 16))
    noise = rng.normal(0, 1, (families, members, 16, 16)) * rng.uniform(1, 7, (families, 1, 1, 1))
    prints["grid"] = (base + noise).reshape(-1, 16, 16).clip(-127, 127)
    for side in ("width", "height"):
        first = rng.integers(*widths, (families, 1))
        prints[side] = (first + rng.integers(0, 9, (families, members))).reshape(-1)
    prints = rng.permutation(prints)
    expected = pairs_by_brute_force(prints)
    assert 500 < len(expected) < families * members * (members - 1) // 2
    assert pairs_of(prints) == expected


def test_no_candidate_is_lost_in_a_crowd() -> None:
    """A hundred cells alike on the coarse grid, on which a cell's real copy is farther off than all the others."""
    rng = np.random.default_rng(0)
    signs = rng.choice([-1, 1], (100, 16, 8)).repeat(2, axis=2)
    signs[:, :, 1::2] *= -1  # no 4 x 4 block has another mean than its neighbour's
    prints = np.zeros(200, FINGERPRINT)
    prints["width"] = prints["height"] = 200
    prints["grid"][:100] = 40 * signs
    prints["grid"][100:] = 40 * signs + 4
    assert pairs_by_brute_force(prints) == pairs_of(prints) == {(n, n + 100) for n in range(100)}


def test_a_crowd_of_copies_stays_connected() -> None:
    """Sixty shifts of one cell have one fingerprint; each is compared with 24 others, and all are one cluster."""
    grid = np.random.default_rng(0).integers(-60, 60, (16, 16))
    a, b, _ = candidates([record(200, 200, grid)] * 60)
    assert np.bincount(a).max() == 24
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(60, 60))
    assert connected_components(graph, directed=False)[0] == 1


@pytest.mark.parametrize("n_cells", [0, 1])
def test_no_candidates_without_two_cells(n_cells: int) -> None:
    assert [len(found) for found in candidates([record(9, 9, np.zeros((16, 16)))] * n_cells)] == [0, 0, 0]


def texture_of(grey: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Means within 1.5 px less means within 15 px, of what is inside."""
    means = [
        gaussian_filter(grey * inside.astype(float), sd, mode="constant", truncate=4)
        / np.maximum(gaussian_filter(inside.astype(float), sd, mode="constant", truncate=4), 1e-3)
        for sd in (1.5, 15)
    ]
    return np.where(inside, means[0] - means[1], 0)


def test_correlation_is_pearsons_of_the_texture_over_all_shifts() -> None:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :64]
    for _ in range(5):
        inside = ((rows - 32) / rng.uniform(14, 20)) ** 2 + ((columns - 32) / rng.uniform(14, 20)) ** 2 < 1
        grey = np.where(inside, rng.integers(30, 220, (2, 64, 64)), 0).astype(np.uint8)
        a, b = (np.repeat(one[:, :, np.newaxis], 3, axis=2) for one in grey)
        core = binary_erosion(inside, np.ones((5, 5)))
        textures = [texture_of(one, inside) for one in grey]
        values = []
        for down in range(-8, 9):
            for right in range(-8, 9):
                moved = np.roll(textures[1], (-down, -right), axis=(0, 1))
                values.append(np.corrcoef(textures[0][core], moved[core])[0, 1])
        assert correlation(a, b) == pytest.approx(max(values), abs=2e-3)
        assert correlation(a, a) == pytest.approx(1, abs=1e-4)


def test_an_equal_shading_makes_no_copies() -> None:
    """Two smooth cells, both pale at the rim and darker on one side, each with a faint texture of its own."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:120, :120] - 60.0
    radius = np.hypot(rows, columns)
    shading = 90 + 40 * np.exp((radius - 50) / 12) + 0.6 * columns
    texture = gaussian_filter(rng.normal(0, 1, (2, 120, 120)), (0, 3, 3))
    grey = np.where(radius < 50, shading + 4 * texture / texture.std(), 0).clip(0, 255).astype(np.uint8)
    a, b = (np.repeat(one[:, :, np.newaxis], 3, axis=2) for one in grey)
    assert np.corrcoef(grey[0][radius < 45], grey[1][radius < 45])[0, 1] > 0.9
    assert correlation(a, b) < MIN_CORRELATION - 0.1
    assert correlation(a, noisy(a)) > 0.97


def test_correlation_follows_a_shift_of_the_texture_as_far_as_eight_pixels(draw_cell: DrawCell) -> None:
    """A speck at the edge moves the silhouette's box; the cell is found by its pixels."""
    cell = draw_cell(3)
    box = np.flatnonzero(cell.any(axis=(1, 2)))
    with_speck = cell.copy()
    with_speck[box[0] - 6 : box[0], 225] = 200
    assert correlation(cell, with_speck) > 0.99
    assert correlation(with_speck, cell) > 0.99


@pytest.mark.parametrize("levels", [(90, 90), (90, 120)])
def test_flat_images_are_compared_by_level(levels: tuple[int, int]) -> None:
    a, b = (np.full((40, 40, 3), level, np.uint8) for level in levels)
    assert (correlation(a, b) >= MIN_CORRELATION) == (levels[0] == levels[1])


def test_images_too_small_to_compare_are_no_copies() -> None:
    image = np.random.default_rng(0).integers(30, 220, (12, 12, 3), dtype=np.uint8)
    assert correlation(image, image) == 0
    assert correlation(image, np.zeros((12, 12, 3), np.uint8)) == 0


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
