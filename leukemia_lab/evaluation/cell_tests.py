"""McNemar's and DeLong's tests of pairs of runs: what papers report, though they take every cell for independent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, norm, rankdata

from leukemia_lab.evaluation.metrics import Floats, Ints

IGNORES_CLUSTERING = (
    "McNemar's and DeLong's tests take every cell for independent. Cells of one subject are alike, so that their "
    "p-values are too small: they are shown because papers report them, the paired test by subject counts."
)
NO_VARIANCE = "both rank the cells perfectly or alike, which leaves no variance"


@dataclass(frozen=True)
class McNemar:
    """By pair [P]: the cells that only the first, and only the second run has right, and the exact p-value."""

    only_first: Ints
    only_second: Ints
    p: Floats


@dataclass(frozen=True)
class DeLong:
    """By pair [P]: the difference of the areas under the ROC curves, z and the two-sided p-value.

    z and p are NaN where the areas differ without any variance.
    """

    difference: Floats
    z: Floats
    p: Floats


def mcnemar(correct: npt.NDArray[np.bool_], pairs: Ints) -> McNemar:
    """McNemar's exact test: the sign test of the cells that one run has right and the other wrong.

    Args:
        correct: which cells each run has right [R, n].
        pairs: the runs of each pair [P, 2].
    """
    right = correct.astype(np.float64)
    only = np.rint(right @ (1 - right).T).astype(np.int64)  # [i, j]: right in i, wrong in j
    first, second = only[pairs[:, 0], pairs[:, 1]], only[pairs[:, 1], pairs[:, 0]]
    p = np.minimum(2 * binom.cdf(np.minimum(first, second), first + second, 0.5), 1.0)
    return McNemar(first, second, p)


def delong(scores: Floats, positive: npt.NDArray[np.bool_], pairs: Ints) -> DeLong:
    """The test of two correlated areas of DeLong, DeLong & Clarke-Pearson (1988), by mid-ranks (Sun & Xu 2014).

    Args:
        scores: of the positive class [R, n].
        positive: which cells are of that class [n]; two or more are, and two or more are not.
        pairs: the runs of each pair [P, 2].
    """
    placed, beaten = structural_components(scores, positive)
    areas = placed.mean(axis=1)
    covariance = np.cov(placed) / placed.shape[1] + np.cov(beaten) / beaten.shape[1]
    covariance = np.atleast_2d(covariance)
    a, b = pairs.T
    variance = np.maximum(covariance[a, a] + covariance[b, b] - 2 * covariance[a, b], 0)
    scale = covariance[a, a] + covariance[b, b]
    difference = areas[a] - areas[b]
    moves = variance > 1e-12 * scale
    z = np.divide(difference, np.sqrt(variance), out=np.full_like(difference, np.nan), where=moves)
    z[~moves & (np.abs(difference) < 1e-12)] = 0.0
    return DeLong(difference, z, 2 * norm.sf(np.abs(z)))


def structural_components(scores: Floats, positive: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """For each positive cell the share of negatives below it [R, m]; for each negative that of positives above.

    Ties count half.
    """
    above, below = scores[:, positive], scores[:, ~positive]
    overall = rankdata(scores, axis=1)
    placed = (overall[:, positive] - rankdata(above, axis=1)) / below.shape[1]
    beaten = 1 - (overall[:, ~positive] - rankdata(below, axis=1)) / above.shape[1]
    return placed, beaten
