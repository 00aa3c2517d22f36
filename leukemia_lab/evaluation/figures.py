"""Figures drawn from counts, predictions and pixels, with no display and no global state of pyplot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score, roc_curve

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.metrics import positive_index

CELL_INCHES = 1.5


def plain(text: str) -> str:
    """Text as it is for matplotlib, which takes what stands between two dollar signs for a formula."""
    return text.replace("$", r"\$")


def confusion_figure(matrix: npt.NDArray[np.int64], class_names: Sequence[str], title: str) -> Figure:
    """Counts and row percentages of a confusion matrix [K, K] whose rows are the true classes.

    A row's colour is its percentage, so that the larger class does not outshine the other.
    """
    n_classes = len(class_names)
    if matrix.shape != (n_classes, n_classes):
        raise RunError(f"a confusion matrix of {n_classes} classes is square; its shape is {matrix.shape}.")
    totals = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    figure, axes = _figure(1.3 * n_classes + 2, 1.2 * n_classes + 1.4)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(matrix.shape):
        text = f"{matrix[row, column]:,}\n{share[row, column]:.1%}"
        colour = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour)
    labels = list(map(plain, class_names))
    axes.set_xticks(range(n_classes), labels)
    axes.set_yticks(range(n_classes), labels)
    axes.set(title=title, xlabel="predicted", ylabel="true")
    return figure


def roc_figure(table: pd.DataFrame, class_names: Sequence[str], positive: str | None, title: str) -> Figure:
    """Receiver operating characteristic of the positive class, or of each class against the rest.

    `table` is a predictions table of one part; a class without cells of its own, or of others, is left out.
    """
    figure, axes = _figure(4.5, 4.5)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle="--")
    at = positive_index(class_names, positive)
    for name in class_names if at is None else [class_names[at]]:
        is_class = table["label"].to_numpy() == name
        if not 0 < is_class.sum() < len(table):
            continue
        score = table[f"prob_{name}"].to_numpy()
        false_alarms, hits, _ = roc_curve(is_class, score)
        axes.plot(false_alarms, hits, label=f"{plain(name)}: AUROC {roc_auc_score(is_class, score):.3f}")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower right", frameon=False)
    axes.set(title=title, xlabel="1 − specificity", ylabel="sensitivity", aspect="equal")
    return figure


def cell_grid_figure(rows: Mapping[str, npt.NDArray[np.floating]], captions: Sequence[str]) -> Figure:
    """The same n cells at several stages: a row of images [n, H, W, 3] in 0 to 1 for each stage.

    `captions` [n] stand above the columns. Raises RunError where a stage has another number of cells, or
    no colour channel.
    """
    n_cells = len(captions)
    for stage, images in rows.items():
        if images.ndim != 4 or images.shape[0] != n_cells or images.shape[3] != 3:
            wanted = f"[{n_cells}, H, W, 3]"
            raise RunError(f"stage {stage!r} of the cell grid has shape {images.shape}; it needs {wanted}.")
    figure = Figure(figsize=(CELL_INCHES * n_cells + 0.6, (CELL_INCHES + 0.1) * len(rows) + 0.3))
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    grid = figure.subplots(len(rows), n_cells, squeeze=False)
    for axes_row, (stage, images) in zip(grid, rows.items(), strict=True):
        axes_row[0].set_ylabel(stage)
        for axes, image in zip(axes_row, images, strict=True):
            axes.imshow(np.clip(image, 0, 1), interpolation="nearest")
            axes.set(xticks=[], yticks=[])
    for axes, caption in zip(grid[0], captions, strict=True):
        axes.set_title(plain(caption), fontsize=8)
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()
