"""How well features tell the subjects of a class apart: what a model can know a patient again by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.metrics import recall_score
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from leukemia_lab.evaluation.uncertainty import jackknife

Floats = npt.NDArray[np.float64]

N_FOLDS = 5
SEED = 0
MAX_COMPONENTS = 50  # of features by the thousand: a subject has too few cells for a variance of each
VARIANCE_KEPT = 0.9999  # of correlated columns, so that a direction of rounding errors is no feature
RECALLS = ("label", "subject", "n_cells", "recall")


@dataclass(frozen=True)
class SubjectProbe:
    """Mean recall of subjects, the means of the classes having one weight, beside its chance.

    `chance` is the mean over the classes of one over their subjects. `low` and `high` are a jackknife interval over
    subjects, with their recalls as given: what other subjects of these classes would give, as many at a time; it
    knows nothing of another net. A value that cannot be had is None, and `reason` says why.
    """

    balanced_accuracy: float | None
    low: float | None
    high: float | None
    chance: float | None
    n_subjects: int
    n_cells: int
    reason: str | None = None


def subject_probe(
    features: npt.NDArray[Any],
    subjects: npt.NDArray[np.object_],
    labels: npt.NDArray[np.object_],
    level: float = 0.95,
) -> SubjectProbe:
    """How well `features` [n, d] tell the `subjects` [n] (None where unknown) of each of the `labels` [n] apart.

    See `subject_recalls` for how they are told apart, `summarised` for the numbers.
    """
    return summarised(subject_recalls(features, subjects, labels), level)


def subject_recalls(
    features: npt.NDArray[Any], subjects: npt.NDArray[np.object_], labels: npt.NDArray[np.object_]
) -> pd.DataFrame:
    """The share of its cells that each subject is named for: one row a label and subject, `RECALLS`.

    Among the subjects of one label, so that the class is no help; by Gaussian naive Bayes of principal components
    with equal priors, in five folds of the cells of a label. Subjects of fewer than five cells, and labels with a
    single subject of as many, are left out. Where the cells learned from are all alike, one subject is named.
    """
    cells = pd.DataFrame({"label": labels, "subject": subjects, "row": np.arange(len(labels))})
    found = [
        pd.DataFrame(
            {
                "label": label,
                "subject": (names := np.unique(own["subject"].to_numpy(dtype=str))),
                "n_cells": own["subject"].value_counts().loc[names].to_numpy(),
                "recall": recalls(np.asarray(features, dtype=np.float64)[own["row"]], own["subject"]),
            }
        )
        for label, own in with_subjects(cells)
    ]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(RECALLS))


def with_subjects(cells: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The cells of each `label` with two or more `subject`s of at least one cell a fold, those subjects only."""
    known = cells[cells["subject"].notna()]
    n_cells = known.groupby(["label", "subject"])["subject"].transform("size")
    classes = [(str(label), own) for label, own in known[n_cells >= N_FOLDS].groupby("label")]
    return [(label, own) for label, own in classes if own["subject"].nunique() > 1]


def recalls(values: Floats, subjects: pd.Series[str]) -> Floats:
    """Out-of-fold recall of each subject, in the order of their names."""
    names, codes = np.unique(subjects.to_numpy(dtype=str), return_inverse=True)
    equal = np.full(len(names), 1 / len(names))
    first = [PCA(MAX_COMPONENTS, random_state=SEED)] if min(values.shape) > 2 * MAX_COMPONENTS else []
    model = make_pipeline(
        StandardScaler(), *first, PCA(VARIANCE_KEPT, svd_solver="full"), GaussianNB(priors=equal)
    )
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=SEED)
    predicted = np.zeros_like(codes)
    for train, test in folds.split(values, codes):
        if varies(values[train]):
            predicted[test] = model.fit(values[train], codes[train]).predict(values[test])
    found: Floats = recall_score(codes, predicted, average=None, zero_division=0)
    return found


def summarised(found: pd.DataFrame, level: float = 0.95) -> SubjectProbe:
    """The probe by the rows of `subject_recalls`: of several calls with labels that differ, as those of folds do."""
    size = {"n_subjects": len(found), "n_cells": int(found["n_cells"].sum())}
    if found.empty:
        reason = f"no class has two subjects of {N_FOLDS} or more cells"
        return SubjectProbe(None, None, None, None, **size, reason=reason)
    strata = pd.factorize(found["label"])[0].astype(np.int64)
    recall = found["recall"].to_numpy(dtype=np.float64)
    n_subjects = np.bincount(strata)
    sums = np.bincount(strata, recall)
    value = float((sums / n_subjects).mean())
    own_sum, own_n = sums[strata], n_subjects[strata]
    without = value + ((own_sum - recall) / (own_n - 1) - own_sum / own_n) / len(n_subjects)
    interval = jackknife(value, without, strata, np.ones(len(found)), level)
    chance = float((1 / n_subjects).mean())
    return SubjectProbe(value, interval.low, interval.high, chance, **size, reason=interval.reason)


def varies(values: Floats) -> bool:
    """Whether any column of `values` [n, d] has two values."""
    return bool(np.ptp(values, axis=0).max() > 0)
