"""A row of a published table as it was printed, and the exact interval of true values behind each number."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from leukemia_lab.errors import ClaimError
from leukemia_lab.wording import nearest

METRICS = ("sensitivity", "specificity", "accuracy", "precision", "f1")
COUNTS = ("n_positive", "n_negative", "n_cells")
SPELLINGS = {
    "sensitivity": ("recall", "sens", "tpr", "true_positive_rate"),
    "specificity": ("spec", "tnr", "true_negative_rate"),
    "accuracy": ("acc",),
    "precision": ("ppv", "prec", "positive_predictive_value"),
    "f1": ("f1_score", "f_score", "f1score", "f_measure", "f1_measure"),
}
ABSENT = ("", "-", "–", "—", "n/a", "na", "nan", "none", "null")
_NUMBER = re.compile(r"(\d{1,9}(?:\.\d{0,12})?|\.\d{1,12})\s*(%?)")
_COUNT = re.compile(r"\d{1,9}")


class Interval(NamedTuple):
    """A closed interval of exact numbers."""

    low: Fraction
    high: Fraction


@dataclass(frozen=True)
class Claim:
    """A row as printed: its rates with all their decimals, and how many cells they are of where that is said.

    `percent_signs` are the metrics printed with a percent sign. Whether the other numbers are percent is a property
    of the whole table: `is_percent`.
    """

    name: str
    rates: Mapping[str, Decimal]
    n_positive: int | None = None
    n_negative: int | None = None
    n_cells: int | None = None
    percent_signs: frozenset[str] = frozenset()

    @classmethod
    def of(cls, name: str, values: Mapping[str, str | float | Decimal | None]) -> Claim:
        """A claim from values by metric, in any of their usual spellings, and counts.

        A text keeps its trailing zeros, which say how it was rounded: "91.20"; a float has the decimals of its repr.

        Raises:
            ClaimError: a name is unknown or given twice, a value is no rate or count, or the counts contradict; names
                all of these values.
        """
        rates: dict[str, Decimal] = {}
        counts: dict[str, int] = {}
        signs: set[str] = set()
        faults: list[str] = []
        for given, value in values.items():
            try:
                column, text = _column(name, given), _text(value)
                if text.lower() in ABSENT:
                    continue
                if column in rates or column in counts:
                    raise ClaimError(
                        f"{name}: {column} is given twice, the second time as {given}; recall is another name of "
                        "sensitivity: leave one out"
                    )
                if column in COUNTS:
                    counts[column] = _count(name, column, text)
                else:
                    rates[column], has_sign = _rate(name, given, text)
                    signs |= {column} if has_sign else set()
            except ClaimError as error:
                faults += error.faults
        if faults:
            raise ClaimError(*faults)
        return cls(name, rates, percent_signs=frozenset(signs), **_agreeing(name, counts))


def canonical(column: str) -> str | None:
    """The metric or count that a column's heading means, in any case and with `%` or `(%)`; None for another."""
    bare = re.sub(r"\W+", "_", column.lower()).strip("_")
    known = {spelling: metric for metric, spellings in SPELLINGS.items() for spelling in spellings}
    return bare if bare in (*METRICS, *COUNTS) else known.get(bare)


def is_percent(claims: Sequence[Claim]) -> bool:
    """Whether a table is in percent: one of its numbers is above 1, or has a percent sign; else in fractions.

    Raises:
        ClaimError: `scale_faults`.
    """
    faults = scale_faults(claims)
    if faults:
        raise ClaimError(*faults)
    return _has_percent(claims)


def scale_faults(claims: Sequence[Claim], all_rows: bool = True) -> list[str]:
    """Each number above 100 %, and each row or column of a table in percent that seems to be in fractions.

    That is at most 1, not all 0, and without percent signs. Without `all_rows`, where others could not be read, nothing
    is said of columns, whose highest number may be in one of those.
    """
    faults = []
    percent = _has_percent(claims)
    for claim in claims:
        for metric, value in claim.rates.items():
            if value > 100:
                faults.append(f"{claim.name}: {metric} {value} is above 100 %: correct the number")
        highest = max(claim.rates.values(), default=Decimal(0))
        if percent and not claim.percent_signs and 0 < highest <= 1:
            faults.append(
                f"{claim.name}: its numbers are at most {highest} in a table in percent: write the row in percent as "
                "the rest, or with percent signs if it is meant so"
            )
    for metric in METRICS if percent and all_rows else ():
        column = [claim.rates[metric] for claim in claims if metric in claim.rates]
        signed = any(metric in claim.percent_signs for claim in claims)
        if not signed and 0 < max(column, default=Decimal(0)) <= 1:
            faults.append(
                f"column {metric} is at most {max(column)} in a table in percent: write it in percent as the rest; if "
                f'it is meant so, with its sign: "{max(column)}%"'
            )
    return faults


def _has_percent(claims: Sequence[Claim]) -> bool:
    return any(claim.percent_signs or max(claim.rates.values(), default=0) > 1 for claim in claims)


def true_values(printed: Decimal, percent: bool, cut_off: bool = False) -> Interval:
    """The true rates in [0, 1] that print as `printed`.

    All within half a unit of its last decimal, both ends included, which covers every way of rounding to the nearest;
    with `cut_off` those whose further decimals were dropped.
    """
    exponent = printed.as_tuple().exponent
    assert isinstance(exponent, int)  # `Claim.of` takes no infinities
    last_units = int(printed.scaleb(-exponent))
    below, above = (0, 2) if cut_off else (1, 1)  # halves of the last decimal's unit
    whole = 2 * 10**-exponent * (100 if percent else 1)
    low, high = 2 * last_units - below, 2 * last_units + above
    return Interval(Fraction(max(low, 0), whole), Fraction(min(high, whole), whole))


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return format(Decimal(repr(float(value))), "f")
    return format(value, "f") if isinstance(value, Decimal) else str(value).strip()


def _column(name: str, given: str) -> str:
    column = canonical(given)
    if column is None:
        allowed = (*METRICS, "recall", *COUNTS)
        raise ClaimError(
            f"{name}: {given} is not checked, only {', '.join(allowed)}: leave it out.{nearest(given, allowed)}"
        )
    return column


def _rate(name: str, column: str, text: str) -> tuple[Decimal, bool]:
    found = _NUMBER.fullmatch(text)
    if found is None and _NUMBER.fullmatch(with_point := text.replace(",", ".")):
        raise ClaimError(f"{name}: {column} is {text!r}: write a point for the decimal comma, {with_point}")
    if found is None:
        raise ClaimError(
            f"{name}: {column} is {text!r}, no rate: give it as printed, 91.20, 91.20% or 0.912, without ±, and leave "
            "the field empty where there is none"
        )
    return Decimal(found[1]), bool(found[2])


def _count(name: str, column: str, text: str) -> int:
    if _COUNT.fullmatch(text) is None or int(text) == 0:
        raise ClaimError(f"{name}: {column} is {text!r}, no number of cells: give it as digits alone, 10600")
    return int(text)


def _agreeing(name: str, counts: Mapping[str, int]) -> dict[str, int | None]:
    """All three counts from those given, None where one cannot be known."""
    positive, negative, cells = (counts.get(column) for column in COUNTS)
    if cells is None and positive is not None and negative is not None:
        cells = positive + negative
    if cells is not None and positive is not None and negative is None:
        negative = cells - positive
    if cells is not None and negative is not None and positive is None:
        positive = cells - negative
    if (
        cells is not None
        and positive is not None
        and (negative != cells - positive or not 0 < positive < cells)
    ):
        raise ClaimError(
            f"{name}: {', '.join(f'{column} {n}' for column, n in counts.items())} contradict each other: "
            "n_cells is n_positive + n_negative, and neither class is empty"
        )
    return {"n_positive": positive, "n_negative": negative, "n_cells": cells}
