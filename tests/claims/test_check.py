"""The check of claims against brute force over all confusion matrices, and the papers."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
import pytest
from all_matrices import matrices, printed_by, random_tables
from checked_rows import THREE, checked
from hypothesis import given, settings
from hypothesis import strategies as st

from leukemia_lab.claims.check import check_claims
from leukemia_lab.claims.claim import Claim
from leukemia_lab.claims.tables import implied_share_words
from leukemia_lab.errors import ClaimError

C_NMC_SHARE = 7272 / 10661
VGG13_PAPER = {
    "KNN": ("86.23", "89.90", "91.20"),
    "SVM": ("88.50", "90.56", "93.50"),
    "VGG19": ("92.64", "96.00", "96.00"),
    "VGG16": ("86.15", "78.97", "82.97"),
    "VGG16 + RF": ("87.53", "86.05", "86.92"),
    "VGG13": ("95.95", "89.10", "92.56"),
}
VGG16_PAPER = {
    "traditional CNN": ("91.65", "92.5", "91.5", "91.75"),
    "AlexNet": ("94.6", "94.5", "94.5", "94.5"),
    "VGG-16": ("97.44", "97.5", "97.5", "97.5"),
}


@pytest.mark.parametrize("n_tables", [2000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_brute_force_over_all_matrices_agrees(n_tables: int) -> None:
    """No table that some matrix prints is impossible, and a matrix is found exactly where there is one."""
    n_found = n_none = n_impossible = 0
    for table in random_tables(n_tables, seed=n_tables):
        row = checked(table.values, table.n_cells, table.n_positive)
        fits = printed_by(table.values, table.n_cells, table.n_positive)
        assert (row.integer_matrix == "found") == fits.any(), table
        assert row.verdict == "possible" or not fits.any(), table
        assert fits.any() or not table.is_true
        if row.matrix is not None:
            which = np.all(np.stack(matrices(table.n_cells)) == np.array([row.matrix]).T, axis=0)
            assert fits[which].all(), table
            assert which.sum() == 1, table
        if row.matrix is not None and row.share_interval is not None:
            share = Fraction(row.matrix.tp + row.matrix.fn, table.n_cells)
            assert row.share_interval.low <= share <= row.share_interval.high, table
        n_found += fits.any()
        n_none += not fits.any()
        n_impossible += row.verdict == "impossible"
    assert min(n_found, n_none, n_impossible) > 0.15 * n_tables


def test_what_is_called_impossible_lies_outside_and_only_that() -> None:
    """Without precision the verdict is: accuracy's interval misses the span of the two others."""
    n_impossible = 0
    for table in random_tables(2000, seed=1):
        if set(THREE) != table.values.keys():
            continue
        half = Fraction(1, 2 * 10 ** len(table.values["accuracy"].partition(".")[2]))
        sensitivity, specificity, accuracy = (Fraction(table.values[metric]) for metric in THREE)
        outside = (
            accuracy - half > max(sensitivity, specificity) + half
            or accuracy + half < min(sensitivity, specificity) - half
        )
        assert (checked(table.values).verdict == "impossible") == outside, table
        n_impossible += outside
    assert n_impossible > 100


def test_the_rows_of_the_vgg13_paper() -> None:
    claims = [Claim.of(name, dict(zip(THREE, rates, strict=True))) for name, rates in VGG13_PAPER.items()]
    check = check_claims(claims, C_NMC_SHARE)
    rows = {row.claim.name: row for row in check.rows}
    assert [name for name, row in rows.items() if row.verdict == "impossible"] == ["KNN", "SVM"]
    shares = {name: row.implied_share for name, row in rows.items()}
    assert shares == {
        "KNN": None,
        "SVM": None,
        "VGG19": 0.0,
        "VGG16": pytest.approx(0.557, abs=5e-4),
        "VGG16 + RF": pytest.approx(0.588, abs=5e-4),
        "VGG13": pytest.approx(0.505, abs=5e-4),
    }
    assert rows["VGG19"].share_interval == (0, pytest.approx(0.00298, abs=1e-5))
    assert rows["KNN"].reasons == (
        "impossible at any class share: accuracy 91.20 lies above both sensitivity 86.23 and specificity 89.90, "
        "by 1.30",
    )
    assert {row.integer_matrix for row in check.rows} == {"size unknown"}
    assert {row.has_data_share for row in check.rows} == {None, False}
    assert check.in_percent
    assert check.one_test_set is False
    assert check.sentences == (
        "2 of 6 rows impossible whatever the class share: KNN, SVM",
        "the rows cannot be of one test set: VGG19 implies a share of positives of 0.000 to 0.003, VGG16 + RF of "
        "0.581 to 0.595",
        "the data's share of positives, 0.682, is that of none of the 4 rows that imply one",
    )


def test_the_rows_of_the_vgg16_paper() -> None:
    metrics = ("accuracy", "precision", "recall", "F1")
    check = check_claims(
        [Claim.of(name, dict(zip(metrics, rates, strict=True))) for name, rates in VGG16_PAPER.items()]
    )
    assert [row.verdict for row in check.rows] == ["possible"] * 3
    assert [row.f1_fit for row in check.rows] == ["average only", "one class", "one class"]
    assert check.one_test_set is None
    assert check.sentences == ("none of 3 rows is impossible by its rates",)
    assert "its share would be 0.520 to 0.529" in check.rows[0].reasons[0]


def test_one_test_set_is_possible_where_one_share_lies_in_all_intervals() -> None:
    rows = [("90.0", "80.0", "86.8"), ("95.0", "70.0", "87.0"), ("88.0", "88.0", "88.0")]
    claims = [Claim.of(str(k), dict(zip(THREE, rates, strict=True))) for k, rates in enumerate(rows)]
    check = check_claims(claims, 0.68)
    assert check.one_test_set is True
    assert [row.has_data_share for row in check.rows] == [True] * 3
    assert check.rows[2].implied_share is None
    assert check.rows[2].reasons == ("possible at any share of positives",)


def test_precision_that_contradicts_makes_a_row_impossible() -> None:
    row = checked({"sensitivity": "90.0", "specificity": "80.0", "accuracy": "86.8", "precision": "70.0"})
    assert row.verdict == "impossible"
    assert "accuracy 86.8 implies a share of positives of 0.67" in row.reasons[0]
    assert "precision 70.0, as of the positive class, of 0.34" in row.reasons[0]


def test_a_row_cut_off_instead_of_rounded_is_named_as_such() -> None:
    """Two thirds everywhere, cut off to 66 and 66.6: rounded, accuracy would be above both."""
    row = checked({"sensitivity": "66", "specificity": "66", "accuracy": "66.6"})
    assert row.reasons[0].endswith("by 0.6; it would be possible had decimals been cut off, not rounded")
    assert "cut off" not in checked({"sensitivity": "66", "specificity": "66", "accuracy": "67.1"}).reasons[0]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sensitivity": "86.15", "specificity": "78.97", "accuracy": "82.97"}, "0.56 (0.555 to 0.559)"),
        ({"sensitivity": "90.0", "specificity": "90.0", "accuracy": "90.0"}, "(0.000 to 1.000)"),
        ({"sensitivity": "90.0", "accuracy": "90.0", "f1": "90.0"}, "n/a"),
        ({"sensitivity": "86.23", "specificity": "89.90", "accuracy": "91.20"}, "none"),
    ],
)
def test_the_implied_share_in_words(values: dict[str, str], words: str) -> None:
    """Where specificity is not given no share is implied, which is not the same as any."""
    assert implied_share_words(checked(values), digits=2) == words


@settings(max_examples=200, deadline=None)
@given(st.tuples(*[st.integers(1, 30)] * 4), st.integers(1, 2), st.booleans())
def test_f1_of_a_true_table_always_fits(
    counts: tuple[int, int, int, int], decimals: int, weighted: bool
) -> None:
    tp, fn, tn, fp = counts
    one = np.array([(tp / (tp + fp), tp / (tp + fn)), (tn / (tn + fn), tn / (tn + fp))])
    f1 = [2 * p * r / (p + r) for p, r in one]
    weights = np.array([tp + fn, tn + fp]) / (tp + fn + tn + fp) if weighted else np.array([0.5, 0.5])
    of_class = {"precision": one[0][0], "recall": one[0][1], "f1": f1[0]}
    average = dict(zip(("precision", "recall", "f1"), (*(weights @ one), weights @ f1), strict=True))
    for rates, allowed in ((of_class, {"one class"}), (average, {"one class", "average only"})):
        printed = {metric: f"{100 * rate:.{decimals}f}" for metric, rate in rates.items()}
        assert checked(printed).f1_fit in allowed


@pytest.mark.parametrize(
    ("f1", "fit"),
    [
        ("92.0", "one class"),
        ("92.2", "none"),
        ("83.7", "none"),
        ("83.9", "average only"),
        ("91.7", "average only"),
    ],
)
def test_f1_fits_up_to_the_harmonic_mean_and_down_to_the_sum_less_one(f1: str, fit: str) -> None:
    assert checked({"precision": "92.5", "recall": "91.5", "f1": f1}).f1_fit == fit


def test_a_matrix_of_the_real_size_is_found_or_refused_at_once() -> None:
    """With two decimals 2120 cells, a fifth of the paper's 10,600, cannot give any of its rows; 10,600 can."""
    claims = [Claim.of(name, dict(zip(THREE, rates, strict=True))) for name, rates in VGG13_PAPER.items()]
    began = time.perf_counter()
    fifth, whole = (
        [row.integer_matrix for row in check_claims(claims, n_cells=n).rows] for n in (2120, 10_600)
    )
    assert time.perf_counter() - began < 2.0
    assert fifth == ["none"] * 6
    assert whole == ["none", "none", "none", "found", "found", "found"]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"sensitivity": "56.1652"}, "found"),
        ({"specificity": "96.1254"}, "found"),
        ({"precision": "66.2115"}, "found"),
        ({"f1": "4.8451"}, "found"),
        ({"precision": "50.0012345", "accuracy": "80"}, "none"),
        ({"f1": "50.0012345", "specificity": "90"}, "none"),
        ({"specificity": "99.9999999", "sensitivity": "80"}, "none"),
    ],
)
def test_one_rate_with_many_decimals_is_searched_by_its_counts_not_by_all_pairs(
    values: dict[str, str], found: str
) -> None:
    """The narrow rate is k of m cells for no k and m up to 3000, or for few; the other is no help."""
    began = time.perf_counter()
    row = checked(values, n_cells=3000)
    assert row.integer_matrix == found
    assert time.perf_counter() - began < 2.0


def test_no_row_is_refused() -> None:
    with pytest.raises(ClaimError, match="no row to check"):
        check_claims([])


def test_a_class_without_cells_is_refused() -> None:
    with pytest.raises(ClaimError, match="row: 30 positive of 20 cells leaves a class empty"):
        checked({"sensitivity": "90"}, n_cells=20, n_positive=30)


def test_rows_of_different_sizes_are_not_of_one_test_set() -> None:
    rates = {"sensitivity": "90.0", "specificity": "80.0", "accuracy": "85.0"}
    check = check_claims(
        [Claim.of("A", rates | {"n_cells": "1000"}), Claim.of("B", rates | {"n_cells": "50"})]
    )
    assert check.one_test_set is False
    assert "the rows are not of one test set: A has 1000 cells, B 50" in check.sentences
    assert check_claims([Claim.of("A", rates), Claim.of("B", rates)]).one_test_set
