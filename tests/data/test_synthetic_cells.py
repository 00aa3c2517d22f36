"""One drawn cell: a single solid piece, and the parts it is made of."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from leukemia_lab.data import synthetic_cells
from leukemia_lab.data.synthetic_cells import SubjectLook, draw_cell

AVERAGE = SubjectLook(side=0, brightness=0, hue=0, blur=0, contrast=0, grain=0, lace=0)


def assert_one_solid_cell(image: np.ndarray) -> None:
    foreground = image.max(axis=2) > 0
    assert image.shape == (450, 450, 3)
    assert image[foreground].min() >= 1
    assert ndimage.label(foreground)[1] == 1
    np.testing.assert_array_equal(foreground, ndimage.binary_fill_holes(foreground))


def test_smears_leave_one_solid_cell_and_some_reach_the_border(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic_cells, "SMEAR_RATE", 1.0)
    images = [draw_cell(("all", "hem")[i % 2], AVERAGE, np.random.default_rng(i)) for i in range(60)]
    for image in images:
        assert_one_solid_cell(image)
    at_border = [image[[0, -1]].any() or image[:, [0, -1]].any() for image in images]
    assert 1 <= sum(at_border) <= 20


def test_largest_piece_is_kept_and_its_holes_are_filled() -> None:
    mask = np.zeros((12, 12), np.uint8)
    mask[1:8, 1:8] = 1
    mask[3, 3] = 0  # a hole
    mask[8:11, 8:11] = 1  # meets the large piece at a corner only
    expected = np.zeros_like(mask)
    expected[1:8, 1:8] = 1
    np.testing.assert_array_equal(synthetic_cells._one_solid_piece(mask), expected)


def test_noise_has_unit_variance_and_the_asked_scale() -> None:
    field = synthetic_cells._noise(8.0, (400, 300), np.random.default_rng(0))
    assert field.shape == (400, 300)
    assert field.mean() == pytest.approx(0, abs=1e-3)
    assert field.std() == pytest.approx(1, abs=1e-3)
    # White noise blurred with sd s is correlated as exp(-d^2 / 4 s^2): exp(-1/4) at d = s.
    assert np.corrcoef(field[8:].ravel(), field[:-8].ravel())[0, 1] == pytest.approx(np.exp(-0.25), abs=0.06)
