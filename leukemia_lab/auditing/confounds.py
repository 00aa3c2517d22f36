"""What size, colour, sharpness and file size alone say about the class and the subject of a cell.

A model that does not beat these has learned nothing of cells that a ruler does not know, and features that tell
the subject are what leaks where the cells of a subject stand on both sides of a split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from leukemia_lab.auditing.clustering import QUANTITIES, clustering_by_quantity
from leukemia_lab.auditing.subject_probe import N_FOLDS, SEED, recalls, varies, with_subjects
from leukemia_lab.errors import DataError
from leukemia_lab.evaluation.metrics import positive_index
from leukemia_lab.evaluation.score_intervals import auroc, balanced_accuracy, jackknife_interval

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SINGLE = {
    "size": ["box_w", "box_h", "foreground_px"],
    "colour": ["mean_red", "mean_green", "mean_blue"],
    "sharpness": ["sharpness"],
    "file_size": ["n_bytes"],
}
FEATURES = SINGLE | {"all": [column for columns in SINGLE.values() for column in columns]}
COLUMNS = ["label", "subject", "group", *FEATURES["all"]]
STATISTICS = {"auroc": auroc, "balanced_accuracy": balanced_accuracy}
CONSTANT = "the feature is the same in every cell"
NO_SUBJECTS = (
    "{} of {} cells have no subject: each counts as one, and a patient may be on both sides of a fold"
)


def confounds(table: pd.DataFrame, class_names: Sequence[str], positive: str | None) -> dict[str, Any]:
    """How well simple features predict class and subject, and how alike the cells of a subject are.

    Args:
        table: one row a cell: `label`, `subject` (None where unknown), `group` (subjects with twins merged; the
            cell where there are no subjects), `box_w`, `box_h` (px), `foreground_px` (area), `mean_red`,
            `mean_green`, `mean_blue` (grey levels over the foreground), `sharpness` (standard deviation of the
            Laplacian over the foreground), `n_bytes`.
        class_names: all classes.
        positive: of two classes, the one that high scores mean; no number depends on it.

    Returns:
        Ready for JSON: `class` (see `predict_class`), `subject` (see `predict_subject`), `icc` (by class, see
        `clustering_by_quantity`) and `note` (None, or what the lack of subjects means). A value that cannot be
        had is None, with a `reason`; so is each value of a feature that some cells lack.

    Raises:
        DataError: a column is missing, or a label is none of the classes.
        RunError: `positive` is none of the classes.
    """
    _check(table, class_names)
    positive_index(class_names, positive)
    n_unnamed = int(table["subject"].isna().sum())
    return {
        "class": predict_class(table, sorted(class_names, key=lambda name: name == positive)),
        "subject": predict_subject(table),
        "icc": {name: clustering_by_quantity(table[table["label"] == name]) for name in class_names},
        "note": NO_SUBJECTS.format(n_unnamed, len(table)) if n_unnamed > 0 else None,
    }


def measured_only(results: Mapping[str, Any], table: pd.DataFrame) -> dict[str, Any]:
    """`confounds` without the features and quantities that no cell of `table` has a value of."""
    columns = FEATURES | {name: list(own) for name, own in QUANTITIES.items()}
    absent = {name for name, own in columns.items() if not table[own].notna().any(axis=None)}

    def known(rows: Mapping[str, Any]) -> dict[str, Any]:
        return {name: row for name, row in rows.items() if name not in absent}

    icc = {label: rows for label, own in results["icc"].items() if (rows := known(own))}
    return {**results, "class": known(results["class"]), "subject": known(results["subject"]), "icc": icc}


def predict_class(table: pd.DataFrame, class_names: Sequence[str]) -> dict[str, Any]:
    """By feature `auroc` (over two classes: macro one-vs-rest) and `balanced_accuracy`, with 95 % intervals.

    Each is `{"value", "low", "high"}` of pooled out-of-fold scores of a quadratic logistic regression with
    balanced classes, in five folds of whole groups (fewer where a class has fewer). The interval is over groups
    with the models as given (`jackknife_interval`). A constant feature is at chance. Where few groups say
    nothing about new ones, a pooled AUROC tends to fall below 0.5: each fold's model leans away from its test.
    """
    labels = pd.Categorical(table["label"], categories=list(class_names)).codes.astype(np.int64)
    groups = pd.factorize(table["group"], sort=True)[0].astype(np.int64)
    folds = _folds_of_groups(labels, groups, class_names)
    if isinstance(folds, str):
        return {feature: _without_intervals(None, None, folds) for feature in FEATURES}
    results = {}
    for feature, columns in _measured(table).items():
        values = table[columns].to_numpy(dtype=np.float64, na_value=np.nan)
        if reason := _missing(values):
            results[feature] = _without_intervals(None, None, reason)
        elif not varies(values):
            results[feature] = _without_intervals(0.5, 1 / len(class_names), CONSTANT)
        else:
            results[feature] = _class_scores(values, labels, groups, folds)
    return results


def quadratic_classifier(max_iter: int = 1000) -> Pipeline:
    """Logistic regression, classes of equal weight, on (standardised) features, their squares and their products."""
    return make_pipeline(
        PolynomialFeatures(2, include_bias=False),
        LogisticRegression(class_weight="balanced", max_iter=max_iter),
    )


def _measured(table: pd.DataFrame) -> dict[str, list[str]]:
    """The columns of each feature, without those that no cell has a value in: a manifest knows boxes, but no area."""
    known = {column for column in FEATURES["all"] if table[column].notna().any()}
    found = {feature: [name for name in columns if name in known] for feature, columns in FEATURES.items()}
    return {feature: columns if columns else FEATURES[feature] for feature, columns in found.items()}


def predict_subject(table: pd.DataFrame) -> dict[str, Any]:
    """By feature `balanced_accuracy` of telling the subjects of a class apart, and `chance`.

    Both are means over the classes; the chance of one is one over its subjects. They are told apart as
    `subject_recalls` does: subjects of five or more cells, in all `n_subjects` with `n_cells` cells. A constant
    feature is at chance.
    """
    classes = [cells for _, cells in with_subjects(table)]
    subjects = [cells["subject"] for cells in classes]
    size = {"n_subjects": sum(own.nunique() for own in subjects), "n_cells": sum(map(len, subjects))}
    nothing: dict[str, Any] = {"balanced_accuracy": None, "chance": None, **size}
    if not classes:
        nothing["reason"] = f"no class has two subjects of {N_FOLDS} or more cells"
        return dict.fromkeys(FEATURES, nothing)
    chance = float(np.mean([1 / own.nunique() for own in subjects]))
    results = {}
    for feature, columns in _measured(table).items():
        values = [cells[columns].to_numpy(dtype=np.float64, na_value=np.nan) for cells in classes]
        if reason := _missing(np.concatenate(values)):
            results[feature] = nothing | {"reason": reason}
        elif not any(varies(own) for own in values):
            results[feature] = nothing | {"balanced_accuracy": chance, "chance": chance, "reason": CONSTANT}
        else:
            means = [recalls(*own).mean() for own in zip(values, subjects, strict=True)]
            results[feature] = nothing | {"balanced_accuracy": float(np.mean(means)), "chance": chance}
    return results


def _check(table: pd.DataFrame, class_names: Sequence[str]) -> None:
    if lacking := [column for column in COLUMNS if column not in table]:
        raise DataError(
            f"the table of cells has no column {', '.join(lacking)}. It needs {', '.join(COLUMNS)}."
        )
    if unknown := sorted(set(table["label"]) - set(class_names)):
        raise DataError(
            f"the table of cells has the labels {', '.join(map(str, unknown))}, which are none of the classes "
            f"{', '.join(class_names)}. Give all classes."
        )


def _folds_of_groups(labels: Ints, groups: Ints, class_names: Sequence[str]) -> Ints | str:
    """Fold of each cell [n], or why there are none."""
    if len(class_names) < 2:
        return "there is a single class" if class_names else "there is no cell"
    n_groups = [len(np.unique(groups[labels == k])) for k in range(len(class_names))]
    fewest = int(np.argmin(n_groups))
    if n_groups[fewest] < 2:
        return f"folds of whole groups need two of each class; {class_names[fewest]} has {n_groups[fewest]}"
    splitter = StratifiedGroupKFold(min(N_FOLDS, n_groups[fewest]), shuffle=True, random_state=SEED)
    folds = np.empty(len(labels), dtype=np.int64)
    for fold, (_, test) in enumerate(splitter.split(labels, labels, groups)):
        folds[test] = fold
    if (pd.crosstab(folds, labels) > 0).sum().min() < 2:
        return "no folds of whole groups were found that leave each class something to learn and to test"
    return folds


def _class_scores(values: Floats, labels: Ints, groups: Ints, folds: Ints) -> dict[str, Any]:
    model = make_pipeline(StandardScaler(), quadratic_classifier())
    scores = cross_val_predict(model, values, labels, cv=PredefinedSplit(folds), method="decision_function")
    results: dict[str, dict[str, Any]] = {}
    for name, statistic in STATISTICS.items():
        interval = jackknife_interval(labels, scores, groups, statistic)
        value = statistic(labels, scores, groups)[0]
        results[name] = {"value": value, "low": interval.low, "high": interval.high}
        if interval.reason is not None:
            results[name]["reason"] = interval.reason
    return results


def _missing(values: Floats) -> str | None:
    n_without = int((~np.isfinite(values)).any(axis=1).sum())
    return None if n_without == 0 else f"{n_without} of {len(values)} cells have no value"


def _without_intervals(area: float | None, accuracy: float | None, reason: str) -> dict[str, Any]:
    values = {"auroc": area, "balanced_accuracy": accuracy}
    return {name: {"value": v, "low": None, "high": None, "reason": reason} for name, v in values.items()}
