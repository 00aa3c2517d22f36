"""How far probabilities can be believed: scores, the decomposition of the Brier score, the reliability diagram."""

from __future__ import annotations

from typing import NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student_t

from leukemia_lab.evaluation.metrics import ECE_BINS, confidence_bins, expected_calibration_error
from leukemia_lab.evaluation.uncertainty import wilson

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Decomposition(NamedTuple):
    """Of a Brier score, which is reliability - resolution + uncertainty + within_bin."""

    reliability: float
    resolution: float
    uncertainty: float
    within_bin: float


class ReliabilityBin(TypedDict):
    """One bar of a reliability diagram: the bin (low, high], its cells, and what came of them.

    `confidence` is the mean probability and `accuracy` the share of cells for which it was right;
    `accuracy_low` and `accuracy_high` bound the latter.
    """

    low: float
    high: float
    n: int
    n_groups: int | None
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


def calibration_scores(truth: Ints, probs: Floats, positive: int | None) -> dict[str, float]:
    """Scores of class indices [n] and probabilities [n, K]; all are better the lower, but resolution.

    `ece` and `brier` are those of `metrics.metric_values`. `log_loss` is the mean of -log p of the true class,
    p not below the float64 epsilon (as in scikit-learn). `classwise_ece`: the mean over the classes of each
    one's gap between probability and share, in the bins of `ece` (Kull et al. 2019). `reliability`,
    `resolution`, `uncertainty`, `within_bin`: see `brier_decomposition`; with a `positive` class of its
    probability alone, otherwise summed over the classes, as `brier` is.
    """
    hot = np.eye(probs.shape[1])[truth]
    gaps = [_mean_gap(probs[:, k], hot[:, k]) for k in range(probs.shape[1])]
    judged = range(probs.shape[1]) if positive is None else [positive]
    terms = [brier_decomposition(hot[:, k] == 1, probs[:, k]) for k in judged]
    prob_true = probs[np.arange(len(truth)), truth]
    return {
        "ece": expected_calibration_error(probs.argmax(axis=1) == truth, probs.max(axis=1)),
        "classwise_ece": float(np.mean(gaps)),
        "brier": float(sum(np.mean((probs[:, k] - hot[:, k]) ** 2) for k in judged)),
        "log_loss": float(-np.log(np.clip(prob_true, np.finfo(np.float64).eps, 1)).mean()) + 0.0,  # no -0
        **{name: float(sum(getattr(term, name) for term in terms)) for name in Decomposition._fields},
    }


def brier_decomposition(happened: Bools, prob: Floats, bins: int = ECE_BINS) -> Decomposition:
    """The parts of mean((prob - happened)^2), of [n] events and their probabilities, in bins of equal width.

    Murphy (1973): reliability is the mean squared gap of mean probability and share in a bin, resolution the
    variance of the shares between bins, uncertainty s (1 - s) of the overall share s. Probabilities also differ
    within a bin: `within_bin` is their variance less twice their covariance with the event there
    (Stephenson et al. 2008), with which the sum is the score itself.
    """
    at = confidence_bins(prob, bins)
    n = np.bincount(at, minlength=bins)
    filled = np.maximum(n, 1)
    mean_prob = np.bincount(at, prob, minlength=bins) / filled
    share = np.bincount(at, happened, minlength=bins) / filled
    weight, overall = n / len(prob), happened.mean()
    from_mean = prob - mean_prob[at]
    return Decomposition(
        reliability=float((weight * (mean_prob - share) ** 2).sum()),
        resolution=float((weight * (share - overall) ** 2).sum()),
        uncertainty=float(overall * (1 - overall)),
        within_bin=float(np.mean(from_mean**2) - 2 * np.mean(from_mean * (happened - share[at]))),
    )


def reliability_table(
    truth: Ints,
    probs: Floats,
    positive: int | None,
    bins: int = ECE_BINS,
    groups: Ints | None = None,
    level: float = 0.95,
) -> list[ReliabilityBin]:
    """The filled bins of a reliability diagram, of class indices [n] and probabilities [n, K], lowest first.

    With a `positive` class: its probability, and the share of cells that are of it; otherwise the highest
    probability, and the share of cells for which its class is right (the bins of `ece`).

    The bounds are Wilson's (1927). With `groups` [n] of the cells the number of cells is first divided by the
    design effect, from the variance of the share between groups, and Student's quantile with groups - 1 degrees
    of freedom is taken (as Korn & Graubard 1998); where the groups do not differ, or there is one, the groups
    are counted in the place of the cells. Without groups cells are taken as independent: far too narrow.
    """
    prob = probs.max(axis=1) if positive is None else probs[:, positive]
    claimed = probs.argmax(axis=1) if positive is None else np.full(len(truth), positive)
    right: Bools = claimed == truth
    at = confidence_bins(prob, bins)
    table: list[ReliabilityBin] = []
    for b in np.unique(at):
        own = at == b
        own_groups = None if groups is None else groups[own]
        low, high = _share_bounds(right[own], own_groups, level)
        table.append(
            {
                "low": float(b / bins),
                "high": float((b + 1) / bins),
                "n": int(own.sum()),
                "n_groups": None if own_groups is None else len(np.unique(own_groups)),
                "confidence": float(prob[own].mean()),
                "accuracy": float(right[own].mean()),
                "accuracy_low": low,
                "accuracy_high": high,
            }
        )
    return table


def _mean_gap(prob: Floats, happened: Floats) -> float:
    gaps = np.bincount(confidence_bins(prob), weights=happened - prob, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(prob))


def _share_bounds(right: Bools, groups: Ints | None, level: float) -> tuple[float, float]:
    n, share = len(right), float(right.mean())
    if groups is None:
        return wilson(share, n, level)
    group = np.unique(groups, return_inverse=True)[1]
    n_groups = int(group.max()) + 1
    residuals = np.bincount(group, right - share)
    if n_groups == 1:
        return wilson(share, 1, level)
    variance = n_groups / (n_groups - 1) * float((residuals**2).sum()) / n**2
    effective = float(n_groups) if variance < 1e-18 else min(share * (1 - share) / variance, float(n))
    return wilson(share, max(effective, 1.0), level, float(student_t.ppf((1 + level) / 2, n_groups - 1)))
