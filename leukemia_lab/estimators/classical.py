"""A scikit-learn classifier on features, fitted so that its validation and test results are honest.

Scaler, PCA and classifier see the training part only, also inside the search for hyper-parameters: each fold
fits its own. The folds keep groups apart, or the search would choose what recognises subjects. The validation
part calibrates the probabilities and chooses nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import recall_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from leukemia_lab.errors import ConfigError, DataError
from leukemia_lab.estimators.classifiers import (
    GRID,
    NODE,
    accelerated,
    candidates,
    classifier_faults,
    make_classifier,
)
from leukemia_lab.progress import CONSOLE, progress
from leukemia_lab.targets import KEY

SMALLEST_PROBABILITY = 1e-7
TEMPERATURE = "temperature on val"
NEIGHBOURS = "n_neighbors"

Features = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]
Fold = tuple[Indices, Indices]  # rows to fit on, rows held out
Preparation = Callable[
    [int, int], list[tuple[str, Any]]
]  # cells and features to the steps before the classifier


@dataclass(frozen=True)
class Part:
    """Cells of one part: features [n, d], labels int64 [n] in 0..K-1, groups [n] or None where unknown."""

    features: Features
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[Any] | None


@dataclass(frozen=True)
class ClassicalFit:
    """A fitted model and how it came about.

    `model` is a scikit-learn estimator with labels 0..K-1; `chosen` has the arguments that the search chose,
    `search_score` their mean balanced accuracy over `n_folds` folds (None and 0 without a search); `calibration`
    is `temperature on val` or `none: <reason>`.
    """

    model: Any
    n_classes: int
    chosen: dict[str, Any]
    search_score: float | None
    n_folds: int
    calibration: str
    notes: tuple[str, ...]


def fit_classical(
    train: Part,
    val: Part,
    *,
    classifier: Mapping[str, Any],
    scale: bool,
    pca: int | None,
    grid: Mapping[str, Sequence[Any]],
    cv_folds: int,
    seed: int,
    n_classes: int,
    accelerate: bool,
) -> ClassicalFit:
    """Choose among `grid` by grouped cross-validation in `train`, fit on all of it, calibrate on `val`.

    `accelerate` lets scikit-learn-intelex fit in the search. The chosen model is fitted by scikit-learn itself,
    so that it can be stored and gives the same predictions wherever it is loaded.

    Raises:
        ConfigError: classifier or grid cannot be used, or do not fit these cells.
        DataError: features are not finite or do not belong to the labels, or there are fewer than two classes.
    """
    _check(train, val, classifier, grid, n_classes)
    searched = dict(classifier) | ({KEY: accelerated(classifier[KEY])} if accelerate else {})
    prepare = partial(_steps, scale, pca, seed)
    choices = candidates(grid)
    folds = _folds(train, cv_folds, seed) if len(choices) > 1 else []
    choices, left_out = _that_fit(
        choices, min((len(fitted) for fitted, _ in folds), default=len(train.labels))
    )
    scores = _search(train, folds, prepare, make_classifier(searched, seed), choices)
    best = int(np.argmax(scores.round(12)))  # the first of equals, whatever the last digit of a mean
    model, warned = _refit(train, prepare, make_classifier(classifier, seed).set_params(**choices[best]))
    with _explained(classifier, len(train.labels)):
        calibrated, calibration = _calibrate(model, val)
    notes = [*_search_notes(len(choices), len(folds), cv_folds), *left_out, *warned]
    if calibration != TEMPERATURE:
        notes.append(f"probabilities are not calibrated ({calibration})")
    return ClassicalFit(
        model=calibrated,
        n_classes=n_classes,
        chosen=choices[best],
        search_score=float(scores[best]) if folds else None,
        n_folds=len(folds),
        calibration=calibration,
        notes=tuple(notes),
    )


def _check(
    train: Part, val: Part, classifier: Mapping[str, Any], grid: Mapping[str, Sequence[Any]], n_classes: int
) -> None:
    faults = classifier_faults(classifier, grid)
    if faults:
        raise ConfigError("; ".join(faults))
    for part, name in ((train, "train"), (val, "val")):
        _check_part(part, name, n_classes)
    if len(np.unique(train.labels)) < 2:
        raise DataError("the training part has cells of one class only. Choose another fold or protocol.")


def predict_logits(fit: ClassicalFit, features: Features) -> npt.NDArray[np.float64]:
    """Log of the probabilities [n, n_classes], clipped below at SMALLEST_PROBABILITY.

    A class that the training part lacked stays there.

    Raises:
        DataError: features, or the probabilities that the classifier makes of them, are not finite.
    """
    _check_features(features, "the features")
    with _explained(fit.model, len(features)):
        if hasattr(fit.model, "predict_proba"):
            known = fit.model.predict_proba(features)
        else:
            scores = fit.model.decision_function(features)
            both = scores if scores.ndim == 2 else np.stack([np.zeros_like(scores), scores], 1)
            known = softmax(both, axis=1)
    if not np.isfinite(known).all():
        raise DataError(
            f"{NODE} gives probabilities that are not finite: choose another classifier or other settings."
        )
    probabilities = np.zeros((len(features), fit.n_classes))
    probabilities[:, fit.model.classes_] = known
    logits: npt.NDArray[np.float64] = np.log(probabilities.clip(SMALLEST_PROBABILITY, 1))
    return logits


def _steps(scale: bool, pca: int | None, seed: int, n_cells: int, n_features: int) -> list[tuple[str, Any]]:
    """Scaler and PCA for `n_cells`, which span at most one dimension less than they are."""
    components = None if pca is None else max(1, min(pca, n_cells - 1, n_features))
    return [
        ("scaler", StandardScaler() if scale else "passthrough"),
        ("pca", "passthrough" if components is None else PCA(components, random_state=seed)),
    ]


def _folds(train: Part, cv_folds: int, seed: int) -> list[Fold]:
    """As many folds, at most `cv_folds`, as leave cells of every class on both sides of each; else none."""
    labels, groups = train.labels, train.groups
    grouped = groups is not None and len(np.unique(groups)) < len(groups)
    units = groups if groups is not None and grouped else np.arange(len(labels))
    classes = np.unique(labels)
    splitter = StratifiedGroupKFold if grouped else StratifiedKFold
    most = min(cv_folds, *(len(np.unique(units[labels == label])) for label in classes))
    for n_folds in range(most, 1, -1):
        folds = list(
            splitter(n_folds, shuffle=True, random_state=seed).split(
                labels, labels, units if grouped else None
            )
        )
        if all(len(np.unique(labels[side])) == len(classes) for fold in folds for side in fold):
            return folds
    return []


def _that_fit(choices: list[dict[str, Any]], n_cells: int) -> tuple[list[dict[str, Any]], list[str]]:
    """The choices with no more neighbours than the smallest fold has cells, and a note where any is left out.

    scikit-learn refuses to look for more; scikit-learn-intelex reads beyond the end of its memory.
    """
    fitting = [choice for choice in choices if choice.get(NEIGHBOURS, 0) <= n_cells]
    if not fitting:
        raise ConfigError(
            f"{GRID}: the smallest fold of the training part has {n_cells} cells, fewer than any {NEIGHBOURS} of the "
            "grid. Give smaller ones."
        )
    few = f"{GRID}: {NEIGHBOURS} above {n_cells}, the cells of the smallest fold, were left out"
    return fitting, [few] if len(fitting) < len(choices) else []


def _search(
    train: Part, folds: Sequence[Fold], prepare: Preparation, classifier: Any, choices: list[dict[str, Any]]
) -> npt.NDArray[np.float64]:
    """Mean balanced accuracy of each choice; equals GridSearchCV, but prepares each fold once for all choices."""
    if not folds:
        return np.zeros(len(choices))
    CONSOLE.print(f"search: {len(choices)} settings x {len(folds)} folds of the training part")
    scores = np.zeros((len(folds), len(choices)))
    with progress("search", scores.size, "fits") as advance, warnings.catch_warnings(action="ignore"):
        for number, (fitted, held) in enumerate(folds):
            preparation = Pipeline(prepare(len(fitted), train.features.shape[1]))
            inside = preparation.fit_transform(train.features[fitted])
            outside = preparation.transform(train.features[held])
            for column, choice in enumerate(choices):
                model = clone(classifier).set_params(**choice)
                with _explained(model, len(fitted)):
                    predicted = model.fit(inside, train.labels[fitted]).predict(outside)
                scores[number, column] = recall_score(train.labels[held], predicted, average="macro")
                advance(1)
    means: npt.NDArray[np.float64] = scores.mean(axis=0)
    return means


def _refit(train: Part, prepare: Preparation, classifier: Any) -> tuple[Pipeline, list[str]]:
    """The whole pipeline fitted on all training cells, and what it warned of."""
    model = Pipeline([*prepare(*train.features.shape), ("classifier", classifier)])
    with warnings.catch_warnings(record=True) as caught, _explained(classifier, len(train.labels)):
        warnings.simplefilter("always")
        model.fit(train.features, train.labels)
    of_interest = (warning for warning in caught if not issubclass(warning.category, FutureWarning))
    warned = dict.fromkeys(str(warning.message).splitlines()[0] for warning in of_interest)
    return model, [f"{NODE}: {message}" for message in warned]


def _calibrate(model: Pipeline, val: Part) -> tuple[Any, str]:
    """One temperature for the model's scores, which changes no decision, where `val` has two cells of each class."""
    classes, counts = np.unique(val.labels, return_counts=True)
    if not np.array_equal(classes, model.classes_) or counts.min() < 2:
        return model, "none: the validation part has fewer than two cells of a class"
    # The model is frozen: all of val fits the one temperature, and cv only says in how many turns it is predicted.
    calibrated = CalibratedClassifierCV(FrozenEstimator(model), method="temperature", cv=2, ensemble=False)
    return calibrated.fit(val.features, val.labels), TEMPERATURE


@contextmanager
def _explained(classifier: Any, n_cells: int) -> Iterator[None]:
    """Turn what scikit-learn says of impossible settings into a ConfigError."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(
            f"{NODE}: {classifier} cannot be fitted to {n_cells} cells and predict: {str(error).rstrip('.')}. "
            f"Change {NODE} or {GRID}."
        ) from error


def _search_notes(n_choices: int, n_folds: int, cv_folds: int) -> list[str]:
    if n_choices == 1 or n_folds == cv_folds:
        return []
    too_few = "the training part has too few groups of a class"
    if n_folds == 0:
        return [f"{GRID}: no search, the first of {n_choices} settings was taken: {too_few} for two folds"]
    return [f"{GRID}: searched in {n_folds} folds instead of model.classifier.cv_folds={cv_folds}: {too_few}"]


def _check_part(part: Part, name: str, n_classes: int) -> None:
    n_cells = len(part.labels)
    if part.features.ndim != 2 or len(part.features) != n_cells:
        raise DataError(f"{name}: features of shape {part.features.shape} do not fit {n_cells} labels.")
    if part.groups is not None and len(part.groups) != n_cells:
        raise DataError(f"{name}: {len(part.groups)} groups do not fit {n_cells} labels.")
    if n_cells > 0 and not (part.labels.min() >= 0 and part.labels.max() < n_classes):
        raise DataError(
            f"{name}: labels must be in 0-{n_classes - 1}; got {np.unique(part.labels).tolist()}."
        )
    _check_features(part.features, name)


def _check_features(features: Features, name: str) -> None:
    finite = np.isfinite(features)
    if not finite.all():
        column = int(np.argmin(finite.all(axis=0)))
        raise DataError(
            f"{name}: {(~finite).sum()} values of {finite.size} are NaN or infinite (first: feature {column}, "
            f"row {int(np.argmin(finite[:, column]))}). Look at that cell's file, or export the features again."
        )
