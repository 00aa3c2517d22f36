"""Which pairs of cells are compared, and how alike their pixels are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from altered_cells import noisy
from scipy.ndimage import binary_erosion, gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from leukemia_lab.data.copies import (
    MAX_DISTANCE,
    MAX_SIZE_DIFFERENCE_PX,
    MIN_CORRELATION,
    candidates,
    correlation,
)
from leukemia_lab.data.images import FINGERPRINT, GRID_STEPS_PER_SD

ImageArray = npt.NDArray[np.uint8]
DrawCell = Callable[..., ImageArray]
N_SOURCES = 8


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
