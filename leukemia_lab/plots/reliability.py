"""The reliability diagram: what was said to be so probable, and how often it happened."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from leukemia_lab.evaluation.metrics import ECE_BINS
from leukemia_lab.plots.canvas import (
    Floats,
    Margins,
    Panel,
    Sample,
    blank,
    counted,
    dash,
    in_style,
    key,
    marker,
    nothing,
    numbers,
    shares,
)
from leukemia_lab.plots.svg import QUIET, SERIES, Plot, drawn

BEFORE, AFTER = (SERIES[1], 1), (SERIES[0], 0)


class Forecasts(NamedTuple):
    """Probabilities `said` [n] and whether the event `happened` [n]; by bin (15) an interval where known.

    For the calibration of the prediction (ECE) these are its highest probability and whether it is right.
    """

    said: Floats
    happened: npt.NDArray[np.bool_]
    low: Floats | None = None
    high: Floats | None = None


@in_style
def reliability(
    before: Forecasts,
    after: Forecasts | None = None,
    *,
    ident: str,
    title: str,
    said: str = "confidence",
    happened: str = "accuracy",
) -> Plot:
    """How often it happens where it is said to be so probable, over the bins of `ece`, with counts below.

    `said` and `happened` are the words at the panel. Bins without cells have no mark; cells without a finite
    probability are left out.
    """
    sets = [before] if after is None else [before, after]
    if not any(np.isfinite(forecasts.said).any() for forecasts in sets):
        return nothing(ident, title, "no reliability diagram, as there is no cell")
    bins = [binned(forecasts) for forecasts in sets]
    figure = blank(290, 320)
    upper = Panel(figure, Margins(bottom=92), shares()._replace(ticks=()), shares(happened))
    most = max(counts.max() for counts, _, _ in bins)
    lower = Panel(figure, Margins(top=240), shares(said), numbers(0, 1.05 * most, "cells", 2, whole=True))
    upper.line([0, 1], [0, 1], QUIET, linewidth=1, linestyle=dash(1))
    samples, facts = [], []
    looks = zip(sets, bins, ("as trained", "calibrated"), (BEFORE, AFTER), strict=False)
    for forecasts, (counts, mean_said, rate), name, (colour, style) in looks:
        if not counts.sum():
            continue
        _line(upper, forecasts, mean_said, rate, colour, style)
        edges = np.linspace(0, 1, ECE_BINS + 1)
        lower.line(np.repeat(edges, 2), np.r_[0, np.repeat(counts, 2), 0], colour, linestyle=dash(style))
        error = float(np.nansum(counts * np.abs(rate - mean_said)) / counts.sum())
        samples.append(Sample(f"{name}: ECE {error:.3f}", colour, dash(style), marker(style)))
        facts.append(f"ECE {error:.3f} {name}")
    key(upper, [*samples, Sample("perfect", QUIET, dash(1))], "upper left")
    n_cells = int(np.isfinite(before.said).sum())
    return drawn(figure, ident, f"{title}: {', '.join(facts)}, over {counted(n_cells, 'cell')}.")


def binned(forecasts: Forecasts) -> tuple[Floats, Floats, Floats]:
    """By bin of ECE ((m - 1) / 15, m / 15]: cells, mean probability, share that happened; NaN without cells."""
    usable = np.isfinite(forecasts.said)
    said, happened = forecasts.said[usable], forecasts.happened[usable]
    bins = np.maximum(np.ceil(np.round(said * ECE_BINS, 9)).astype(int) - 1, 0)
    counts, sums, hits = (
        np.bincount(bins, weights=weights, minlength=ECE_BINS).astype(float)
        for weights in (None, said, happened)
    )
    with np.errstate(invalid="ignore"):
        return counts, sums / counts, hits / counts


def _line(panel: Panel, forecasts: Forecasts, said: Floats, rate: Floats, colour: str, style: int) -> None:
    filled = np.isfinite(rate)
    x, y = said[filled], rate[filled]
    panel.line(x, y, colour, linestyle=dash(style), marker=marker(style), markersize=5)
    if forecasts.low is not None and forecasts.high is not None:
        panel.segments(np.c_[x, x], np.c_[forecasts.low, forecasts.high][filled], colour, linewidth=1)
