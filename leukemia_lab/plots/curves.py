"""Plots of ranked predictions: ROC, precision and recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.path import Path
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from leukemia_lab.plots.canvas import (
    SMALL,
    Floats,
    Ints,
    Margins,
    Panel,
    Sample,
    blank,
    counted,
    dash,
    in_style,
    key,
    nothing,
    series,
    shares,
    shortened,
)
from leukemia_lab.plots.svg import CHARACTER_WIDTH, INK, PAPER, QUIET, Plot, drawn

SQUARE = 260.0


class Band(NamedTuple):
    """A pointwise interval around a curve: `low` and `high` over `grid`, all [points], in 0 to 1."""

    grid: Floats
    low: Floats
    high: Floats


@in_style
def roc(
    truth: Ints,
    probs: Floats,
    class_names: Sequence[str],
    positive: int | None,
    *,
    ident: str,
    title: str,
    threshold: float | None = None,
    band: Band | None = None,
) -> Plot:
    """Receiver operating characteristic of the positive class, else of each class against the rest.

    Args:
        truth: class indices [n].
        probs: probabilities [n, K]; cells without a finite one are left out.
        class_names: K names.
        positive: index of the positive class, None for each against the rest.
        ident: begins the ids of the plot; unique on its page.
        title: what the plot is of; the sentence on it begins so.
        threshold: of the positive class's probability; the point where it is reached or exceeded is marked.
        band: of sensitivity over 1 - specificity.
    """
    curves, left_out = _by_class(truth, probs, positive)
    if not curves:
        return nothing(ident, title, "no ROC curve, as no class has cells of its own and of others")
    panel = _unit_square("1 − specificity", "sensitivity", class_names if positive is None else ())
    panel.line([0, 1], [0, 1], QUIET, linewidth=1, linestyle=dash(1))
    _shade(panel, band)
    samples, facts = [], []
    for k, is_class, score in curves:
        false_alarms, hits, _ = roc_curve(is_class, score)
        area = auc(false_alarms, hits)
        samples.append(_sample(k, f"{_short(class_names[k])}: AUROC {area:.3f}", positive))
        panel.line(false_alarms, hits, samples[-1].colour, linestyle=samples[-1].line)
        facts.append(f"{class_names[k]} {area:.3f}")
    words = f"AUROC {', '.join(facts)} on {counted(len(curves[0][1]), 'cell')}"
    if threshold is not None and positive is not None:
        words += _roc_point(panel, samples, *curves[0][1:], threshold)
    key(panel, [*samples, Sample("chance", QUIET, dash(1))], "outside" if positive is None else "lower right")
    return drawn(panel.figure, ident, f"{title}: {words}{_omitted(left_out)}.")


@in_style
def precision_recall(
    truth: Ints,
    probs: Floats,
    class_names: Sequence[str],
    positive: int | None,
    *,
    ident: str,
    title: str,
    threshold: float | None = None,
    band: Band | None = None,
) -> Plot:
    """Precision over recall (sensitivity) as for `roc`; the baseline is the share of the class.

    With several classes against the rest, each share is written beside its name. `band` is of precision
    over recall.
    """
    curves, left_out = _by_class(truth, probs, positive)
    if not curves:
        return nothing(ident, title, "no curve, as no class has cells of its own and of others")
    panel = _unit_square("recall (sensitivity)", "precision", class_names if positive is None else ())
    _shade(panel, band)
    samples, facts = [], []
    for k, is_class, score in curves:
        precision, recall, _ = precision_recall_curve(is_class, score)
        area, share = average_precision_score(is_class, score), is_class.mean()
        if positive is not None:
            panel.line([0, 1], [share, share], QUIET, linewidth=1, linestyle=dash(1))
        of = "" if positive is not None else f", share {share:.2f}"
        samples.append(_sample(k, f"{_short(class_names[k])}: AUPRC {area:.3f}{of}", positive))
        panel.line(recall, precision, samples[-1].colour, linestyle=samples[-1].line, drawstyle="steps-post")
        facts.append(f"{class_names[k]} {area:.3f} where its share is {share:.3f}")
    words = f"AUPRC {', '.join(facts)}, on {counted(len(curves[0][1]), 'cell')}"
    if positive is not None:
        if threshold is not None:
            words += _precision_point(panel, samples, *curves[0][1:], threshold)
        share = curves[0][1].mean()
        samples.append(Sample(f"share of {_short(class_names[positive])}: {share:.2f}", QUIET, dash(1)))
    key(panel, samples, "outside" if positive is None else "lower left")
    return drawn(panel.figure, ident, f"{title}: {words}{_omitted(left_out)}.")


def _roc_point(
    panel: Panel, samples: list[Sample], is_class: npt.NDArray[np.bool_], score: Floats, threshold: float
) -> str:
    hit, miss = np.mean(score[is_class] >= threshold), np.mean(score[~is_class] >= threshold)
    samples.append(_point(panel, float(miss), float(hit), threshold))
    return f"; at threshold {threshold:.2f} sensitivity {hit:.3f}, specificity {1 - miss:.3f}"


def _precision_point(
    panel: Panel, samples: list[Sample], is_class: npt.NDArray[np.bool_], score: Floats, threshold: float
) -> str:
    taken = score >= threshold
    if not taken.any():
        return f"; no cell reaches the threshold {threshold:.2f}"
    precise, hit = float(is_class[taken].mean()), float(taken[is_class].mean())
    samples.append(_point(panel, hit, precise, threshold))
    return f"; at threshold {threshold:.2f} precision {precise:.3f}, recall {hit:.3f}"


def _by_class(
    truth: Ints, probs: Floats, positive: int | None
) -> tuple[list[tuple[int, npt.NDArray[np.bool_], Floats]], int]:
    """(class, is it, score) for each class to draw, and the number of cells without a finite probability."""
    usable = np.isfinite(probs).all(axis=1)
    truth, probs = truth[usable], probs[usable]
    classes = range(probs.shape[1]) if positive is None else [positive]
    found = [(k, truth == k, probs[:, k]) for k in classes if 0 < (truth == k).sum() < len(truth)]
    return found, int((~usable).sum())


def _unit_square(x_name: str, y_name: str, beside: Sequence[str]) -> Panel:
    """A square panel, with room at its right for a key of many classes."""
    longest = max((len(_short(name)) for name in beside), default=0)
    room = 40 + CHARACTER_WIDTH * SMALL * (longest + len(": AUROC 0.000, share 0.00")) if beside else 10.0
    figure = blank(SQUARE + room, SQUARE)
    return Panel(figure, Margins(right=room), shares(x_name), shares(y_name))


def _short(name: str) -> str:
    return shortened(name, 16)


def _shade(panel: Panel, band: Band | None) -> None:
    if band is not None:
        ring = np.r_[np.c_[band.grid, band.low], np.c_[band.grid, band.high][::-1]]
        panel.shape(Path(ring, closed=False), series(0), 0.2)


def _point(panel: Panel, x: float, y: float, threshold: float) -> Sample:
    panel.line([x], [y], INK, marker="o", markersize=7, markeredgecolor=PAPER, linewidth=0)
    return Sample(f"threshold {threshold:.2f}", INK, "", "o")


def _sample(k: int, words: str, positive: int | None) -> Sample:
    return Sample(words, series(k if positive is None else 0), dash(k) if positive is None else "-")


def _omitted(n_cells: int) -> str:
    return f" ({counted(n_cells, 'cell')} without a probability left out)" if n_cells else ""
