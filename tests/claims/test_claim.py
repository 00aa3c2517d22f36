"""Numbers as printed: spellings, decimals, percent or fractions, and what is refused with which words."""

from __future__ import annotations

import pickle
import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from leukemia_lab.claims.claim import METRICS, SPELLINGS, Claim, canonical, is_percent, true_values
from leukemia_lab.errors import ClaimError


@pytest.mark.parametrize(
    ("heading", "meaning"),
    [
        ("Sensitivity (%)", "sensitivity"),
        ("RECALL", "sensitivity"),
        ("F1-score", "f1"),
        ("f1 [%]", "f1"),
        ("Acc.", "accuracy"),
        ("Sens, %", "sensitivity"),
        ("F1 score", "f1"),
        ("N_cells", "n_cells"),
        ("AUC", None),
        ("Precision (macro)", None),
    ],
)
def test_headings_are_known_in_any_usual_spelling(heading: str, meaning: str | None) -> None:
    assert canonical(heading) == meaning


def test_the_docs_name_every_heading_that_is_known() -> None:
    text = (Path(__file__).parents[2] / "docs" / "claims.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    for metric in METRICS:
        row = next(row for row in rows if f"`{metric}`" in row.lower())
        named = [
            heading.replace("-", "_").replace(" ", "_").lower() for heading in re.findall("`(.+?)`", row)
        ]
        assert sorted(named) == sorted([metric, *SPELLINGS[metric]])


@pytest.mark.parametrize(
    ("value", "decimals"),
    [
        ("91.20", 2),
        ("91.2", 1),
        (91.2, 1),
        (np.float64(91.25), 2),
        (91, 0),
        ("91.20 %", 2),
        (Decimal("91.200"), 3),
        (1e-5, 5),
    ],
)
def test_decimals_are_kept(value: str | float | Decimal, decimals: int) -> None:
    assert Claim.of("row", {"accuracy": value}).rates["accuracy"].as_tuple().exponent == -decimals


@pytest.mark.parametrize("value", [None, "", " ", "-", "–", "n/a", float("nan")])
def test_absent_is_no_rate(value: str | float | None) -> None:
    assert Claim.of("row", {"accuracy": value, "recall": "0"}).rates == {"sensitivity": 0}


def test_true_values_are_within_half_a_unit_of_the_last_decimal_and_within_0_and_1() -> None:
    assert true_values(Decimal("91.20"), percent=True) == (Fraction(91195, 100_000), Fraction(91205, 100_000))
    assert true_values(Decimal("0.9"), percent=False) == (Fraction(85, 100), Fraction(95, 100))
    assert true_values(Decimal("100"), percent=True) == (Fraction(995, 1000), 1)
    assert true_values(Decimal("0.0"), percent=True) == (0, Fraction(5, 10_000))
    assert true_values(Decimal("91.20"), percent=True, cut_off=True) == (
        Fraction(9120, 10_000),
        Fraction(9121, 10_000),
    )


def test_a_table_is_in_percent_where_one_number_is_above_1_or_has_the_sign() -> None:
    assert is_percent([Claim.of("a", {"accuracy": "0"}), Claim.of("b", {"accuracy": "91.2"})])
    assert is_percent([Claim.of("a", {"accuracy": "1%"})])
    assert not is_percent([Claim.of("a", {"accuracy": "1", "recall": "0.5"})])


def test_a_column_in_fractions_beside_percents_is_refused_unless_it_has_the_sign() -> None:
    with pytest.raises(ClaimError, match=r'column f1 is at most 0.92 in a table in percent: .* "0.92%"'):
        is_percent([Claim.of("a", {"accuracy": "91.2", "f1": "0.92"})])
    assert is_percent([Claim.of("a", {"accuracy": "91.2", "f1": "0.92%"})])


def test_counts_complete_each_other() -> None:
    claim = Claim.of("a", {"n_cells": "20", "n_negative": 8})
    assert (claim.n_positive, claim.n_negative, claim.n_cells) == (12, 8, 20)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"acuracy": "91"}, "a: acuracy is not checked, only .* Did you mean accuracy?"),
        ({"accuracy": "91,2"}, "a: accuracy is '91,2': write a point for the decimal comma, 91.2"),
        ({"accuracy": "91.2 ± 0.3"}, "a: accuracy is '91.2 ± 0.3', no rate"),
        ({"accuracy": "-1"}, "no rate"),
        ({"accuracy": float("inf")}, "no rate"),
        ({"accuracy": True}, "no rate"),
        ({"recall": "91", "sensitivity": "91"}, "sensitivity is given twice"),
        ({"n_cells": "10,600"}, "n_cells is '10,600', no number of cells"),
        ({"n_cells": "0"}, "no number of cells"),
        (
            {"n_cells": 20, "n_positive": 12, "n_negative": 9},
            "n_cells 20, n_positive 12, n_negative 9 contradict each other",
        ),
        ({"n_cells": 20, "n_positive": 20}, "contradict"),
    ],
)
def test_what_is_no_claim_is_refused(values: dict[str, str | float], words: str) -> None:
    with pytest.raises(ClaimError, match=words):
        Claim.of("a", values)


def test_all_values_that_are_no_claims_are_named() -> None:
    with pytest.raises(ClaimError) as caught:
        Claim.of("a", {"accuracy": "x", "f1": "90", "recall": "y", "n_cells": "z"})
    assert [fault.partition(" is ")[0] for fault in caught.value.faults] == [
        "a: accuracy",
        "a: recall",
        "a: n_cells",
    ]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_rate_above_100_percent_is_refused() -> None:
    with pytest.raises(ClaimError, match="a: accuracy 101 is above 100 %"):
        is_percent([Claim.of("a", {"accuracy": "101"})])


def test_a_row_in_fractions_is_not_taken_for_percent_because_another_has_percent_signs() -> None:
    values = {"sensitivity": "0.901", "specificity": "0.802", "accuracy": "0.851"}
    signed = {metric: f"{100 * float(value):.1f}%" for metric, value in values.items()}
    with pytest.raises(ClaimError, match=r"old: its numbers are at most 0\.901 in a table in percent"):
        is_percent([Claim.of("old", values), Claim.of("ours", signed)])
    assert is_percent([Claim.of("low", dict.fromkeys(values, "0.5%")), Claim.of("ours", signed)])
