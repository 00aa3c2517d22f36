from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import binomtest, norm
from scipy.stats import t as student_t
from sklearn.metrics import roc_auc_score

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.predictions import predictions_table
from leukemia_lab.evaluation.reliability import wilson
from leukemia_lab.evaluation.subjects import auroc_interval, log_odds, subject_level, subject_rows

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
TWO = ("ALL", "HEM")


def table_of(
    subjects: Sequence[str | None],
    labels: Sequence[str],
    logits: npt.ArrayLike,
    names: Sequence[str] = TWO,
    groups: Sequence[str] | None = None,
) -> pd.DataFrame:
    n = len(labels)
    cells = {
        "cell_id": [f"cell{i}" for i in range(n)],
        "subject": subjects,
        "group": subjects if groups is None else groups,
        "part": "val",
        "fold": pd.array([pd.NA] * n, dtype="Int64"),
        "label": labels,
    }
    return predictions_table(pd.DataFrame(cells), logits, names, "run")


def random_table(seed: int, n_classes: int, n_subjects: int = 24) -> tuple[pd.DataFrame, list[str]]:
    """Subjects of 1 to 12 cells whose logits share an effect of the subject; every class has subjects."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n_subjects) % n_classes
    cell = np.repeat(np.arange(n_subjects), rng.integers(1, 13, n_subjects))
    effect = rng.normal(size=(n_subjects, n_classes)) + np.eye(n_classes)[truth]
    logits = effect[cell] + rng.normal(size=(len(cell), n_classes))
    names = [f"c{k}" for k in range(n_classes)]
    labels = [names[truth[i]] for i in cell]
    return table_of([f"S{i}" for i in cell], labels, logits, names), names


def test_rows_by_hand() -> None:
    """Twins 20 and 21 in one row; cells decide, and of equal votes the mean probability."""
    table = table_of(
        ["21", "20", "20", "H3", "H3", None],
        ["ALL", "ALL", "ALL", "HEM", "HEM", "HEM"],
        [[2, 0], [1, 0], [0, 3], [3, 0], [0, 1], [0, 9]],
        groups=["20+21", "20+21", "20+21", "H3", "H3", "cell5"],
    )
    rows = subject_rows(table.iloc[::-1], TWO, "ALL")
    assert rows == [
        {
            "subject": "20=21",
            "group": "20+21",
            "label": "ALL",
            "n_cells": 3,
            "n_correct": 2,
            "accuracy": pytest.approx(2 / 3),
            "positive_fraction": pytest.approx(2 / 3),
            "mean_logit": pytest.approx(0),
            "mean_log_odds": {"ALL": pytest.approx(0), "HEM": pytest.approx(0)},
            "decided": "ALL",
            "correct": True,
        },
        {
            "subject": "H3",
            "group": "H3",
            "label": "HEM",
            "n_cells": 2,
            "n_correct": 1,
            "accuracy": 0.5,
            "positive_fraction": 0.5,
            "mean_logit": pytest.approx(1),
            "mean_log_odds": {"ALL": pytest.approx(1), "HEM": pytest.approx(-1)},
            "decided": "ALL",
            "correct": False,
        },
    ]
    level = subject_level(table, TWO, "ALL")
    assert (level["n_subjects"], level["n_cells_without_subject"]) == (2, 1)
    assert level["worst"] == ["H3", "20=21"]
    assert level["accuracy"]["value"] == 0.5
    assert level["auroc"]["value"] == 0
    assert "single subject" in level["auroc"]["reason"]
    assert json.loads(json.dumps(level, allow_nan=False)) == level


def test_worst_subjects_are_those_of_lowest_accuracy_and_then_most_cells() -> None:
    subjects = ["H10", "H9", "H9", "2", "2", "3"]
    labels = ["HEM"] * 3 + ["ALL"] * 3
    right, wrong = [0, 1], [1, 0]
    logits = [wrong, wrong, wrong, wrong, right, wrong]  # of ALL the "wrong" logits are the right ones
    level = subject_level(table_of(subjects, labels, logits), TWO, "ALL")
    assert level["worst"] == ["H9", "H10", "2"]
    assert [row["subject"] for row in level["rows"]] == ["2", "3", "H9", "H10"]


@pytest.mark.parametrize(("n_classes", "seed"), [(k, seed) for k in (2, 3, 5) for seed in range(6)])
def test_values_equal_scikit_learn_and_scipy(n_classes: int, seed: int) -> None:
    table, names = random_table(seed, n_classes)
    positive = names[1] if n_classes == 2 and seed < 4 else None
    level = subject_level(table, names, positive)
    logits = table[[f"logit_{name}" for name in names]].to_numpy()
    probs = table[[f"prob_{name}" for name in names]].to_numpy()
    odds = pd.DataFrame(np.log(probs / (1 - probs))).groupby(table["subject"]).mean()
    truth = np.array([names.index(label) for label in table.groupby("subject")["label"].first()])
    area = np.mean([roc_auc_score(truth == k, odds[k]) for k in range(n_classes)])
    assert level["auroc"]["value"] == pytest.approx(area)
    if n_classes == 2:
        gap = pd.Series(logits[:, 1] - logits[:, 0]).groupby(table["subject"]).mean()
        assert level["auroc"]["value"] == pytest.approx(roc_auc_score(truth == 1, gap))
    assert level["auroc"]["low"] < level["auroc"]["value"] < level["auroc"]["high"]
    n_right = sum(row["correct"] for row in level["rows"])
    wilson = binomtest(n_right, 24).proportion_ci(0.95, "wilson")
    accuracy = level["accuracy"]
    assert accuracy["value"] == n_right / 24
    assert (accuracy["low"], accuracy["high"]) == pytest.approx((wilson.low, wilson.high), abs=1e-12)
    hit = pd.Series(probs.argmax(axis=1) == [names.index(label) for label in table["label"]])
    by_subject = hit.groupby(table["subject"]).mean()
    assert {row["subject"]: row["accuracy"] for row in level["rows"]} == pytest.approx(by_subject.to_dict())
    if positive is not None:
        said = pd.Series(probs.argmax(axis=1) == 1).groupby(table["subject"]).mean()
        fractions = {row["subject"]: row["positive_fraction"] for row in level["rows"]}
        assert fractions == pytest.approx(said.to_dict())


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("ties", [False, True])
def test_auroc_interval_equals_delong_by_pairs(seed: int, ties: bool) -> None:
    """DeLong's variance from the matrix of all pairs; rounded scores have ties."""
    rng = np.random.default_rng(seed)
    truth = np.repeat([0, 1], [int(rng.integers(5, 20)), int(rng.integers(5, 20))])
    score = rng.normal(size=len(truth)) + truth
    score = np.round(score) if ties else score
    area, interval = auroc_interval(truth, np.stack([-score, score], axis=1), level=0.9)
    gaps = score[truth == 1][:, None] - score[truth == 0]
    wins = (gaps > 0) + (gaps == 0) / 2
    terms = [np.var(wins.mean(axis=axis), ddof=1) / wins.shape[1 - axis] for axis in (1, 0)]
    freedom = sum(terms) ** 2 / sum(v**2 / (n - 1) for v, n in zip(terms, wins.shape, strict=True))
    half = student_t.ppf(0.95, freedom) * np.sqrt(sum(terms)) / (wins.mean() * (1 - wins.mean()))
    expected = expit(logit(wins.mean()) + np.array([-half, half]))
    assert area == pytest.approx(wins.mean())
    assert (interval.low, interval.high) == pytest.approx(tuple(expected))


def test_macro_variance_is_that_of_simulated_areas() -> None:
    """Three classes: the interval's half width on the logit scale against the spread over 400 samples."""
    areas, halves = [], []
    truth = np.repeat([0, 1, 2], [20, 30, 40])
    for seed in range(400):
        scores = np.random.default_rng(seed).normal(size=(90, 3)) + 1.2 * np.eye(3)[truth]
        area, (low, high, _) = auroc_interval(truth, scores)
        assert area is not None
        assert low is not None
        assert high is not None
        areas.append(area)
        halves.append((logit(high) - logit(low)) / 2 / 1.99)
    assert np.sqrt(np.mean(np.square(halves))) == pytest.approx(np.std(logit(areas)), rel=0.12)


def test_perfect_constant_and_lonely_subjects() -> None:
    truth = np.array([0, 0, 0, 1, 1, 1, 1])
    perfect = np.stack([-truth, truth], axis=1).astype(float)
    z = norm.ppf(0.975)
    assert auroc_interval(truth, perfect)[1] == pytest.approx((3 / (3 + z**2), 1.0, None))
    assert auroc_interval(truth, -perfect)[1][:2] == pytest.approx((0.0, z**2 / (3 + z**2)))
    area, interval = auroc_interval(truth, np.zeros((7, 2)))
    assert (area, interval) == (0.5, (None, None, "no subject changes the value"))
    area, interval = auroc_interval(np.array([0, 1, 1]), perfect[2:5])
    assert (area, interval.low) == (1, None)
    assert "single subject" in str(interval.reason)
    assert auroc_interval(np.zeros(3, dtype=np.int64), perfect[:3])[0] is None


def test_tables_without_subjects_classes_or_pure_groups_say_so() -> None:
    nobody = subject_level(table_of([None, None], ["ALL", "HEM"], np.eye(2), groups=["a", "b"]), TWO, "ALL")
    assert nobody["rows"] == []
    assert nobody["worst"] == []
    for metric in ("accuracy", "auroc"):
        assert nobody[metric] == {
            "value": None,
            "low": None,
            "high": None,
            "n_subjects": 0,
            "reason": "no cell has a known subject",
        }
    one_class = subject_level(table_of(["1", "2"], ["ALL", "ALL"], np.eye(2)), TWO, "ALL")
    assert one_class["auroc"]["reason"] == "no subject is HEM"
    assert one_class["accuracy"]["low"] is not None
    mixed = subject_level(table_of(["1", "1", "2"], ["ALL", "HEM", "HEM"], np.eye(3)[:, :2]), TWO, "ALL")
    assert [(row["subject"], row["label"]) for row in mixed["rows"]] == [
        ("1", "ALL"),
        ("1", "HEM"),
        ("2", "HEM"),
    ]
    assert mixed["n_subjects"] == 2
    for metric in ("accuracy", "auroc"):
        assert mixed[metric]["value"] is not None
        assert mixed[metric]["low"] is None
        assert mixed[metric]["reason"] == "cells of 1 are of several classes: its rows are not independent"
    with pytest.raises(RunError, match="positive class 'CLL' is none of"):
        subject_level(table_of(["1"], ["ALL"], [[1, 0]]), TWO, "CLL")


def test_the_order_of_cells_breaks_no_tie() -> None:
    """0.1 + 0.2 + 0.3 and 0.3 + 0.2 + 0.1 differ in float64; these two subjects do not."""
    odds = [0.1, 0.2, 0.3, 0.3, 0.2, 0.1]
    table = table_of(["1"] * 3 + ["2"] * 3, ["ALL"] * 3 + ["HEM"] * 3, [[v, 0] for v in odds])
    assert subject_level(table, TWO, "ALL")["auroc"]["value"] == 0.5


def test_more_than_two_classes_have_no_blast_fraction_and_shifts_change_nothing() -> None:
    table, names = random_table(0, 3)
    rows = subject_rows(table, names, None)
    assert all(row["positive_fraction"] is None and row["mean_logit"] is None for row in rows)
    logits = np.random.default_rng(0).normal(size=(50, 3))
    shifted = logits + np.arange(50)[:, None]
    assert log_odds(shifted) == pytest.approx(log_odds(logits))
    assert np.isfinite(log_odds(1e4 * logits)).all()
    turned = subject_level(table, names[::-1], None)
    assert turned["auroc"] == pytest.approx(subject_level(table, names, None)["auroc"])


@pytest.mark.parametrize("d_prime", [1.0, 2.0, 3.0])
def test_intervals_hold_the_truth_as_often_as_they_say(d_prime: float) -> None:
    """95 % intervals, 1,000 samples of 30 + 20 subjects whose mean logits are normal, d_prime apart."""
    truth = np.repeat([0, 1], [30, 20])
    accuracy, area = norm.cdf(d_prime / 2), norm.cdf(d_prime / np.sqrt(2))
    inside = []
    for seed in range(1000):
        mean_logit = np.random.default_rng(seed).normal(size=50) + d_prime * (truth - 0.5)
        of_accuracy = wilson(float(np.mean((mean_logit > 0) == truth)), 50)
        _, of_area = auroc_interval(truth, np.stack([-mean_logit, mean_logit], axis=1))
        assert of_area.low is not None
        assert of_area.high is not None
        bounds = ((*of_accuracy, accuracy), (of_area.low, of_area.high, area))
        inside.append([low <= value <= high for low, high, value in bounds])
    covered = np.mean(inside, axis=0)
    assert (covered >= 0.93).all()
    assert (covered <= 0.98).all()
