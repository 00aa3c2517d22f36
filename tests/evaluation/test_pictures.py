from __future__ import annotations

import io

import matplotlib
import numpy as np
import pytest
from PIL import Image

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.attribution_figures import COLUMNS, error_grid_figure, mass_figure
from leukemia_lab.evaluation.pictures import COLOURS, LARGEST_BYTES, STRENGTH, jpeg, overlay


def test_an_empty_map_leaves_the_grey_cell() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    painted = overlay(image, np.zeros((20, 20)), 20)
    grey = np.asarray(Image.fromarray(image).convert("L"))
    np.testing.assert_array_equal(painted, np.repeat(grey[:, :, None], 3, axis=2))


def test_the_largest_value_has_the_last_colour() -> None:
    image = np.full((8, 8, 3), 100, dtype=np.uint8)
    scale = np.zeros((8, 8), dtype=np.float32)
    scale[2, 5] = 1e-4
    painted = overlay(image, scale, 8)
    top = np.array(matplotlib.colormaps[COLOURS](1.0)[:3]) * 255
    np.testing.assert_allclose(painted[2, 5], 100 + STRENGTH * (top - 100), atol=1)
    assert (painted[5, 2] == 100).all()
    assert overlay(image, scale, 32).shape == (32, 32, 3)
    with pytest.raises(RunError, match=r"map of shape \(4, 4\) does not fit"):
        overlay(image, scale[:4, :4], 8)


def test_a_jpeg_stays_small_and_is_the_same_every_time() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    smooth = np.repeat(np.linspace(0, 255, 160).astype(np.uint8)[:, None, None], 160, axis=1).repeat(
        3, axis=2
    )
    for image, tolerance in ((noise, 255), (smooth, 6)):
        data = jpeg(image)
        assert len(data) <= LARGEST_BYTES
        assert data == jpeg(image)
        decoded = np.asarray(Image.open(io.BytesIO(data))).astype(int)
        assert np.abs(decoded - image).max() <= tolerance


def test_error_grid_shows_each_cell_once() -> None:
    n_cells = COLUMNS + 3
    images = np.zeros((n_cells, 6, 6, 3), dtype=np.uint8)
    images[:] = np.arange(n_cells)[:, None, None, None]
    captions = [f"cell {place}" for place in range(n_cells)]
    figure = error_grid_figure({"cell": images, "attribution": 100 + images}, captions, "val [LEAKY]")
    assert [text.get_text() for text in figure.texts] == ["val [LEAKY]", *captions]
    assert [axes.get_ylabel() for axes in figure.axes] == ["cell", "attribution"] * 2
    shown = [np.asarray(axes.images[0].get_array())[0, ::6, 0] for axes in figure.axes]
    assert [list(row) for row in shown] == [
        list(range(8)),
        list(range(100, 108)),
        [8, 9, 10],
        [108, 109, 110],
    ]
    for column, text in enumerate(figure.texts[1 : COLUMNS + 1]):
        box = figure.axes[0].get_position()
        assert text.get_position()[0] == pytest.approx(box.x0 + (column + 0.5) * box.width / COLUMNS)
        assert text.get_position()[1] > box.y1
    with pytest.raises(RunError, match="stage 'input' has shape"):
        error_grid_figure({"cell": images, "input": images[:2]}, captions, "val")


def test_mass_figure_has_a_point_a_cell() -> None:
    mass, area = np.array([0.9, 0.1, 0.5]), np.array([0.2, 0.3, 0.4])
    axes = mass_figure(mass, area, np.array([True, False, True]), "val").axes[0]
    points = [np.asarray(group.get_offsets()).tolist() for group in axes.collections]
    assert points == [[[0.2, 0.9], [0.4, 0.5]], [[0.3, 0.1]]]
