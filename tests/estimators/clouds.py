"""Parts of drawn features, one cloud a class, and classical models fitted to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from leukemia_lab.estimators.classical import ClassicalFit, Part, fit_classical

KNN = {"_target_": "sklearn.neighbors.KNeighborsClassifier", "n_neighbors": 5}
SVC = {"_target_": "sklearn.svm.SVC", "kernel": "rbf"}
RF = {"_target_": "sklearn.ensemble.RandomForestClassifier", "n_estimators": 20}
LOGISTIC = {"_target_": "sklearn.linear_model.LogisticRegression"}
RIDGE = {"_target_": "sklearn.linear_model.RidgeClassifier"}


def part(n: int, n_classes: int = 2, seed: int = 0, groups: int | None = 20) -> Part:
    """Overlapping clouds, one a class; a group has cells of one class, as a subject has."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    features = rng.normal(size=(n, 12)).astype(np.float32)
    features[np.arange(n), labels] += 2
    names = None if groups is None else np.array([f"S{seed}-{i % (groups * n_classes)}" for i in range(n)])
    return Part(features, labels.astype(np.int64), names)


def fitted(train: Part, val: Part, classifier: dict[str, Any], **changes: Any) -> ClassicalFit:
    settings: dict[str, Any] = {
        "scale": True,
        "pca": None,
        "grid": {},
        "cv_folds": 3,
        "seed": 0,
        "n_classes": 2,
        "accelerate": False,
    }
    return fit_classical(train, val, classifier=classifier, **settings | changes)
