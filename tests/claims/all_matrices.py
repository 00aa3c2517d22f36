"""Brute force: every confusion matrix of a size, and which of them print as a table says; no code of the package."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


class Table(NamedTuple):
    values: dict[str, str]
    n_cells: int
    n_positive: int | None  # None: not said
    is_true: bool  # printed from a matrix of this size, no number altered


@cache
def matrices(n_cells: int) -> tuple[Counts, Counts, Counts, Counts]:
    """TP, FN, TN and FP of all matrices of `n_cells`, each of shape (C(n_cells + 3, 3),)."""
    side = np.arange(n_cells + 1)
    tp, fn, tn = (axis.ravel() for axis in np.meshgrid(side, side, side, indexing="ij"))
    keep = tp + fn + tn <= n_cells
    tp, fn, tn = tp[keep], fn[keep], tn[keep]
    return tp, fn, tn, n_cells - tp - fn - tn


@cache
def ratios(n_cells: int) -> dict[str, tuple[Counts, Counts]]:
    """Numerators and denominators; an undefined sensitivity or specificity is -1, precision and F1 then are 0."""
    tp, fn, tn, fp = matrices(n_cells)
    zero = {"precision": 0, "f1": 0}
    found = {
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "accuracy": (tp + tn, tp + fn + tn + fp),
        "precision": (tp, tp + fp),
        "f1": (2 * tp, 2 * tp + fp + fn),
    }
    return {
        metric: (np.where(below == 0, zero.get(metric, -1), above), np.where(below == 0, 1, below))
        for metric, (above, below) in found.items()
    }


def printed_by(values: Mapping[str, str], n_cells: int, n_positive: int | None) -> npt.NDArray[np.bool_]:
    """Which matrices print as `values` (percent), however halves are rounded: exact, in whole numbers."""
    tp, fn, _, _ = matrices(n_cells)
    fits = np.ones(len(tp), bool) if n_positive is None else tp + fn == n_positive
    for metric, text in values.items():
        above, below = ratios(n_cells)[metric]
        unit = 10 ** len(text.partition(".")[2])
        fits &= 2 * np.abs(100 * unit * above - int(text.replace(".", "")) * below) <= below
    return fits


def random_tables(n: int, seed: int) -> Iterator[Table]:
    """Tables of 4 to 24 cells with 0 to 2 decimals: some as printed, some with numbers altered, some made up."""
    draw = random.Random(seed)
    for _ in range(n):
        n_cells = draw.randint(4, 24)
        positives = draw.randint(1, n_cells - 1)
        tp, tn = draw.randint(0, positives), draw.randint(0, n_cells - positives)
        fp, fn = n_cells - positives - tn, positives - tp
        rates = {
            "sensitivity": Fraction(tp, positives),
            "specificity": Fraction(tn, n_cells - positives),
            "accuracy": Fraction(tp + tn, n_cells),
            "precision": Fraction(tp, max(tp + fp, 1)),
            "f1": Fraction(2 * tp, max(2 * tp + fp + fn, 1)),
        }
        extra = draw.choice([(), (), ("precision",), ("f1",), ("precision", "f1")])
        metrics = ("sensitivity", "specificity", "accuracy", *extra)
        kept = metrics if draw.random() < 0.8 else draw.sample(metrics, draw.randint(1, len(metrics)))
        altered = draw.choice([(), (), (kept[0],), tuple(kept)])
        decimals = draw.randint(0, 2)
        values = {
            metric: _printed(draw, Fraction(draw.randint(0, 1000), 1000), decimals)
            if metric in altered
            else _printed(draw, rates[metric], decimals)
            for metric in kept
        }
        yield Table(values, n_cells, draw.choice([None, positives]), not altered)


def _printed(draw: random.Random, rate: Fraction, decimals: int) -> str:
    percent = Decimal((100 * rate).numerator) / Decimal((100 * rate).denominator)
    rounding = draw.choice([ROUND_HALF_UP, ROUND_HALF_EVEN])
    return str(percent.quantize(Decimal(1).scaleb(-decimals), rounding))
