"""The check of a published table: which rows are possible, which class share they imply, are they of one test set."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from leukemia_lab.claims.claim import Claim, Interval, is_percent, true_values
from leukemia_lab.claims.region import Matrix, integer_matrix, share_interval
from leukemia_lab.errors import ClaimError

Verdict = Literal["possible", "impossible"]
MatrixVerdict = Literal["found", "none", "size unknown"]
F1Fit = Literal["one class", "average only", "none"]
THREE = ("sensitivity", "specificity", "accuracy")
ANY_SHARE = Interval(Fraction(0), Fraction(1))
SHARE_DIGITS = 3


@dataclass(frozen=True)
class CheckedClaim:
    """A row and what its numbers allow.

    `implied_share` (0 to 1, of positive cells) is that of the printed numbers, within `share_interval`, which is what
    rounding allows; both are None where the row is impossible or lacks one of sensitivity, specificity and accuracy,
    and `implied_share` also where sensitivity equals specificity. `has_data_share` is None where no share is implied.
    `f1_fit` says whether F1 can be that of one class's precision and recall, only an average over classes, or neither;
    None where one of the three is not given. `matrix` is one of those found.
    """

    claim: Claim
    verdict: Verdict
    implied_share: float | None
    share_interval: Interval | None
    has_data_share: bool | None
    f1_fit: F1Fit | None
    integer_matrix: MatrixVerdict
    matrix: Matrix | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ClaimsCheck:
    """The rows of one table, whether they are printed in percent, and sentences on the table as a whole.

    `one_test_set` is False where the rows imply shares that exclude each other, and None where fewer than two rows
    imply any.
    """

    rows: tuple[CheckedClaim, ...]
    in_percent: bool
    data_share: float | None
    one_test_set: bool | None
    sentences: tuple[str, ...]


def check_claims(
    claims: Sequence[Claim], data_share: float | None = None, n_cells: int | None = None
) -> ClaimsCheck:
    """Check the rows of one table.

    Args:
        claims: the rows as printed.
        data_share: share of positive cells in the data, 0 to 1 (C-NMC 2019, training: 7272 / 10661).
        n_cells: cells of the test set, for rows that do not say their own number.

    Raises:
        ClaimError: there is no row, or the numbers are not all percent or all fractions.
    """
    if not claims:
        raise ClaimError("there is no row to check: give at least one with its sensitivity and accuracy")
    percent = is_percent(claims)
    rows = tuple(_checked(claim, percent, data_share, n_cells) for claim in claims)
    one_test_set, on_sets = _one_test_set(rows)
    sentences = [_on_verdicts(rows), *on_sets, *_on_data_share(rows, data_share)]
    return ClaimsCheck(rows, percent, data_share, one_test_set, tuple(sentences))


def _checked(claim: Claim, percent: bool, data_share: float | None, n_cells: int | None) -> CheckedClaim:
    intervals = {metric: true_values(value, percent) for metric, value in claim.rates.items()}
    verdict, interval, reason = _on_rates(claim, intervals, percent)
    fit, on_f1 = _f1_fit(claim, intervals, percent)
    n_cells = claim.n_cells if claim.n_cells is not None else n_cells
    found, matrix, on_matrix = _on_matrix(claim, intervals, verdict, n_cells)
    return CheckedClaim(
        claim,
        verdict,
        None if interval is None else _point(claim, interval),
        interval,
        None if interval is None or data_share is None else interval.low <= data_share <= interval.high,
        fit,
        found,
        matrix,
        tuple(text for text in (reason, on_f1, on_matrix) if text is not None),
    )


def _on_rates(
    claim: Claim, intervals: Mapping[str, Interval], percent: bool
) -> tuple[Verdict, Interval | None, str]:
    """The verdict on sensitivity, specificity and accuracy, and on precision where all four are given."""
    missing = [metric for metric in THREE if metric not in intervals]
    if missing:
        return "possible", None, _without(claim, intervals, missing)
    metrics = (*THREE, "precision") if "precision" in intervals else THREE
    interval = share_interval({metric: intervals[metric] for metric in metrics})
    if interval is None:
        cut_off = {metric: true_values(claim.rates[metric], percent, cut_off=True) for metric in metrics}
        after = (
            ""
            if share_interval(cut_off) is None
            else "; it would be possible had decimals been cut off, not rounded"
        )
        return (
            "impossible",
            None,
            f"impossible at any class share: {_why_impossible(claim, intervals)}{after}",
        )
    if interval == ANY_SHARE:
        return "possible", interval, "possible at any share of positives"
    point = _point(claim, interval)
    bounds = share_words(interval)
    share = bounds if point is None else f"{point:.{SHARE_DIGITS}f} (rounding allows {bounds})"
    return "possible", interval, f"possible only with a share of positives of {share}"


def _without(claim: Claim, intervals: Mapping[str, Interval], missing: Sequence[str]) -> str:
    text = f"{' and '.join(missing)} not given: nothing that accuracy could contradict"
    trio = ("sensitivity", "accuracy", "precision")
    if not all(metric in intervals for metric in trio):
        return text
    interval = share_interval({metric: intervals[metric] for metric in trio})
    if interval is None:
        return f"{text}; recall and precision cannot be those of the positive class, only averages over the classes"
    return f"{text}; were recall and precision those of the positive class, its share would be {share_words(interval)}"


def _why_impossible(claim: Claim, intervals: Mapping[str, Interval]) -> str:
    sensitivity, specificity, accuracy = (claim.rates[metric] for metric in THREE)
    by_accuracy = share_interval({metric: intervals[metric] for metric in THREE})
    if by_accuracy is None:
        above = accuracy > sensitivity
        nearer = max(sensitivity, specificity) if above else min(sensitivity, specificity)
        return (
            f"accuracy {accuracy} lies {'above' if above else 'below'} both sensitivity {sensitivity} and specificity "
            f"{specificity}, by {abs(accuracy - nearer)}"
        )
    four = f"precision {claim.rates['precision']}"
    by_precision = share_interval(
        {metric: intervals[metric] for metric in ("sensitivity", "specificity", "precision")}
    )
    if by_precision is None:
        return (
            f"no share of positives gives {four} with sensitivity {sensitivity} and specificity {specificity}"
        )
    return (
        f"with sensitivity {sensitivity} and specificity {specificity}, accuracy {accuracy} implies a share of "
        f"positives of {share_words(by_accuracy)}, and {four}, as of the positive class, of "
        f"{share_words(by_precision)}; no share gives both with the same sensitivity and specificity"
    )


def _point(claim: Claim, interval: Interval) -> float | None:
    """The share that the printed numbers imply, moved into what rounding allows; None where any would do."""
    sensitivity, specificity, accuracy = (Fraction(claim.rates[metric]) for metric in THREE)
    if sensitivity == specificity:
        return None
    share = (accuracy - specificity) / (sensitivity - specificity)
    return float(min(max(share, interval.low), interval.high))


def _f1_fit(
    claim: Claim, intervals: Mapping[str, Interval], percent: bool
) -> tuple[F1Fit | None, str | None]:
    """Whether F1 can be 2PR/(P+R), within rounding, or else an average of it over classes.

    The harmonic mean is concave, so that averages over classes, macro or weighted, of any number of classes, satisfy
    mean F1 ≤ 2PR/(P+R) of the mean P and R; and as F1 ≥ P + R - 1 for each class, so it is for their means.
    """
    if not {"precision", "sensitivity", "f1"} <= intervals.keys():
        return None, None
    precision, recall, f1 = (intervals[metric] for metric in ("precision", "sensitivity", "f1"))
    low, high = (_harmonic_mean(precision[end], recall[end]) for end in (0, 1))
    least = max(precision.low + recall.low - 1, Fraction(0))
    scale = 100 if percent else 1
    shown = f"{_outward(low, scale, math.floor)} to {_outward(high, scale, math.ceil)}"
    given = claim.rates["f1"]
    if f1.low <= high and low <= f1.high:
        return "one class", f"F1 {given} fits precision and recall of one class"
    if least <= f1.high and f1.low < low:
        return "average only", (
            f"F1 {given} does not fit precision and recall of one class, which give {shown}; it may be an average over "
            f"the classes, which may lie lower, down to {_outward(least, scale, math.floor)}"
        )
    return "none", (
        f"F1 {given} fits neither precision and recall of one class, which give {shown}, nor averages over classes, "
        f"which cannot lie above that, nor below {_outward(least, scale, math.floor)}"
    )


def _harmonic_mean(a: Fraction, b: Fraction) -> Fraction:
    return 2 * a * b / (a + b) if a + b > 0 else Fraction(0)


def _on_matrix(
    claim: Claim, intervals: Mapping[str, Interval], verdict: Verdict, n_cells: int | None
) -> tuple[MatrixVerdict, Matrix | None, str | None]:
    if n_cells is None:
        return "size unknown", None, None
    n_positive = claim.n_positive
    if n_positive is None and claim.n_negative is not None:
        n_positive = n_cells - claim.n_negative
    if n_positive is not None and not 0 < n_positive < n_cells:
        raise ClaimError(
            f"{claim.name}: {n_positive} positive of {n_cells} cells leaves a class empty: correct n_cells, or the "
            "number of its class"
        )
    if verdict == "impossible":
        return "none", None, None
    matrix = integer_matrix(intervals, n_cells, n_positive)
    size = f"{n_cells} cells" + ("" if n_positive is None else f", {n_positive} of them positive,")
    if matrix is None:
        read = (
            " (precision and F1 as of the positive class)" if {"precision", "f1"} & intervals.keys() else ""
        )
        return "none", None, f"no whole numbers of {size} give these rates{read}"
    return (
        "found",
        matrix,
        (
            f"whole numbers of {size} give these rates, one of them TP {matrix.tp}, FN {matrix.fn}, TN {matrix.tn}, "
            f"FP {matrix.fp}"
        ),
    )


def _on_verdicts(rows: Sequence[CheckedClaim]) -> str:
    impossible = [row.claim.name for row in rows if row.verdict == "impossible"]
    if not impossible:
        return f"none of {len(rows)} rows is impossible by its rates"
    return (
        f"{len(impossible)} of {len(rows)} rows impossible whatever the class share: {', '.join(impossible)}"
    )


def _implying(rows: Sequence[CheckedClaim]) -> list[tuple[str, Interval]]:
    return [(row.claim.name, row.share_interval) for row in rows if row.share_interval is not None]


def _one_test_set(rows: Sequence[CheckedClaim]) -> tuple[bool | None, list[str]]:
    """Whether the rows can be of one test set: by their numbers of cells, and by the shares that they imply."""
    sizes = {row.claim.n_cells: row.claim.name for row in rows if row.claim.n_cells is not None}
    if len(sizes) > 1:
        (n_first, first), (n_second, second), *_ = sizes.items()
        return False, [f"the rows are not of one test set: {first} has {n_first} cells, {second} {n_second}"]
    implying = _implying(rows)
    if len(implying) < 2:
        return None, []
    highest = max(implying, key=lambda row: row[1].low)
    lowest = min(implying, key=lambda row: row[1].high)
    if highest[1].low <= lowest[1].high:
        shared = Interval(highest[1].low, lowest[1].high)
        return True, [
            f"the {len(implying)} rows that imply a share can be of one test set, its share {share_words(shared)}"
        ]
    return False, [
        f"the rows cannot be of one test set: {lowest[0]} implies a share of positives of {share_words(lowest[1])}, "
        f"{highest[0]} of {share_words(highest[1])}"
    ]


def _on_data_share(rows: Sequence[CheckedClaim], data_share: float | None) -> list[str]:
    implying = _implying(rows)
    if data_share is None or not implying:
        return []
    having = [row.claim.name for row in rows if row.has_data_share]
    share = f"the data's share of positives, {data_share:.{SHARE_DIGITS}f},"
    if not having:
        return [f"{share} is that of none of the {len(implying)} rows that imply one"]
    return [f"{share} is possible for {', '.join(having)} of the {len(implying)} rows that imply one"]


def share_words(interval: Interval) -> str:
    """`0.555 to 0.559`, rounded outward."""
    return f"{_outward(interval.low, 1, math.floor)} to {_outward(interval.high, 1, math.ceil)}"


def _outward(value: Fraction, scale: int, whole: Callable[[Fraction], int]) -> str:
    digits = SHARE_DIGITS if scale == 1 else SHARE_DIGITS - 1
    return f"{whole(value * scale * 10**digits) / 10**digits:.{digits}f}"
