"""Metrics of a predictions table: their values, by class and by subject."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    f1_score,
    matthews_corrcoef,
    roc_auc_score,
)

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.predictions import class_names_of
from leukemia_lab.schema.fields import Metric

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PARTS = ("train", "val", "test")
METRICS = get_args(Metric)
ECE_BINS = 15


def metric_values(truth: Ints, probs: Floats, positive: int | None) -> dict[str, float]:
    """All `METRICS` of class indices `truth` [n] and probabilities `probs` [n, K]; NaN where undefined.

    A cell is taken for the class of highest probability, the first of equals. With a `positive` class (two
    classes), sensitivity, specificity, precision, F1, AUROC and AUPRC are of that class; otherwise they are
    macro averages of the classes, each against the rest. `auprc` is `average_precision_score`;
    `weighted_f1` weights by the true cells of the class; `mcc` is 0 where one class is predicted throughout.

    `ece`: expected calibration error of the highest probability (Guo et al. 2017, eq. 3) over 15 bins of
    equal width, for two classes as for more. `brier`: with a positive class the mean of (p - y)^2 of that
    class (0 to 1), otherwise its sum over the classes (Brier 1950, 0 to 2).
    """
    predicted = probs.argmax(axis=1)
    by_class = one_vs_rest(truth, probs)
    squares = (probs - np.eye(probs.shape[1])[truth]) ** 2
    return {
        "accuracy": float(np.mean(predicted == truth)),
        "balanced_accuracy": float(by_class["sensitivity"].mean()),
        **{name: float(v.mean() if positive is None else v[positive]) for name, v in by_class.items()},
        "weighted_f1": float(f1_score(truth, predicted, average="weighted", zero_division=0.0)),
        "mcc": float(matthews_corrcoef(truth, predicted)) if len(np.unique(truth)) > 1 else np.nan,
        "ece": expected_calibration_error(predicted == truth, probs.max(axis=1)),
        "brier": float(squares.sum(axis=1).mean() if positive is None else squares[:, positive].mean()),
    }


def one_vs_rest(truth: Ints, probs: Floats) -> dict[str, Floats]:
    """Each class against the rest: sensitivity, specificity, precision, f1, auroc, auprc [K]; NaN for 0/0."""
    n_classes = probs.shape[1]
    matrix = confusion_matrix(truth, probs.argmax(axis=1), labels=range(n_classes))
    true = matrix.sum(axis=1)
    ranked = np.full((2, n_classes), np.nan)
    for k in np.flatnonzero((true > 0) & (true < len(truth))):
        ranked[0, k] = roc_auc_score(truth == k, probs[:, k])
        ranked[1, k] = average_precision_score(truth == k, probs[:, k])
    return rates(matrix) | {"auroc": ranked[0], "auprc": ranked[1]}


def rates(matrices: npt.NDArray[np.number]) -> dict[str, Floats]:
    """Each class against the rest [..., K] in confusion matrices [..., K, K], rows the true classes; NaN for 0/0."""
    hits = np.einsum("...kk->...k", matrices)
    true, predicted = matrices.sum(axis=-1), matrices.sum(axis=-2)
    others = true.sum(axis=-1, keepdims=True) - true
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "sensitivity": hits / true,
            "specificity": (others - predicted + hits) / others,
            "precision": hits / predicted,
            "f1": 2 * hits / (true + predicted),
        }


def expected_calibration_error(correct: npt.NDArray[np.bool_], confidence: Floats) -> float:
    """Mean |accuracy - confidence| over the bins ((m - 1) / 15, m / 15], weighted by their cells."""
    gaps = np.bincount(confidence_bins(confidence), weights=correct - confidence, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(correct))


def confidence_bins(prob: Floats, bins: int = ECE_BINS) -> Ints:
    """The bin 0 … bins - 1 of each probability: b holds (b / bins, (b + 1) / bins], the first one 0 too."""
    # Rounding keeps float noise from moving a cell over the edge of a bin (KNN: 3 of 5 neighbours = 9/15).
    return np.clip(np.ceil(np.round(prob * bins, 9)).astype(np.int64) - 1, 0, bins - 1)


def class_metrics(table: pd.DataFrame, class_names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """By class: the metrics of `one_vs_rest` (None where undefined) and n_cells."""
    truth, probs = truth_and_probs(table, class_names)
    by_class = one_vs_rest(truth, probs)
    return {
        name: {metric: or_none(values[k]) for metric, values in by_class.items()}
        | {"n_cells": int((truth == k).sum())}
        for k, name in enumerate(class_names)
    }


def subject_metrics(
    table: pd.DataFrame, class_names: Sequence[str], positive: str | None
) -> dict[str, dict[str, Any]]:
    """By subject: n_cells, labels, accuracy, and the mean probability of the true and of the positive class.

    `prob_positive` is None without a positive class. Cells without a subject are left out.
    """
    truth, probs = truth_and_probs(table, class_names)
    positive_at = positive_index(class_names, positive)
    correct = probs.argmax(axis=1) == truth
    prob_true = probs[np.arange(len(truth)), truth]
    metrics = {}
    for subject, rows in table.reset_index(drop=True).groupby("subject"):
        at = rows.index.to_numpy()
        metrics[str(subject)] = {
            "n_cells": len(rows),
            "labels": sorted(rows["label"].unique()),
            "accuracy": float(correct[at].mean()),
            "prob_true": float(prob_true[at].mean()),
            "prob_positive": None if positive_at is None else float(probs[at, positive_at].mean()),
        }
    return metrics


def confusion(table: pd.DataFrame, class_names: Sequence[str]) -> Ints:
    """Counts [K, K]: rows are the true classes, columns the predicted ones, in the order of `class_names`."""
    truth, probs = truth_and_probs(table, class_names)
    matrix: Ints = confusion_matrix(truth, probs.argmax(axis=1), labels=range(len(class_names)))
    return matrix


def truth_and_probs(table: pd.DataFrame, class_names: Sequence[str]) -> tuple[Ints, Floats]:
    """Class indices [n] and probabilities [n, K] of a table, classes in the order of `class_names`."""
    classes = class_names_of(table)
    if sorted(classes) != sorted(class_names):
        raise RunError(
            f"the predictions have the classes {', '.join(classes)}, not {', '.join(class_names)}."
        )
    truth = pd.Categorical(table["label"], categories=list(class_names)).codes.astype(np.int64)
    return truth, table[[f"prob_{name}" for name in class_names]].to_numpy(dtype=np.float64)


def positive_index(class_names: Sequence[str], positive: str | None) -> int | None:
    """Where the positive class stands; None with more than two classes, whose metrics have none."""
    if positive is not None and positive not in class_names:
        raise RunError(f"the positive class {positive!r} is none of {', '.join(class_names)}.")
    return list(class_names).index(positive) if positive is not None and len(class_names) == 2 else None


def or_none(value: float) -> float | None:
    """`value`, None where it is NaN: JSON has no other word for it."""
    return None if np.isnan(value) else float(value)
