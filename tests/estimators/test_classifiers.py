from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.svm import SVC

from leukemia_lab.errors import ConfigError
from leukemia_lab.estimators import classifiers
from leukemia_lab.estimators.classical import Part, fit_classical, predict_logits
from leukemia_lab.estimators.classifiers import (
    ACCELERATED,
    accelerated,
    candidates,
    classifier_faults,
    make_classifier,
)


class Oracle(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Says a class, not how sure it is."""

    def fit(self, X: Any, y: Any) -> Oracle:
        return self

    def predict(self, X: Any) -> Any:
        return np.zeros(len(X))


TARGET = {"_target_": "sklearn.svm.SVC"}


@pytest.mark.parametrize(
    ("node", "grid", "messages"),
    [
        (TARGET | {"kernel": "rbf"}, {"C": [0.1, 1], "gamma": ["scale", 0.5]}, []),
        (
            TARGET | {"kernal": "rbf"},
            {},
            ["model.classifier.estimator.kernal: .* Did you mean model.classifier.estimator.kernel?"],
        ),
        (
            TARGET | {"C": -1.0},
            {},
            [r"model.classifier.estimator: The 'C' parameter of SVC must be a float .* Got -1.0"],
        ),
        (
            TARGET,
            {"c": [1], "gamma": ["scael", "auto"], "C": 1, "kernel": []},
            [
                r"grid.c: SVC takes no such argument \(given \[1\]\).* Did you mean model.classifier.grid.C?",
                "model.classifier.grid.gamma: The 'gamma' parameter of SVC must be .* Got 'scael'",
                r"model.classifier.grid.C: 1 is no list of values to choose among; write e.g. C: \[1, 2\]",
                r"model.classifier.grid.kernel: \[\] is no list",
            ],
        ),
        ({"_target_": "sklearn.svm.SVM"}, {}, ["sklearn.svm has no 'SVM'"]),
        ({"_target_": "sklearn.svm.SVR"}, {}, ["sklearn.svm.SVR is no scikit-learn classifier"]),
        ({"_target_": f"{__name__}.Oracle"}, {}, ["has neither decision_function nor predict_proba"]),
        ({"_target_": "builtins.dict"}, {}, ["builtins.dict"]),
        (
            {"_target_": "sklearn.ensemble.VotingClassifier"},
            {},
            ["model.classifier.estimator.estimators: missing; sklearn.ensemble.VotingClassifier needs it"],
        ),
        (
            {"_target_": "sklearn.semi_supervised.SelfTrainingClassifier"},
            {},
            ["SelfTrainingClassifier is no scikit-learn classifier"],
        ),
    ],
)
def test_faults(node: dict[str, Any], grid: dict[str, Any], messages: list[str]) -> None:
    faults = classifier_faults(node, grid)
    assert len(faults) == len(messages), faults
    for fault, message in zip(faults, messages, strict=True):
        assert re.search(message, fault), fault


def test_seed_and_cores_are_supplied_where_taken_and_not_set() -> None:
    forest = make_classifier({"_target_": "sklearn.ensemble.RandomForestClassifier"}, 7)
    assert (forest.random_state, forest.n_jobs) == (7, -1)
    own = {"_target_": "sklearn.ensemble.RandomForestClassifier", "random_state": 0, "n_jobs": 1}
    assert (make_classifier(own, 7).random_state, make_classifier(own, 7).n_jobs) == (0, 1)
    assert not hasattr(make_classifier(TARGET, 7), "n_jobs")


def test_candidates_are_in_the_order_of_the_grid() -> None:
    assert candidates({"b": [2, 1], "a": ["x", "y"]}) == [
        {"b": 2, "a": "x"},
        {"b": 2, "a": "y"},
        {"b": 1, "a": "x"},
        {"b": 1, "a": "y"},
    ]
    assert candidates({}) == [{}]


def test_without_the_accelerator_the_class_is_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifiers.importlib.util, "find_spec", lambda name: None)
    assert accelerated("sklearn.svm.SVC") == "sklearn.svm.SVC"


# n cells, features; the forest needs cells enough that its accuracy says something
def parts(n_classes: int) -> tuple[Part, Part]:
    rng = np.random.default_rng(0)
    labels = np.arange(900) % n_classes
    features = rng.normal(size=(900, 40)).astype(np.float32)
    features[np.arange(900), labels] += 2.5
    groups = (np.arange(900) // n_classes % 30 * n_classes + labels).astype(str)
    return Part(features[:600], labels[:600], groups[:600]), Part(features[600:], labels[600:], groups[600:])


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("svm.SVC", {}),
        ("svm.SVC", {"kernel": "poly", "class_weight": "balanced"}),
        ("svm.SVC", {"kernel": "sigmoid", "gamma": 0.01}),
        ("neighbors.KNeighborsClassifier", {}),
        ("neighbors.KNeighborsClassifier", {"weights": "distance", "metric": "cosine"}),
        ("neighbors.KNeighborsClassifier", {"metric": "chebyshev", "algorithm": "kd_tree"}),
    ],
)
def test_svc_and_knn_predict_the_same_accelerated(
    n_classes: int, name: str, arguments: dict[str, Any]
) -> None:
    pytest.importorskip("sklearnex", reason="scikit-learn-intelex is not installed")
    train, val = parts(n_classes)
    target = f"sklearn.{name}"
    assert accelerated(target) == ACCELERATED[target] == f"sklearnex.{name}"
    models = [
        make_classifier({"_target_": path} | arguments, 0).fit(train.features, train.labels)
        for path in (target, accelerated(target))
    ]
    predicted = [model.predict(val.features) for model in models]
    np.testing.assert_array_equal(*predicted)
    assert (predicted[0] == val.labels).mean() > 0.5


def test_an_accelerated_forest_is_as_accurate() -> None:
    pytest.importorskip("sklearnex", reason="scikit-learn-intelex is not installed")
    train, val = parts(3)
    accuracy = [
        make_classifier({"_target_": path, "n_estimators": 100}, 0)
        .fit(train.features, train.labels)
        .score(val.features, val.labels)
        for path in ("sklearn.ensemble.RandomForestClassifier", "sklearnex.ensemble.RandomForestClassifier")
    ]
    assert accuracy[0] == pytest.approx(accuracy[1], abs=0.05)
    assert accuracy[0] > 0.7


@pytest.mark.parametrize(
    ("target", "grid"),
    [
        ("sklearn.svm.SVC", {"C": [0.1, 1.0], "gamma": ["scale", 0.1]}),
        (
            "sklearn.neighbors.KNeighborsClassifier",
            {"n_neighbors": [1, 5], "weights": ["uniform", "distance"]},
        ),
    ],
)
def test_a_fit_is_the_same_accelerated(target: str, grid: dict[str, Any]) -> None:
    pytest.importorskip("sklearnex", reason="scikit-learn-intelex is not installed")
    train, val = parts(3)
    settings: dict[str, Any] = {
        "scale": True,
        "pca": 20,
        "cv_folds": 3,
        "seed": 0,
        "n_classes": 3,
        "grid": grid,
    }
    node = {"_target_": target}
    fits = [fit_classical(train, val, classifier=node, accelerate=on, **settings) for on in (False, True)]
    assert fits[0].chosen == fits[1].chosen
    assert fits[0].search_score == pytest.approx(fits[1].search_score, abs=0.005)  # ties may fall otherwise
    np.testing.assert_array_equal(*(predict_logits(fit, val.features) for fit in fits))


def test_the_accelerator_is_silent_and_patches_nothing() -> None:
    pytest.importorskip("sklearnex", reason="scikit-learn-intelex is not installed")
    code = (
        "from leukemia_lab.estimators.classifiers import accelerated, make_classifier\n"
        "model = make_classifier({'_target_': accelerated('sklearn.svm.SVC')}, 0)\n"
        "model.fit([[0.0], [1.0]] * 50, [0, 1] * 50).predict([[0.5]])\n"
        "import sklearn.svm\n"
        "assert sklearn.svm.SVC.__module__ == 'sklearn.svm._classes', sklearn.svm.SVC.__module__\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_impossible_arguments_are_config_errors() -> None:
    with pytest.raises(ConfigError, match="no such argument"):
        make_classifier(TARGET | {"width": 3}, 0)
    assert isinstance(make_classifier(TARGET, 0), SVC)
