"""The confusion matrices behind printed rates: for which class shares there are any, and whether one is integer.

A matrix is a point (correct calls, positive cells, true positives) for a given number of cells. Every rate is a ratio
of two linear forms of it, so that a rate's interval is two linear inequalities, and all matrices together are a convex
polytope. Fourier–Motzkin elimination projects it exactly, in integers: no border case is decided by rounding errors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from leukemia_lab.claims.claim import Interval

Bound = tuple[int, int]  # slope and rest
Form = tuple[int, int, int, int]  # c0 + c1 · correct + c2 · positives + c3 · true positives
CORRECT, POSITIVES, TRUE_POSITIVES = 1, 2, 3


class Matrix(NamedTuple):
    """Cells of a two-class confusion matrix."""

    tp: int
    fn: int
    tn: int
    fp: int


def share_interval(rates: Mapping[str, Interval]) -> Interval | None:
    """The shares of positive cells at which all true rates can lie in their intervals; None where there is none.

    An empty class has no rate of its own, so that share 0 leaves sensitivity open and share 1 specificity.
    """
    faces = _eliminated(_eliminated(_faces(rates, 1), TRUE_POSITIVES), CORRECT)
    return _bounds(faces, POSITIVES)


def integer_matrix(
    rates: Mapping[str, Interval], n_cells: int, n_positive: int | None = None
) -> Matrix | None:
    """A confusion matrix of `n_cells` whose rates all lie in their intervals, or None where there is none.

    Both classes that a rate is of have cells. Without a positive call precision is 0, as scikit-learn has it, and so is
    F1 without a positive cell or call.
    """
    solid = [*_faces(rates, n_cells), *_no_zero_divisions(rates, n_cells)]
    if n_positive is not None:
        solid += [(-n_positive, 0, 1, 0), (n_positive, 0, -1, 0)]
    axes = _axes(rates, n_cells)
    solid = [_substituted(face, axes) for face in solid]
    plane = _eliminated(solid, 3)
    line = _eliminated(plane, 2)
    for first in _from_middle(_integers(line, 1, (1, 0, 0, 0))):
        for second in _from_middle(_integers(plane, 2, (1, first, 0, 0))):
            for third in _from_middle(_integers(solid, 3, (1, first, second, 0))):
                correct, positives, tp = (_at(axis, (1, first, second, third)) for axis in axes)
                tn = correct - tp
                return Matrix(tp, positives - tp, tn, n_cells - positives - tn)
    return None


def _axes(rates: Mapping[str, Interval], n_cells: int) -> tuple[Form, Form, Form]:
    """Correct calls, positives and true positives as forms of the three numbers to try, outermost first.

    The first two are the counts that the rate of the narrowest interval is a ratio of: one leaves few of the other, so
    that a search goes over one count of cells and not over pairs of them.
    """
    axes: dict[str, tuple[Form, Form, Form]] = {
        "accuracy": ((0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)),
        "sensitivity": ((0, 0, 0, 1), (0, 1, 0, 0), (0, 0, 1, 0)),  # positives, true positives
        "specificity": ((0, 0, 1, 1), (0, 1, 0, 0), (0, 0, 0, 1)),  # positives, true negatives
        "precision": ((n_cells, -1, 2, -1), (0, 0, 0, 1), (0, 0, 1, 0)),  # positive calls, true positives
        "f1": ((0, 1, 0, 0), (0, 0, 0, 1), (0, 0, 1, 0)),  # correct calls, true positives
    }
    narrowest = min(rates, key=lambda metric: rates[metric].high - rates[metric].low, default="accuracy")
    return axes[narrowest]


def _substituted(face: Form, axes: Sequence[Form]) -> Form:
    """`face` as a form of other numbers, of which its three are `axes`."""
    c0, c1, c2, c3 = (sum(k * axis[i] for k, axis in zip(face[1:], axes, strict=True)) for i in range(4))
    return face[0] + c0, c1, c2, c3


def _at(form: Form, point: Form) -> int:
    return sum(coefficient * number for coefficient, number in zip(form, point, strict=True))


def _from_middle(numbers: range) -> Iterator[int]:
    """All of them, from the middle outward: what is wide is widest there."""
    for step in range(len(numbers)):
        yield numbers[len(numbers) // 2 + (step + 1) // 2 * (-1 if step % 2 else 1)]


def _ratios(n_cells: int) -> dict[str, tuple[Form, Form]]:
    """Each rate as numerator and denominator."""
    true_positives, true_negatives = (0, 0, 0, 1), (0, 1, 0, -1)
    return {
        "sensitivity": (true_positives, (0, 0, 1, 0)),
        "specificity": (true_negatives, (n_cells, 0, -1, 0)),
        "accuracy": ((0, 1, 0, 0), (n_cells, 0, 0, 0)),
        "precision": (true_positives, (n_cells, -1, -1, 2)),
        "f1": ((0, 0, 0, 2), (n_cells, -1, 0, 2)),
    }


def _faces(rates: Mapping[str, Interval], n_cells: int) -> list[Form]:
    """Forms that are ≥ 0 for the matrices behind `rates`: the four counts, and two for each rate."""
    faces: list[Form] = [(0, 0, 0, 1), (0, 0, 1, -1), (0, 1, 0, -1), (n_cells, -1, -1, 1)]
    for metric, (numerator, denominator) in _ratios(n_cells).items():
        if metric in rates:
            low, high = rates[metric]
            faces.append(_sum(low.denominator, numerator, -low.numerator, denominator))
            faces.append(_sum(-high.denominator, numerator, high.numerator, denominator))
    return faces


def _no_zero_divisions(rates: Mapping[str, Interval], n_cells: int) -> Iterator[Form]:
    for metric, (_, denominator) in _ratios(n_cells).items():
        if metric in rates and not (metric in ("precision", "f1") and rates[metric].low == 0):
            yield _sum(1, denominator, -1, (1, 0, 0, 0))


def _sum(a: int, left: Form, b: int, right: Form) -> Form:
    """`a · left + b · right`, divided by what its coefficients share, which keeps the numbers small."""
    (l0, l1, l2, l3), (r0, r1, r2, r3) = left, right
    c0, c1, c2, c3 = a * l0 + b * r0, a * l1 + b * r1, a * l2 + b * r2, a * l3 + b * r3
    shared = max(math.gcd(c0, c1, c2, c3), 1)
    return c0 // shared, c1 // shared, c2 // shared, c3 // shared


def _eliminated(faces: Sequence[Form], variable: int) -> list[Form]:
    """The projection along `variable`: each bound from below with each from above."""
    below = [face for face in faces if face[variable] > 0]
    above = [face for face in faces if face[variable] < 0]
    untouched = [face for face in faces if face[variable] == 0]
    crossed = [_sum(-high[variable], low, low[variable], high) for low in below for high in above]
    return list(dict.fromkeys((*untouched, *crossed)))


def _bounds(faces: Sequence[Form], variable: int) -> Interval | None:
    """What `faces` leave of `variable`, all others being eliminated; None for nothing."""
    below, above, empty = _on_line(faces, variable, (1, 0, 0, 0))
    low = max(Fraction(-rest, slope) for slope, rest in below)
    high = min(Fraction(-rest, slope) for slope, rest in above)
    return None if empty or low > high else Interval(low, high)


def _integers(faces: Sequence[Form], variable: int, point: Form) -> range:
    """The whole numbers that `faces` leave of `variable` where the others are as in `point`."""
    below, above, empty = _on_line(faces, variable, point)
    low = max(-(rest // slope) for slope, rest in below)
    high = min(rest // -slope for slope, rest in above)
    return range(0) if empty else range(low, high + 1)


def _on_line(faces: Sequence[Form], variable: int, point: Form) -> tuple[list[Bound], list[Bound], bool]:
    """The bounds `slope · variable + rest ≥ 0` from below and from above, and whether a face excludes all.

    There are some of both: each count lies between 0 and the number of cells.
    """
    below: list[Bound] = []
    above: list[Bound] = []
    empty = False
    _, x1, x2, x3 = point
    for face in faces:
        slope, rest = face[variable], face[0] + face[1] * x1 + face[2] * x2 + face[3] * x3
        if slope == 0:
            empty |= rest < 0
        else:
            (below if slope > 0 else above).append((slope, rest))
    return below, above, empty
