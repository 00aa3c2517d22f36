"""Every metric as a function of how much each group weighs: what leaving out and drawing again have in common.

Leaving a group out gives it the weight 0, a bootstrap sample the number of times that it was drawn.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from leukemia_lab.evaluation.metrics import ECE_BINS, METRICS, Floats, Ints, confidence_bins, rates
from leukemia_lab.evaluation.outcomes import Outcomes, counted

CHUNK_ELEMENTS = 200_000  # of the arrays at work: these stay in a processor's cache


def weighted_metrics(outcomes: Outcomes, weights: Floats) -> dict[str, Floats]:
    """All `METRICS` [B] with each cell counted as often as its group weighs in `weights` [B, G]; NaN where undefined.

    The definitions are those of `metric_values`, which weights of 1 reproduce. Exact, ties included.
    """
    matrices = _confusions(outcomes, weights)
    by_class = rates(matrices) | _areas(outcomes, weights)
    positive = outcomes.positive
    n_cells = matrices.sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        values = {
            name: of.mean(axis=1) if positive is None else of[:, positive] for name, of in by_class.items()
        }
        true = matrices.sum(axis=2)
        values |= {
            "accuracy": np.einsum("bkk->b", matrices) / n_cells,
            "balanced_accuracy": by_class["sensitivity"].mean(axis=1),
            "weighted_f1": (np.nan_to_num(by_class["f1"]) * true).sum(axis=1) / n_cells,
            "mcc": _matthews(matrices),
            "ece": np.abs(weights @ _confidence_gaps(outcomes)).sum(axis=1) / n_cells,
            "brier": weights @ _squares(outcomes) / n_cells,
        }
    return {name: values[name] for name in METRICS}


def leave_one_out(outcomes: Outcomes) -> dict[str, tuple[float, Floats]]:
    """By metric its value on all cells, and without each group in turn [G]."""
    whole = weighted_metrics(outcomes, np.ones((1, outcomes.n_groups)))
    found = [weighted_metrics(outcomes, weights) for weights in without_each(outcomes.n_groups)]
    without = {name: np.concatenate([values[name] for values in found]) for name in METRICS}
    return {name: (float(whole[name][0]), without[name]) for name in METRICS}


def without_each(n_groups: int) -> Iterator[Floats]:
    """Weights [b, G] that leave out one group each, all G of them in turn, in pieces of at most CHUNK_ELEMENTS."""
    size = max(1, CHUNK_ELEMENTS // n_groups)
    for start in range(0, n_groups, size):
        left_out = np.arange(start, min(start + size, n_groups))
        weights = np.ones((len(left_out), n_groups))
        weights[np.arange(len(left_out)), left_out] = 0
        yield weights


def bootstrap_weights(outcomes: Outcomes, n_resamples: int, seed: int) -> Floats:
    """How often each group is drawn [n_resamples, G]: with replacement, each class as many groups as it has."""
    return draw_groups(outcomes.strata, n_resamples, seed)


def draw_groups(strata: Ints, n_resamples: int, seed: int) -> Floats:
    """`bootstrap_weights` of groups whose classes are `strata` [G]."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((n_resamples, len(strata)))
    for stratum in np.unique(strata):
        own = np.flatnonzero(strata == stratum)
        weights[:, own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=n_resamples)
    return weights


def ranked_areas(
    positive: npt.NDArray[np.bool_], scores: Floats, groups: Ints, weights: Floats
) -> tuple[Floats, Floats]:
    """Area under the ROC curve and average precision [B], by weights of groups [B, G]; NaN where a class is empty."""
    order = np.argsort(-scores, kind="stable")
    is_positive = positive[order]
    ranks = _Ranks(-scores[order][is_positive], -scores[order][~is_positive])
    of_positive, of_negative = groups[order][is_positive], groups[order][~is_positive]
    parts = []
    for chunk in _chunks(weights, len(scores)):
        by_group = np.ascontiguousarray(chunk.T)  # taking whole rows is several times faster than columns
        parts.append(ranks.areas(by_group[of_positive], by_group[of_negative]))
    areas, precisions = (np.concatenate(part) for part in zip(*parts, strict=True))
    return areas, precisions


class _Ranks:
    """Where the positive cells stand among all, given what each class is ordered by, ascending [m] and [k]."""

    def __init__(self, positives: Floats, negatives: Floats) -> None:
        self.last = np.searchsorted(positives, positives, side="right") - 1  # of the positives that are equal
        self.n_before = np.searchsorted(negatives, positives, side="left")
        self.n_upto = np.searchsorted(negatives, positives, side="right")
        self.ties = bool((self.last != np.arange(len(positives))).any())
        self.ties_across = bool((self.n_before != self.n_upto).any())

    def areas(self, of_positive: Floats, of_negative: Floats) -> tuple[Floats, Floats]:
        """Both areas [b] by the weights of the positive [m, b] and of the negative cells [k, b], in that order."""
        hits = np.cumsum(of_positive, axis=0)
        alarms = np.concatenate([np.zeros((1, hits.shape[1])), np.cumsum(of_negative, axis=0)])
        n_positive, n_negative = of_positive.sum(axis=0), alarms[-1]
        upto = alarms[self.n_upto]
        above = (upto + alarms[self.n_before]) / 2 if self.ties_across else upto
        hits = hits[self.last] if self.ties else hits
        with np.errstate(invalid="ignore", divide="ignore"):
            area = 1 - np.einsum("mb,mb->b", of_positive, above) / (n_positive * n_negative)
            precision = hits / np.maximum(
                hits + upto, np.finfo(np.float64).tiny
            )  # 0 where nothing has weight yet
            average = np.einsum("mb,mb->b", of_positive, precision) / n_positive
        average[n_negative == 0] = np.nan
        return area, average


def _areas(outcomes: Outcomes, weights: Floats) -> dict[str, Floats]:
    """AUROC and AUPRC of each class against the rest [B, K]; of classes that no metric asks for, NaN."""
    areas = np.full((2, len(weights), outcomes.n_classes), np.nan)
    for k in range(outcomes.n_classes) if outcomes.positive is None else [outcomes.positive]:
        areas[0, :, k], areas[1, :, k] = ranked_areas(
            outcomes.truth == k, outcomes.probs[:, k], outcomes.groups, weights
        )
    return {"auroc": areas[0], "auprc": areas[1]}


def _confusions(outcomes: Outcomes, weights: Floats) -> Floats:
    """Confusion matrices [B, K, K], rows the true classes."""
    k = outcomes.n_classes
    counts = counted(outcomes.groups, outcomes.truth * k + outcomes.predicted, outcomes.n_groups, k * k)
    return (weights @ counts).reshape(-1, k, k)


def _matthews(matrices: Floats) -> Floats:
    """Matthews' correlation of K classes (Gorodkin 2004): 0 where one class is predicted, NaN where one is true."""
    hits, n_cells = np.einsum("bkk->b", matrices), matrices.sum(axis=(1, 2))
    true, predicted = matrices.sum(axis=2), matrices.sum(axis=1)
    covariance = hits * n_cells - (true * predicted).sum(axis=1)
    spread_true, spread_predicted = (n_cells**2 - (count**2).sum(axis=1) for count in (true, predicted))
    scale = np.sqrt(spread_true * spread_predicted)
    values: Floats = np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0)
    values[spread_true == 0] = np.nan
    return values


def _confidence_gaps(outcomes: Outcomes) -> Floats:
    """By group and bin of confidence the sum of (correct - confidence) [G, bins]."""
    confidence = outcomes.probs.max(axis=1)
    correct = outcomes.predicted == outcomes.truth
    gaps = correct - confidence
    return counted(outcomes.groups, confidence_bins(confidence), outcomes.n_groups, ECE_BINS, gaps)


def _squares(outcomes: Outcomes) -> Floats:
    """By group the sum of what the Brier score is the mean of [G]."""
    squares = (outcomes.probs - np.eye(outcomes.n_classes)[outcomes.truth]) ** 2
    of_cell = squares.sum(axis=1) if outcomes.positive is None else squares[:, outcomes.positive]
    return np.bincount(outcomes.groups, of_cell, minlength=outcomes.n_groups).astype(np.float64)


def _chunks(weights: Floats, n_cells: int) -> Iterator[Floats]:
    size = max(1, CHUNK_ELEMENTS // n_cells)
    for start in range(0, len(weights), size):
        yield weights[start : start + size]
