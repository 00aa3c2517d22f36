"""The search of a classical model's grid: by groups, in as many folds as there can be, on training cells alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from clouds import KNN, fitted, part
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from leukemia_lab.errors import ConfigError
from leukemia_lab.estimators import classical
from leukemia_lab.estimators.classical import Part


def test_the_search_equals_scikit_learns_own() -> None:
    train, val = part(240), part(60, seed=1)
    grid = {"n_neighbors": [1, 3, 9, 27], "weights": ["uniform", "distance"]}
    fit = fitted(train, val, KNN, grid=grid, cv_folds=4)
    reference = GridSearchCV(
        make_pipeline(StandardScaler(), KNeighborsClassifier()),
        {f"kneighborsclassifier__{name}": values for name, values in grid.items()},
        scoring="balanced_accuracy",
        cv=StratifiedGroupKFold(4, shuffle=True, random_state=0),
    ).fit(train.features, train.labels, groups=train.groups)
    assert fit.search_score == pytest.approx(reference.best_score_)
    assert {f"kneighborsclassifier__{k}": v for k, v in fit.chosen.items()} == reference.best_params_
    assert fit.n_folds == 4


def test_the_first_of_equal_settings_is_taken() -> None:
    fit = fitted(part(120), part(40, seed=1), KNN, grid={"leaf_size": [40, 10, 30]})
    assert fit.chosen == {"leaf_size": 40}


def subjects_with_noisy_labels() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Features that tell subjects apart; near subjects are of one class, but three in ten labels are wrong."""
    rng = np.random.default_rng(3)
    subject = np.repeat(np.arange(60), 8)
    truth = rng.integers(0, 2, 60)
    label = np.where(rng.random(60) < 0.3, 1 - truth, truth)
    place = np.stack([4 * truth + 0.5 * rng.normal(size=60), 0.5 * rng.normal(size=60)], axis=1)
    features = place[subject] + 0.001 * rng.normal(size=(len(subject), 2))
    return features.astype(np.float32), label[subject].astype(np.int64), subject.astype(str)


def test_the_search_keeps_groups_apart() -> None:
    features, labels, subjects = subjects_with_noisy_labels()
    val = part(40, seed=1)
    val = dataclasses.replace(val, features=val.features[:, :2])
    grid = {"n_neighbors": [1, 101]}
    honest = fitted(Part(features, labels, subjects), val, KNN, scale=False, grid=grid, cv_folds=5)
    leaky = fitted(Part(features, labels, None), val, KNN, scale=False, grid=grid, cv_folds=5)
    assert leaky.chosen == {"n_neighbors": 1}  # recognises the subject
    assert leaky.search_score is not None
    assert leaky.search_score > 0.99
    assert honest.chosen == {"n_neighbors": 101}
    assert honest.search_score is not None
    assert honest.search_score < 0.8


def test_cells_that_are_their_own_groups_are_split_as_cells() -> None:
    train, val = part(120, groups=None), part(40, seed=1)
    alone = dataclasses.replace(train, groups=np.arange(120).astype(str))
    grid = {"n_neighbors": [1, 5]}
    assert fitted(alone, val, KNN, grid=grid).search_score == fitted(train, val, KNN, grid=grid).search_score


def test_folds_are_as_many_as_the_groups_of_the_rarest_class_allow() -> None:
    train = part(120, groups=20)
    assert train.groups is not None
    groups = train.groups.copy()
    groups[train.labels == 1] = np.resize(["H1", "H2", "H3"], (train.labels == 1).sum())
    grid = {"n_neighbors": [1, 5]}
    fit = fitted(dataclasses.replace(train, groups=groups), part(40, seed=1), KNN, grid=grid, cv_folds=5)
    assert fit.n_folds == 3
    assert fit.notes == (
        "model.classifier.grid: searched in 3 folds instead of model.classifier.cv_folds=5: "
        "the training part has too few groups of a class",
    )
    groups[train.labels == 1] = "H1"
    fit = fitted(dataclasses.replace(train, groups=groups), part(40, seed=1), KNN, grid=grid, cv_folds=5)
    assert (fit.n_folds, fit.search_score, fit.chosen) == (0, None, {"n_neighbors": 1})
    assert fit.notes[0].startswith("model.classifier.grid: no search, the first of 2 settings was taken")


def test_each_fold_of_the_search_prepares_on_its_own_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Scaler(StandardScaler):  # type: ignore[misc]
        def fit(self, X: Any, y: Any = None) -> Any:
            seen.append(len(X))
            return super().fit(X, y)

    monkeypatch.setattr(classical, "StandardScaler", Scaler)
    fitted(part(120), part(40, seed=1), KNN, grid={"n_neighbors": [1, 3, 5]}, cv_folds=3)
    assert seen[-1] == 120  # all training cells, after each fold once for all settings
    assert len(seen) == 4
    assert sum(seen[:3]) == 2 * 120


def test_the_search_says_what_it_does(capfd: pytest.CaptureFixture[str]) -> None:
    fitted(part(100), part(40, seed=1), KNN, grid={"n_neighbors": [1, 3]})
    lines = capfd.readouterr().err
    assert "search: 2 settings x 3 folds of the training part" in lines
    assert "search: 6 fits in" in lines


@pytest.mark.parametrize("accelerate", [False, True])
def test_more_neighbours_than_cells_are_left_out(accelerate: bool) -> None:
    """scikit-learn refuses them; scikit-learn-intelex would read beyond the end of its memory."""
    grid = {"n_neighbors": [1, 3, 31]}
    fit = fitted(part(36, groups=6), part(20, seed=1), KNN, grid=grid, accelerate=accelerate)
    assert fit.chosen["n_neighbors"] < 31
    assert any("n_neighbors above" in note for note in fit.notes)
    with pytest.raises(ConfigError, match="fewer than any n_neighbors"):
        fitted(
            part(36, groups=6), part(20, seed=1), KNN, grid={"n_neighbors": [90, 91]}, accelerate=accelerate
        )
