from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from skimage.color import rgb2lab

from leukemia_lab.errors import DataError
from leukemia_lab.features.morphology import (
    CHUNK,
    DISTANCES_PX,
    GREY_LEVELS,
    MORPHOLOGY_NAMES,
    glcm,
    morphology_features,
)

RNG = np.random.default_rng(0)
STEPS = ((0, 1), (1, 1), (1, 0), (1, -1))  # 0, 45, 90, 135 degrees, rows downwards


def measured(image: npt.NDArray[np.uint8]) -> dict[str, float]:
    return dict(zip(MORPHOLOGY_NAMES, morphology_features(image[None])[0].tolist(), strict=True))


def painted(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    return RNG.integers(20, 140, (*mask.shape, 3)).astype(np.uint8) * mask[..., None]


def disc(radius: float, side: int = 128) -> npt.NDArray[np.bool_]:
    y, x = np.mgrid[:side, :side] - side // 2
    return x**2 + y**2 <= radius**2


def test_a_rectangle_has_closed_forms() -> None:
    mask = np.zeros((60, 80), dtype=bool)
    mask[10:30, 5:75] = True
    cell = measured(painted(mask))
    assert cell["area_px"] == 20 * 70
    assert (cell["box_height_px"], cell["box_width_px"]) == (20, 70)
    assert cell["solidity"] == cell["extent"] == 1
    axes = 4 * np.sqrt((np.array([70, 20]) ** 2 - 1) / 12)  # four sd of 70 and of 20 equal steps
    np.testing.assert_allclose([cell["major_axis_px"], cell["minor_axis_px"]], axes, rtol=1e-6)
    assert cell["eccentricity"] == pytest.approx(np.sqrt(1 - (axes[1] / axes[0]) ** 2))


def test_a_disc_has_closed_forms() -> None:
    radius = 50
    cell = measured(painted(disc(radius)))
    assert cell["area_px"] == pytest.approx(np.pi * radius**2, rel=0.01)
    assert cell["equivalent_diameter_px"] == pytest.approx(2 * radius, rel=0.01)
    assert cell["perimeter_px"] == pytest.approx(2 * np.pi * radius, rel=0.01)
    assert cell["circularity"] == pytest.approx(1, abs=0.02)
    assert cell["extent"] == pytest.approx(np.pi / 4, rel=0.03)
    assert cell["solidity"] > 0.98
    assert cell["eccentricity"] < 0.01


def test_a_notch_lowers_solidity_and_circularity() -> None:
    whole, notched = disc(40), disc(40)
    notched[60:68, 64:] = False
    before, after = measured(painted(whole)), measured(painted(notched))
    assert after["solidity"] < before["solidity"] - 0.03
    assert after["circularity"] < before["circularity"] - 0.2


def test_colours_are_those_of_the_cell_alone() -> None:
    image = painted(disc(20))
    pixels = image[disc(20)].astype(np.float64)
    cell = measured(image)
    for channel, name in enumerate(("red", "green", "blue")):
        assert cell[f"{name}_mean"] == pytest.approx(pixels[:, channel].mean())
        assert cell[f"{name}_sd"] == pytest.approx(pixels[:, channel].std())
    lab = rgb2lab(pixels / 255)
    for channel, name in enumerate(("lab_l", "lab_a", "lab_b")):
        assert cell[f"{name}_mean"] == pytest.approx(lab[:, channel].mean(), abs=0.1)
        assert cell[f"{name}_sd"] == pytest.approx(lab[:, channel].std(), abs=0.1)


def naive_glcm(grey: Any, mask: Any, distance: int, step: tuple[int, int]) -> npt.NDArray[np.int64]:
    counts = np.zeros((GREY_LEVELS, GREY_LEVELS), dtype=np.int64)
    levels = grey.astype(int) * GREY_LEVELS // 256
    for y, x in zip(*np.nonzero(mask), strict=True):
        other = (y + distance * step[0], x + distance * step[1])
        if 0 <= other[0] < mask.shape[0] and 0 <= other[1] < mask.shape[1] and mask[other]:
            counts[levels[y, x], levels[other]] += 1
            counts[levels[other], levels[y, x]] += 1
    return counts


def test_cooccurrence_equals_a_loop_over_the_cells_pixels() -> None:
    grey, mask = RNG.integers(0, 256, (24, 24)).astype(np.uint8), disc(9, 24)
    counts = glcm(grey, mask, (1, 2))  # two pixels aslant: skimage rounds three to two
    for i, step in enumerate(STEPS):
        np.testing.assert_array_equal(counts[:, :, 0, i], naive_glcm(grey, mask, 1, step))
    np.testing.assert_array_equal(counts[:, :, 1, 0], naive_glcm(grey, mask, 2, STEPS[0]))
    assert counts[:, :, 0].sum() < glcm(grey, np.ones_like(mask), (1,)).sum()


def test_texture_does_not_see_the_background() -> None:
    mask = disc(20)
    flat = np.where(mask[..., None], 80, 0).astype(np.uint8).repeat(3, axis=2)
    cell = measured(flat)
    for distance in DISTANCES_PX:
        assert cell[f"glcm_contrast_{distance}px"] == cell[f"glcm_entropy_{distance}px"] == 0
        assert cell[f"glcm_homogeneity_{distance}px"] == cell[f"glcm_asm_{distance}px"] == 1


def test_contrast_and_homogeneity_are_haralicks() -> None:
    image, mask = painted(disc(10, 24)), disc(10, 24)
    grey = np.round(image @ [0.299, 0.587, 0.114]).astype(np.uint8)
    i, j = np.indices((GREY_LEVELS, GREY_LEVELS))
    tables = [naive_glcm(grey, mask, 1, step) for step in STEPS]
    shares = [counts / counts.sum() for counts in tables]
    cell = measured(image)
    assert cell["glcm_contrast_1px"] == pytest.approx(
        np.mean([(p * (i - j) ** 2).sum() for p in shares]), rel=0.02
    )
    assert cell["glcm_homogeneity_1px"] == pytest.approx(
        np.mean([(p / (1 + (i - j) ** 2)).sum() for p in shares]), rel=0.02
    )


def test_black_images_and_single_pixels_have_finite_values() -> None:
    images = np.zeros((2, 16, 16, 3), dtype=np.uint8)
    images[1, 4, 4, 2] = 1
    black, pixel = morphology_features(images)
    assert (black == 0).all()
    assert np.isfinite(pixel).all()
    assert pixel[MORPHOLOGY_NAMES.index("area_px")] == 1


def test_rows_keep_the_order_of_the_images_across_processes() -> None:
    radii = RNG.integers(4, 15, 9 * CHUNK + 1)
    images = np.stack([painted(disc(radius, 32)) for radius in radii])
    areas = morphology_features(images)[:, MORPHOLOGY_NAMES.index("area_px")]
    np.testing.assert_array_equal(areas, [disc(radius, 32).sum() for radius in radii])


def test_other_images_are_refused() -> None:
    with pytest.raises(DataError, match=r"uint8 images \[n, H, W, 3\]; got float64 \(1, 8, 8, 3\)"):
        morphology_features(np.zeros((1, 8, 8, 3)))  # type: ignore[arg-type]


def test_names_are_unique_and_one_a_column() -> None:
    assert len(set(MORPHOLOGY_NAMES)) == len(MORPHOLOGY_NAMES) == 35
