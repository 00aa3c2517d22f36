"""The operating point: from which probability on a cell is taken for the positive class."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from leukemia_lab.errors import ConfigError, RunError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

BALANCED_ACCURACY = "balanced_accuracy"
MIN_SENSITIVITY = re.compile(r"min_sensitivity=(\d*\.?\d+(?:e-\d+)?)")
USUAL_THRESHOLD = 0.5
SAME = 1e-12  # scores that differ by less than this share of themselves are tied
ROUNDING = 1e-9  # of a sensitivity asked for, in cells


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, the rule that chose it, and what it gives on the cells it was chosen on.

    A cell is positive where its probability is at least `threshold`. `reason` says why the threshold is not
    what the rule promises; the rates are None where a class has no cell.
    """

    threshold: float
    rule: str
    balanced_accuracy: float | None
    sensitivity: float | None
    specificity: float | None
    n_cells: int
    reason: str | None = None

    def describe(self) -> dict[str, Any]:
        """The fields as JSON, without a reason where there is none."""
        return {key: value for key, value in asdict(self).items() if key != "reason" or value is not None}


def parse_rule(rule: str) -> float | None:
    """The sensitivity that "min_sensitivity=<0…1>" asks for; None of "balanced_accuracy". Else ConfigError."""
    if rule == BALANCED_ACCURACY:
        return None
    asked = MIN_SENSITIVITY.fullmatch(rule)
    if asked is None or not 0 < float(asked[1]) <= 1:
        raise ConfigError(
            f"{rule!r} is no rule for the operating point. Give {BALANCED_ACCURACY}, or min_sensitivity=s "
            "with 0 < s <= 1 (such as min_sensitivity=0.95)."
        )
    return float(asked[1])


def choose_threshold(is_positive: Bools, prob_positive: Floats, rule: str) -> OperatingPoint:
    """The threshold that `rule` chooses on these cells: [n] whether positive, [n] probabilities (0 to 1).

    balanced_accuracy: the threshold of the highest balanced accuracy; of several as good the one in the widest
    gap between neighbouring scores, then the one nearest to 0.5, then the lower. min_sensitivity=s: of those
    with a sensitivity of s or more (there always is one: all cells positive), the highest specificity, then
    the highest sensitivity. The threshold stands in the middle of the gap between two scores (or 0 and the lowest,
    the highest and 1), where the same decisions hold for scores that differ a little. A cell is a cell,
    whatever its subject.

    Raises ConfigError on another rule, RunError where the cells are none or a probability is outside 0 to 1.
    Without a cell of each class the threshold is 0.5, with a reason.
    """
    asked = parse_rule(rule)
    is_positive, prob = np.asarray(is_positive, dtype=bool), np.asarray(prob_positive, dtype=np.float64)
    if not len(prob) or prob.shape != is_positive.shape or not ((prob >= 0) & (prob <= 1)).all():
        raise RunError(
            f"no operating point for {prob.shape} probabilities and {is_positive.shape} labels: one of each a "
            "cell is needed, between 0 and 1. Look at the validation part of the predictions."
        )
    if is_positive.all() or not is_positive.any():
        lacking = "negative" if is_positive.all() else "positive"
        reason = f"no cell is of the {lacking} class: the threshold stays {USUAL_THRESHOLD}"
        return _point(USUAL_THRESHOLD, rule, is_positive, prob, reason)
    thresholds, widths, hits, passes = _candidates(is_positive, prob)
    if asked is None:
        return _most_balanced(rule, is_positive, prob, (thresholds, widths, hits, passes))
    enough = np.flatnonzero(hits >= asked * is_positive.sum() - ROUNDING)
    best = enough[np.lexsort((-hits[enough], -passes[enough]))[0]]
    nobody_spared = "every cell is taken for positive: no higher threshold is as sensitive"
    return _point(float(thresholds[best]), rule, is_positive, prob, None if passes[best] else nobody_spared)


def at_threshold(probs: Floats, positive: int, threshold: float) -> Ints:
    """The class indices [n] decided on: `positive` where its column of probs [n, 2] is at least `threshold`."""
    return np.where(probs[:, positive] >= threshold, positive, 1 - positive).astype(np.int64)


def move_threshold(probs: Floats, positive: int, threshold: float) -> Floats:
    """Probabilities [n, 2] whose higher column is what `at_threshold` decides on `probs` [n, 2].

    The positive class's is made 0.5 at the threshold and is linear below and above it, which keeps the order
    of the cells: rates, F1, AUROC and the like can be read off, but no longer ECE, Brier score or log loss.
    """
    prob = probs[:, positive]
    below = 0.5 * prob / threshold if threshold > 0 else np.zeros_like(prob)
    above = 0.5 + 0.5 * (prob - threshold) / (1 - threshold) if threshold < 1 else np.ones_like(prob)
    # At the threshold itself a cell is positive: a little more than 0.5, whichever column is the positive one.
    moved = np.where(prob >= threshold, np.maximum(above, np.nextafter(0.5, 1)), below)
    both = np.empty_like(probs, dtype=np.float64)
    both[:, positive], both[:, 1 - positive] = moved, 1 - moved
    return both


def _candidates(is_positive: Bools, prob: Floats) -> tuple[Floats, Floats, Ints, Ints]:
    """Each way to cut the cells: threshold, width of its gap, positive cells at or above it, negative ones below.

    One cut lies below each distinct score, and one above the highest unless that is 1. Scores that differ by
    float noise (KNN) are one.
    """
    every, at = np.unique(prob, return_inverse=True)
    begins = np.concatenate([[True], np.diff(every) > SAME * every[1:]])
    at = (np.cumsum(begins) - 1)[at]
    first, last = every[begins], every[np.append(begins[1:], True)]
    n_positive = np.bincount(at[is_positive], minlength=len(first))
    n_negative = np.bincount(at[~is_positive], minlength=len(first))
    hits = is_positive.sum() - np.concatenate([[0], np.cumsum(n_positive)])
    passes = np.concatenate([[0], np.cumsum(n_negative)])
    low, high = np.concatenate([[0.0], last]), np.concatenate([first, [1.0]])
    middle = (low + high) / 2
    # Next to 1 the middle may be rounded to the lower score, which must stay below the threshold.
    middle[1:] = np.where(middle[1:] > low[1:], middle[1:], high[1:])
    possible = slice(None) if last[-1] < 1 else slice(-1)
    return middle[possible], (high - low)[possible], hits[possible], passes[possible]


def _most_balanced(
    rule: str, is_positive: Bools, prob: Floats, cuts: tuple[Floats, Floats, Ints, Ints]
) -> OperatingPoint:
    thresholds, widths, hits, passes = cuts
    n_positive, n_negative = int(is_positive.sum()), int((~is_positive).sum())
    doubled = hits * n_negative + passes * n_positive  # balanced accuracy, times 2 and both numbers of cells
    best = np.lexsort((thresholds, np.abs(thresholds - 0.5), -widths, -doubled))[0]
    none_better = doubled[best] <= n_positive * n_negative
    reason = "no threshold is better than taking all cells for one class" if none_better else None
    return _point(float(thresholds[best]), rule, is_positive, prob, reason)


def _point(
    threshold: float, rule: str, is_positive: Bools, prob: Floats, reason: str | None
) -> OperatingPoint:
    decided = prob >= threshold
    sensitivity = float(decided[is_positive].mean()) if is_positive.any() else None
    specificity = float((~decided)[~is_positive].mean()) if not is_positive.all() else None
    balanced = None if sensitivity is None or specificity is None else (sensitivity + specificity) / 2
    return OperatingPoint(threshold, rule, balanced, sensitivity, specificity, len(prob), reason)
