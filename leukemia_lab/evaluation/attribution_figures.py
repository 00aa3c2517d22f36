"""Figures of the cells that a model got most wrong, and of where it looked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.figures import plain

CELL_INCHES = 1.3
CAPTION_INCHES = 0.42
COLUMNS = 8


def error_grid_figure(
    stages: Mapping[str, npt.NDArray[np.uint8]], captions: Sequence[str], title: str
) -> Figure:
    """Cells in rows of COLUMNS, the `stages` of each (uint8 [n, S, S, 3], all of one size) below each other.

    `captions` [n], of at most two lines, stand above the cells. Raises RunError where a stage has another shape than
    the rest.
    """
    n_cells, shape = len(captions), next(iter(stages.values())).shape
    for stage, images in stages.items():
        if images.shape != shape or shape[0] != n_cells or shape[3:] != (3,):
            raise RunError(
                f"stage {stage!r} has shape {images.shape}; it needs [{n_cells}, S, S, 3], as all."
            )
    columns = min(COLUMNS, n_cells)
    n_bands = -(-n_cells // columns)
    band_inches = CELL_INCHES * len(stages) + CAPTION_INCHES
    width, height = CELL_INCHES * columns + 0.3, band_inches * n_bands + 0.3
    figure = Figure(figsize=(max(width, 3.5), height))
    FigureCanvasAgg(figure)
    figure.text(0.01, 1 - 0.06 / height, title, va="top", fontsize=9)
    for band in range(n_bands):
        cells = slice(band * columns, (band + 1) * columns)
        top = 0.3 + band * band_inches + CAPTION_INCHES
        # one image a row, where an axes for each cell would take seconds
        for row, (stage, images) in enumerate(stages.items()):
            strip = np.concatenate(list(images[cells]), axis=1)
            bottom = height - top - (row + 1) * CELL_INCHES
            place = (0.3, bottom, CELL_INCHES * len(images[cells]), CELL_INCHES)
            axes = figure.add_axes(_share(place, figure))
            axes.imshow(strip, aspect="auto")
            axes.set(xticks=[], yticks=[])
            axes.set_ylabel(stage, fontsize=7)
        for column, caption in enumerate(captions[cells]):
            x, y = 0.3 + (column + 0.5) * CELL_INCHES, height - top + 0.04
            left, low = _share((x, y, 0, 0), figure)[:2]
            figure.text(left, low, plain(caption), ha="center", va="bottom", fontsize=7)
    return figure


def mass_figure(
    mass: npt.NDArray[np.floating], area: npt.NDArray[np.floating], correct: npt.NDArray[np.bool_], title: str
) -> Figure:
    """Share of the attribution's mass on the cell against the cell's share of the image, a point a cell [n].

    On the diagonal lies a map that knows nothing of the cell, below it one that prefers the background.
    """
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="as a uniform map")
    for chosen, marker, label in ((correct, "o", "predicted right"), (~correct, "x", "predicted wrong")):
        if chosen.any():
            axes.scatter(area[chosen], mass[chosen], marker=marker, s=22, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal", title=title)
    axes.set(xlabel="cell's share of the image", ylabel="share of the attribution on the cell")
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    return figure


def _share(place: tuple[float, float, float, float], figure: Figure) -> tuple[float, float, float, float]:
    """Left, bottom, width and height in inches as shares of the figure."""
    width, height = figure.get_size_inches()
    return place[0] / width, place[1] / height, place[2] / width, place[3] / height
