"""Rows of rates in percent, checked one at a time."""

from __future__ import annotations

from leukemia_lab.claims.check import CheckedClaim, check_claims
from leukemia_lab.claims.claim import Claim

THREE = ("sensitivity", "specificity", "accuracy")


def signed(values: dict[str, str]) -> dict[str, str]:
    """Values whose percent sign says what they are, also where all are at most 1."""
    return {metric: f"{text}%" for metric, text in values.items()}


def checked(
    values: dict[str, str], n_cells: int | None = None, n_positive: int | None = None
) -> CheckedClaim:
    counts = {} if n_positive is None else {"n_positive": n_positive}
    return check_claims([Claim.of("row", {**signed(values), **counts})], n_cells=n_cells).rows[0]
