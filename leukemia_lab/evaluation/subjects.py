"""Subjects as the units: what the cells of each say together, and how often that is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit, logit, logsumexp
from scipy.stats import rankdata
from scipy.stats import t as student_t

from leukemia_lab.evaluation.metrics import positive_index, truth_and_probs
from leukemia_lab.evaluation.uncertainty import Interval, wilson
from leukemia_lab.wording import natural

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NO_SUBJECTS = "no cell has a known subject"
NO_VARIANCE = 1e-18
TIE_DECIMALS = 9  # of mean log-odds: the order of the cells must not break a tie


def subject_level(
    table: pd.DataFrame, class_names: Sequence[str], positive: str | None, level: float = 0.95
) -> dict[str, Any]:
    """Subject level of one part of a predictions table, as it stands in `metrics.json`.

    `{"n_subjects", "n_cells_without_subject", "accuracy": {"value", "low", "high", "n_subjects", "reason"?},
    "auroc": {same}, "worst": [names], "rows": subject_rows}`. Accuracy: the share of rows whose `decided` is their
    label, with Wilson's interval. AUROC: of the mean log-odds, macro one-vs-rest without a positive class, with
    `auroc_interval`. Both intervals take the subjects as the units and the model as given. A group with cells
    of several classes has several rows, which are not independent: then there are values without intervals.
    `worst` names the subjects with a cell wrong, lowest accuracy first. Raises RunError on other classes.
    """
    rows = subject_rows(table, class_names, positive)
    n_without = int(table["subject"].isna().sum())
    groups = [row["group"] for row in rows]
    mixed = [row["subject"] for row, group in zip(rows, groups, strict=True) if groups.count(group) > 1]
    apart = f"cells of {mixed[0]} are of several classes: its rows are not independent" if mixed else None
    n_subjects = len(set(groups))
    correct = [row["correct"] for row in rows]
    accuracy = float(np.mean(correct)) if rows else None
    if accuracy is None:
        interval = Interval(None, None, NO_SUBJECTS)
    else:
        interval = Interval(*wilson(accuracy, len(rows), level)) if apart is None else _none(apart)
    area, area_interval = _auroc_of_rows(rows, class_names, positive, level)
    if apart is not None and area is not None:
        area_interval = _none(apart)
    ranked = sorted(rows, key=lambda row: (row["accuracy"], -row["n_cells"]))
    return {
        "n_subjects": n_subjects,
        "n_cells_without_subject": n_without,
        "accuracy": _estimate(accuracy, interval, n_subjects),
        "auroc": _estimate(area, area_interval, n_subjects),
        "worst": [row["subject"] for row in ranked if row["accuracy"] < 1],
        "rows": rows,
    }


def subject_rows(
    table: pd.DataFrame, class_names: Sequence[str], positive: str | None
) -> list[dict[str, Any]]:
    """One row a group (subjects, twins merged) in the natural order of names; cells without a subject are left out.

    A group with cells of several classes has a row for each of them. Keys: `subject` (the names, `20=21` where
    merged), `group`, `label`, `n_cells`, `n_correct`, `accuracy` (their share), `positive_fraction` (cells
    taken for the positive class; the blast fraction where that is ALL) and `mean_logit` (of the positive class
    against the other), both None without a positive class; `mean_log_odds` {class: mean over the cells of
    logit minus the logsumexp of the other classes' logits}; `decided`, the class most cells were taken for
    (of equals that of the highest mean probability); `correct`. A cell is taken for its class of highest
    probability: for another operating point pass a table with moved probabilities.
    """
    table = table[table["subject"].notna()].reset_index(drop=True)
    if table.empty:
        return []
    names = list(class_names)
    truth, probs = truth_and_probs(table, names)
    odds = log_odds(table[[f"logit_{name}" for name in names]].to_numpy(dtype=np.float64))
    at_positive = positive_index(names, positive)
    rows = []
    for (group, label), of_row in table.groupby(["group", "label"], sort=False):
        at = of_row.index.to_numpy()
        about = {
            "subject": "=".join(sorted(map(str, of_row["subject"].unique()), key=natural)),
            "group": str(group),
            "label": str(label),
        }
        rows.append(about | _of_cells(names, int(truth[at[0]]), probs[at], odds[at], at_positive))
    return sorted(rows, key=lambda row: (natural(str(row["subject"])), str(row["label"])))


def _of_cells(
    names: Sequence[str], label: int, probs: Floats, odds: Floats, positive: int | None
) -> dict[str, Any]:
    """What the cells of one row, all of class `label`, say together."""
    votes = np.bincount(probs.argmax(axis=1), minlength=len(names))
    decided = int(np.lexsort((-probs.mean(axis=0), -votes))[0])
    mean_odds = odds.mean(axis=0)
    return {
        "n_cells": len(probs),
        "n_correct": int(votes[label]),
        "accuracy": float(votes[label] / len(probs)),
        "positive_fraction": None if positive is None else float(votes[positive] / len(probs)),
        "mean_logit": None if positive is None else float(mean_odds[positive]),
        "mean_log_odds": dict(zip(names, mean_odds.tolist(), strict=True)),
        "decided": names[decided],
        "correct": decided == label,
    }


def log_odds(logits: Floats) -> Floats:
    """Of logits [n, K], each class's against the rest [n, K]: log p - log(1 - p), exact for p next to 0 or 1."""
    columns = range(logits.shape[1])
    rest = [logsumexp(np.delete(logits, k, axis=1), axis=1) for k in columns]
    odds: Floats = logits - np.stack(rest, axis=1)
    return odds


def auroc_interval(truth: Ints, scores: Floats, level: float = 0.95) -> tuple[float | None, Interval]:
    """AUROC of independent units and its interval: class indices [n], scores [n, K] of each class against the rest.

    Macro one-vs-rest; for two classes with opposite scores that is the AUROC of either. The variance is
    DeLong's (1988), over the classes of the units and of the mean of the K areas; the interval is on the logit
    scale with Student's quantile and Satterthwaite's (1946) degrees of freedom. At an area of 0 or 1 it is
    Wilson's for as many trials as the smallest class has units. No value where a class has no unit, no
    interval where one has a single unit or no unit moves the area, with the reason.
    """
    n_classes = scores.shape[1]
    counts = np.bincount(truth, minlength=n_classes)
    if (counts == 0).any():
        return None, _none("a class has no subject")
    placed = [_place(truth == k, scores[:, k]) for k in range(n_classes)]
    area = float(np.mean([each for each, _ in placed]))
    if (counts == 1).any():
        return area, _none("a class has a single subject, which says nothing about how subjects differ")
    if area in (0.0, 1.0):
        return area, Interval(*wilson(area, int(counts.min()), level))
    influence = np.mean([moved for _, moved in placed], axis=0)
    of_class = [counts[k] * np.var(influence[truth == k], ddof=1) for k in range(n_classes)]
    variance = np.array(of_class, dtype=np.float64)
    if variance.sum() < NO_VARIANCE:
        return area, _none("no subject changes the value")
    freedom = variance.sum() ** 2 / (variance**2 / (counts - 1)).sum()
    half = student_t.ppf((1 + level) / 2, freedom) * np.sqrt(variance.sum()) / (area * (1 - area))
    low, high = expit(logit(area) + np.array([-half, half]))
    return area, Interval(float(low), float(high))


def _place(is_positive: npt.NDArray[np.bool_], scores: Floats) -> tuple[float, Floats]:
    """AUROC, and how far each unit moves it [n], by DeLong's placements: the share of the other class it beats."""
    n_positive, n_negative = int(is_positive.sum()), int((~is_positive).sum())
    ranks = rankdata(scores)
    placements = np.empty(len(scores))
    for own, n_others in ((is_positive, n_negative), (~is_positive, n_positive)):
        placements[own] = (ranks[own] - rankdata(scores[own])) / n_others
    area = float(placements[is_positive].mean())
    placements[~is_positive] = 1 - placements[~is_positive]
    n_own = np.where(is_positive, n_positive, n_negative)
    return area, (placements - area) / n_own


def _auroc_of_rows(
    rows: Sequence[dict[str, Any]], class_names: Sequence[str], positive: str | None, level: float
) -> tuple[float | None, Interval]:
    if not rows:
        return None, _none(NO_SUBJECTS)
    truth = np.array([list(class_names).index(row["label"]) for row in rows])
    scores = np.array([[row["mean_log_odds"][name] for name in class_names] for row in rows])
    missing = [name for k, name in enumerate(class_names) if not (truth == k).any()]
    if missing:
        return None, _none(f"no subject is {missing[0]}")
    return auroc_interval(truth, np.round(scores, TIE_DECIMALS), level)


def _estimate(value: float | None, interval: Interval, n_subjects: int) -> dict[str, Any]:
    estimate = {"value": value, "low": interval.low, "high": interval.high, "n_subjects": n_subjects}
    return estimate if interval.reason is None else estimate | {"reason": interval.reason}


def _none(reason: str) -> Interval:
    return Interval(None, None, reason)
