"""Plots of counts: confusion matrix, who is in which part, and where the attribution lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leukemia_lab.errors import RunError
from leukemia_lab.plots.canvas import (
    SMALL,
    Floats,
    Ints,
    Margins,
    Panel,
    Sample,
    Scale,
    blank,
    counted,
    dash,
    in_style,
    key_above,
    nothing,
    numbers,
    series,
    shares,
    shortened,
)
from leukemia_lab.plots.svg import CHARACTER_WIDTH, FONT_SIZE, HALO, QUIET, SERIES, Plot, drawn

TINT = 0.4  # the strongest fill under text, which keeps its contrast in both themes
STEPS = 8  # of a tint
CELL = 62.0
FEW_NAMES = 8  # beyond it, the squares of a matrix are small and have counts only
HISTOGRAM_BINS = 20


@in_style
def confusion(matrix: Ints, class_names: Sequence[str], *, ident: str, title: str) -> Plot:
    """Counts and row percentages of a confusion matrix [K, K] whose rows are the true classes.

    A square's tint is its percentage of the row. Raises RunError where the matrix is not [K, K].
    """
    n_classes = len(class_names)
    if matrix.shape != (n_classes, n_classes):
        raise RunError(f"a confusion matrix of {n_classes} classes is square; its shape is {matrix.shape}.")
    total = int(matrix.sum())
    if total == 0:
        return nothing(ident, title, "no confusion matrix, as there is no cell")
    rows = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, rows, out=np.zeros(matrix.shape), where=rows > 0)
    small = n_classes > FEW_NAMES
    side = 30.0 if small else CELL if n_classes < 5 else 54.0
    below = [shortened(name, int(side / (CHARACTER_WIDTH * SMALL))) for name in class_names]
    beside = [shortened(name, 20) for name in class_names]
    left = 28 + CHARACTER_WIDTH * SMALL * max(len(name) for name in beside)
    places = Margins(left, 8, 8, 36)
    figure = blank(left + 8 + side * n_classes, 44 + side * n_classes)
    x = Scale(0, n_classes, [(k + 0.5, name) for k, name in enumerate(below)], "predicted", grid=False)
    y = Scale(n_classes, 0, [(k + 0.5, name) for k, name in enumerate(beside)], "true", grid=False)
    panel = Panel(figure, places, x, y)
    _tinted(panel, share)
    for row, column in np.ndindex(matrix.shape):
        count, percent = f"{matrix[row, column]:,}", f"{share[row, column]:.1%}"
        lift = 0 if small else 7 / side
        panel.text(column + 0.5, row + 0.5 - lift, count, ha="center", size=9 if small else FONT_SIZE)
        if not small:
            panel.text(column + 0.5, row + 0.5 + lift, percent, ha="center")
    right = int(np.trace(matrix))
    by_class = ", ".join(
        f"{name} {matrix[k, k]:,} of {rows[k, 0]:,}" for k, name in enumerate(class_names) if rows[k, 0]
    )
    return drawn(figure, ident, f"{title}: {right:,} of {counted(total, 'cell')} right: {by_class}.")


@in_style
def split_counts(
    cells: Ints, subjects: Ints, parts: Sequence[str], class_names: Sequence[str], *, ident: str, title: str
) -> Plot:
    """Cells and subjects by part and class: `cells` and `subjects` [P, K] as stacked bars with numbers."""
    if cells.sum() == 0:
        return nothing(ident, title, "no counts, as there is no cell")
    figure = blank(400, 56 + 30 * len(parts))
    for half, (counts, noun) in enumerate(((cells, "cells"), (subjects, "subjects"))):
        places = Margins(44 + 190 * half, 204 - 190 * half, 20, 36)
        labels = [(row, part) for row, part in enumerate(parts)] if half == 0 else []
        y = Scale(len(parts) - 0.4, -0.6, labels, grid=False)
        panel = Panel(
            figure, places, numbers(0, 1.05 * max(counts.sum(axis=1).max(), 1), noun, 3, whole=True), y
        )
        _stacks(panel, counts)
        if half == 0:
            key_above(panel, [Sample(name, series(k), "", "s") for k, name in enumerate(class_names)])
    facts = "; ".join(
        f"{part} "
        + ", ".join(
            f"{cells[row, k]:,} {name} cells of {counted(int(subjects[row, k]), 'subject')}"
            for k, name in enumerate(class_names)
        )
        for row, part in enumerate(parts)
    )
    return drawn(figure, ident, f"{title}: {facts}.")


@in_style
def attribution(mass: Floats, area: Floats | None = None, *, ident: str, title: str) -> Plot:
    """Shares of attribution mass on the cell [n] as a histogram, beside the shares of area of the cell [n].

    A net that looks at the cell has its mass well above the area. Values that are not finite are left out.
    """
    sets = [("mass on the cell", mass, 0)] + ([] if area is None else [("area of the cell", area, 1)])
    known = [(name, values[np.isfinite(values)], style) for name, values, style in sets]
    known = [row for row in known if len(row[1])]
    if not known:
        return nothing(ident, title, "no attribution, as no cell was explained")
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    heights = [np.histogram(values, edges)[0] for _, values, _ in known]
    figure = blank(320, 204)
    top = float(max(height.max() for height in heights)) * 1.06
    panel = Panel(
        figure, Margins(top=36), shares("share of the picture"), numbers(0, top, "cells", 4, whole=True)
    )
    samples, facts = [], []
    for (name, values, style), height in zip(known, heights, strict=True):
        outline = np.r_[0, np.repeat(height, 2), 0]
        panel.line(np.repeat(edges, 2), outline, SERIES[style], linestyle=dash(style))
        middle = float(np.median(values))
        panel.line([middle], [0.04], SERIES[style], on=panel.across, marker="^", markersize=8, linewidth=0)
        samples.append(Sample(f"{name}, median {middle:.2f}", SERIES[style], dash(style), "^"))
        facts.append(f"median {name} {middle:.2f} over {counted(len(values), 'cell')}")
    for row, sample in enumerate(samples):
        key_above(panel, [sample], 8 + 14 * (len(samples) - 1 - row))
    return drawn(figure, ident, f"{title}: {', '.join(facts)}.")


def _tinted(panel: Panel, share: Floats) -> None:
    """A square for each entry of [R, C] in 0 to 1, tinted by it in a few steps."""
    steps = np.rint(share * STEPS)
    panel.boxes(0, share.shape[1], 0, share.shape[0], QUIET, alpha=0.06)
    for step in np.unique(steps[steps > 0]):
        row, column = np.nonzero(steps == step)
        panel.boxes(column, column + 1, row, row + 1, SERIES[0], alpha=TINT * float(step) / STEPS)


def _stacks(panel: Panel, counts: Ints) -> None:
    ends = np.cumsum(counts, axis=1)
    starts = ends - counts
    rows = np.arange(len(counts))
    room = panel.width / max(ends.max(), 1)
    words = [[f"{count:,}" for count in row] for row in counts.tolist()]
    wide = [[CHARACTER_WIDTH * SMALL * len(word) + 6 for word in row] for row in words]
    fits = ((counts * room >= np.array(wide)) | (counts == 0)).all(axis=1)
    for k in range(counts.shape[1]):
        panel.boxes(starts[:, k], ends[:, k], rows - 0.36, rows + 0.36, series(k), alpha=TINT)
        panel.segments(
            np.c_[starts[:, k], starts[:, k]], np.c_[rows - 0.36, rows + 0.36], series(k), linewidth=3
        )
        for row in rows[fits & (counts[:, k] > 0)]:
            panel.text((starts[row, k] + ends[row, k]) / 2, row, words[row][k], ha="center")
    for row in rows[~fits]:
        panel.text(ends[row, -1] + 4 / room, row, " + ".join(words[row]), gid=HALO)
