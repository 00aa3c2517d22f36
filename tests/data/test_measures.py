"""What is measured of one image, against NumPy and SciPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from leukemia_lab.data.images import BACKGROUND_LEVEL
from leukemia_lab.data.measures import COMPONENT_PX, Measures, measure, pixels_hash

ImageArray = npt.NDArray[np.uint8]


def grey_cell(seed: int, side: int = 96) -> ImageArray:
    """A disc of random grey levels on black, which every conversion to grey leaves as it is."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    inside = (rows - side / 2) ** 2 + (columns - side / 2) ** 2 < (0.3 * side) ** 2
    grey = np.where(inside, rng.integers(20, 250, (side, side)), 0).astype(np.uint8)
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)


@pytest.mark.parametrize("seed", range(5))
def test_against_numpy_and_scipy(seed: int, draw_cell: Callable[..., ImageArray]) -> None:
    image = draw_cell(seed, 120)
    found = measure(image)
    foreground = (image > BACKGROUND_LEVEL).any(axis=2)
    assert found.foreground_px == foreground.sum()
    assert found.n_components == ndimage.label(foreground, np.ones((3, 3)))[1] == 1
    means = image[foreground].mean(axis=0)
    assert (found.mean_red, found.mean_green, found.mean_blue) == pytest.approx(tuple(means))


@pytest.mark.parametrize("seed", range(5))
def test_sharpness_is_the_spread_of_the_laplacian_inside(seed: int) -> None:
    image = grey_cell(seed)
    grey = image[:, :, 0].astype(float)
    inside = ndimage.binary_erosion(grey > BACKGROUND_LEVEL, np.ones((3, 3)))
    assert measure(image).sharpness == pytest.approx(ndimage.laplace(grey)[inside].std(), rel=1e-4)


def test_sharpness_falls_with_blur_and_ignores_the_edge_of_the_mask() -> None:
    image = grey_cell(0)
    inside = image.any(axis=2, keepdims=True)
    values = [measure(image).sharpness]
    for sigma in (0.5, 1, 2):
        blurred = ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0))
        values.append(measure(np.where(inside, blurred.clip(3, 255), 0).astype(np.uint8)).sharpness)
    assert values == sorted(values, reverse=True)
    assert measure(np.where(inside, 100, 0).repeat(3, axis=2).astype(np.uint8)[:, :, :3]).sharpness == 0


def test_a_shift_changes_nothing_but_the_hash() -> None:
    image = grey_cell(3)
    moved = measure(np.roll(image, (5, -3), axis=(0, 1)))
    assert moved._replace(pixels="") == pytest.approx(measure(image)._replace(pixels=""))
    assert moved.pixels != measure(image).pixels


@pytest.mark.parametrize(("speck_px", "n_components"), [(COMPONENT_PX - 1, 1), (COMPONENT_PX, 2)])
def test_specks_are_no_second_cell(speck_px: int, n_components: int) -> None:
    image = grey_cell(1)
    image[2, 2 : 2 + speck_px] = 90
    assert measure(image).n_components == n_components


def test_pieces_that_touch_at_a_corner_are_one() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[0:10, 0:10] = image[10:20, 10:20] = 90
    assert measure(image).n_components == 1


def test_a_cell_smaller_than_a_speck_is_a_cell() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    image[5:7, 5:7] = 90
    assert measure(image)[:2] == (4, 1)


@pytest.mark.parametrize("level", [0, BACKGROUND_LEVEL])
def test_a_black_image_has_no_foreground(level: int) -> None:
    image = np.full((10, 12, 3), level, np.uint8)
    assert measure(image) == Measures(0, 0, 0.0, 0.0, 0.0, 0.0, pixels_hash(image))


def test_an_image_without_background_is_one_foreground() -> None:
    image = np.random.default_rng(0).integers(30, 255, (20, 30, 3), dtype=np.uint8)
    found = measure(image)
    assert (found.foreground_px, found.n_components) == (600, 1)


def test_the_hash_is_of_pixels_and_shape() -> None:
    image = grey_cell(2)
    assert pixels_hash(image) == pixels_hash(image.copy())
    other = image.copy()
    other[0, 0, 0] += 1
    assert pixels_hash(other) != pixels_hash(image)
    assert pixels_hash(image.reshape(48, 192, 3)) != pixels_hash(image)
