"""The curves of training, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from leukemia_lab.plots.canvas import (
    Floats,
    Margins,
    Panel,
    Sample,
    Scale,
    blank,
    counted,
    dash,
    in_style,
    key_above,
    marker,
    nothing,
    number,
    numbers,
)
from leukemia_lab.plots.svg import HALO, QUIET, SERIES, Plot, drawn

FEW_EPOCHS = 20  # with markers
# By half of the plot its column of history.csv, the words for it, and its series.
HALVES: dict[str, list[tuple[str, str, int]]] = {
    "loss": [("train/loss", "training", 1), ("val/loss", "validation", 0)],
    "validation": [("val/auroc", "AUROC", 0), ("val/balanced_accuracy", "balanced accuracy", 2)],
}


@in_style
def training_curves(
    history: Mapping[str, Sequence[float]], *, ident: str, title: str, best_epoch: int | None = None
) -> Plot:
    """Losses and validation metrics by epoch, from the columns of `history.csv`; the best epoch is marked.

    Columns drawn where they are there: train/loss, val/loss, val/auroc, val/balanced_accuracy. `epoch` counts
    from 0. Gaps are drawn where a value is NaN.
    """
    epochs = np.asarray(history.get("epoch", ()), dtype=float)
    known = {name: np.asarray(values, dtype=float) for name, values in history.items() if "/" in name}
    if not len(epochs) or not any(column in known for half in HALVES.values() for column, _, _ in half):
        return nothing(ident, title, "no curve, as no epoch was logged")
    figure = blank(440, 176)
    facts = []
    for half, (label, columns) in enumerate(HALVES.items()):
        shown = [
            (known[column], name, style)
            for column, name, style in columns
            if column in known and np.isfinite(known[column]).any()
        ]
        place = Margins(40 + 222 * half, 230 - 222 * half, 20, 34)
        panel = _panel(figure, place, epochs, [values for values, _, _ in shown], label)
        _mark(panel, epochs, best_epoch, (0.95, 0.05)[half])
        samples = []
        for values, name, style in shown:
            mark = marker(style) if len(epochs) <= FEW_EPOCHS else ""
            panel.line(epochs, values, SERIES[style], linestyle=dash(style), marker=mark, markersize=4)
            samples.append(Sample(name, SERIES[style], dash(style), mark))
            facts.append(_fact(name if half else f"{name} loss", epochs, values, best_epoch))
        key_above(panel, samples)
    return drawn(figure, ident, f"{title}, {counted(len(epochs), 'epoch')}: {'; '.join(facts)}.")


def _panel(figure: Figure, place: Margins, epochs: Floats, values: Sequence[Floats], label: str) -> Panel:
    room = max(0.03 * (epochs.max() - epochs.min()), 0.3)
    x = numbers(epochs.min() - room, epochs.max() + room, "epoch", whole=True)
    if not values:
        return Panel(figure, place, x, Scale(0, 1, (), label))
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    spare = max(0.06 * (high - low), 0.01)
    return Panel(figure, place, x, numbers(low - spare, high + spare, label, 4))


def _mark(panel: Panel, epochs: Floats, best_epoch: int | None, height: float) -> None:
    if best_epoch is None:
        return
    panel.line([best_epoch] * 2, [0, 1], QUIET, linewidth=1, linestyle=dash(2), on=panel.across)
    left = best_epoch <= epochs.mean()
    words = f" best: {best_epoch}" if left else f"best: {best_epoch} "
    panel.text(best_epoch, height, words, ha="left" if left else "right", on=panel.across, gid=HALO)


def _fact(name: str, epochs: Floats, values: Floats, best_epoch: int | None) -> str:
    last = values[np.isfinite(values)][-1]
    at_best = values[epochs == best_epoch] if best_epoch is not None else values[:0]
    best = f", {number(at_best[0])} at the best epoch {best_epoch}" if len(at_best) else ""
    return f"{name} {number(last)} at the end{best}"
