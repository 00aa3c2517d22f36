from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest
from clouds import KNN, LOGISTIC, RF, RIDGE, SVC, fitted, part
from scipy.special import softmax
from sklearn.metrics import log_loss

from leukemia_lab.errors import ConfigError, DataError
from leukemia_lab.estimators.classical import SMALLEST_PROBABILITY, ClassicalFit, Part, predict_logits


def accuracy(fit: ClassicalFit, cells: Part) -> float:
    return float((predict_logits(fit, cells.features).argmax(axis=1) == cells.labels).mean())


@pytest.mark.parametrize("classifier", [KNN, SVC, RF, LOGISTIC, RIDGE], ids=lambda node: node["_target_"])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_each_classifier_learns_any_number_of_classes(classifier: dict[str, Any], n_classes: int) -> None:
    train, val, test = (part(n, n_classes, seed) for seed, n in enumerate((300, 100, 150)))
    fit = fitted(train, val, classifier, pca=8, n_classes=n_classes)
    logits = predict_logits(fit, test.features)
    assert logits.shape == (150, n_classes)
    assert logits.dtype == np.float64
    np.testing.assert_allclose(np.exp(logits).sum(axis=1), 1, atol=1e-6)
    assert accuracy(fit, test) > 1.5 / n_classes
    assert fit.calibration == "temperature on val"
    assert fit.notes == ()


def test_validation_cells_change_the_calibration_and_nothing_else() -> None:
    train, val = part(200), part(60, seed=1)
    shifted = dataclasses.replace(val, features=val.features * 50 + 7)
    shuffled = dataclasses.replace(val, labels=np.random.default_rng(0).permutation(val.labels))
    grid = {"C": [0.01, 1, 100]}
    fits = [fitted(train, other, SVC, pca=5, grid=grid) for other in (val, shifted, shuffled)]
    pipelines = [fit.model.estimator.estimator for fit in fits]
    for fit, pipeline in zip(fits, pipelines, strict=True):
        assert (fit.chosen, fit.search_score) == (fits[0].chosen, fits[0].search_score)
        np.testing.assert_array_equal(pipeline["scaler"].mean_, pipelines[0]["scaler"].mean_)
        np.testing.assert_array_equal(pipeline["pca"].components_, pipelines[0]["pca"].components_)
        np.testing.assert_array_equal(
            pipeline["classifier"].dual_coef_, pipelines[0]["classifier"].dual_coef_
        )
    np.testing.assert_allclose(pipelines[0]["scaler"].mean_, train.features.mean(axis=0), atol=1e-6)
    logits = [predict_logits(fit, train.features) for fit in fits]
    assert not np.allclose(logits[0], logits[1])
    assert not np.allclose(logits[0], logits[2])


def test_calibration_improves_overconfident_probabilities() -> None:
    train, val, test = (part(n, seed=seed) for seed, n in enumerate((200, 400, 400)))
    nearest = KNN | {"n_neighbors": 1}
    calibrated = fitted(train, val, nearest)
    one_class = dataclasses.replace(val, labels=np.zeros_like(val.labels))
    raw = fitted(train, one_class, nearest)
    assert raw.calibration == "none: the validation part has fewer than two cells of a class"
    assert raw.notes == (f"probabilities are not calibrated ({raw.calibration})",)
    chances = [softmax(predict_logits(fit, test.features), axis=1) for fit in (calibrated, raw)]
    losses = [log_loss(test.labels, chance) for chance in chances]
    assert losses[0] < 0.5 * losses[1]
    assert predict_logits(raw, test.features).min() == np.log(SMALLEST_PROBABILITY)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("classifier", [SVC, RIDGE], ids=["svc", "ridge"])
def test_without_probabilities_the_softmax_of_the_scores_stands_in(
    n_classes: int, classifier: dict[str, Any]
) -> None:
    train = part(150, n_classes)
    single = Part(train.features[:1], train.labels[:1], None)
    fit = fitted(train, single, classifier, n_classes=n_classes)
    assert not hasattr(fit.model, "predict_proba")
    logits = predict_logits(fit, train.features)
    scores = fit.model.decision_function(train.features)
    differences = scores if n_classes == 2 else scores[:, 1] - scores[:, 0]
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], differences, atol=1e-5)


def test_a_class_without_training_cells_keeps_the_smallest_probability() -> None:
    train, val = part(150, 3), part(90, 3, seed=1)
    no_middle = train.labels != 1
    assert train.groups is not None
    train = Part(train.features[no_middle], train.labels[no_middle], train.groups[no_middle])
    fit = fitted(train, val, LOGISTIC, n_classes=4)
    logits = predict_logits(fit, val.features)
    assert (logits[:, [1, 3]] == np.log(SMALLEST_PROBABILITY)).all()
    assert (logits[val.labels == 2].argmax(axis=1) == 2).mean() > 0.8


def test_components_are_at_most_what_cells_and_features_span() -> None:
    train, val = part(200), part(40, seed=1)
    few = Part(train.features[:10], train.labels[:10], None)
    for cells, n_components in ((train, 12), (few, 9)):
        fit = fitted(cells, val, LOGISTIC, pca=256)
        assert fit.model.estimator.estimator["pca"].n_components_ == n_components
    fit = fitted(train, val, LOGISTIC, pca=None, scale=False)
    assert fit.model.estimator.estimator[:-1].transform(val.features) is val.features


def test_the_seed_decides_and_threads_do_not() -> None:
    train, val = part(200), part(60, seed=1)

    def logits(**changes: Any) -> Any:
        node = RF | {name: value for name, value in changes.items() if name != "seed"}
        return predict_logits(fitted(train, val, node, seed=changes.get("seed", 0)), val.features)

    np.testing.assert_array_equal(logits(), logits(n_jobs=1))
    assert not np.allclose(logits(), logits(seed=1))
    np.testing.assert_array_equal(logits(random_state=5), logits(random_state=5, seed=1))


def test_settings_that_these_cells_cannot_bear_are_explained() -> None:
    train, val = part(60), part(40, seed=1)
    with pytest.raises(
        ConfigError, match=r"model\.classifier\.estimator: .*n_neighbors=70.* to 40 cells .* Change model"
    ):
        fitted(train, val, KNN | {"n_neighbors": 70}, grid={"weights": ["uniform", "distance"]})
    skewed = dataclasses.replace(train, labels=(np.arange(60) < 3).astype(np.int64))
    with pytest.raises(ConfigError, match=r"model\.classifier\.estimator: .*nu is infeasible"):
        fitted(skewed, val, {"_target_": "sklearn.svm.NuSVC", "nu": 0.9})
    with pytest.raises(
        ConfigError,
        match=r"grid\.neighbours: .*; model\.classifier\.grid\.metric: .*'cosinus'",
    ):
        fitted(train, val, KNN, grid={"neighbours": [1], "metric": ["cosinus"]})


def test_an_unfinished_optimisation_is_noted_and_warns_nobody() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        node = LOGISTIC | {"max_iter": 1}
        fit = fitted(part(100), part(40, seed=1), node, grid={"C": [1.0, 10.0]})
    assert len(fit.notes) == 1
    assert fit.notes[0].startswith("model.classifier.estimator: lbfgs failed to converge")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(value: float) -> None:
    train, val = part(60), part(40, seed=1)
    fit = fitted(train, val, KNN)
    val.features[[3, 7], 4] = value
    message = r"2 values of 480 are NaN or infinite \(first: feature 4, row 3\)"
    with pytest.raises(DataError, match=f"^val: {message}"):
        fitted(train, val, KNN)
    with pytest.raises(DataError, match=message):
        predict_logits(fit, val.features)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.zeros((5, 12), np.float32)}, r"features of shape \(5, 12\) do not fit 60 labels"),
        ({"groups": np.array(["a"])}, "1 groups do not fit 60 labels"),
        ({"labels": np.full(60, 2)}, r"labels must be in 0-1; got \[2\]"),
        ({"labels": np.zeros(60, np.int64)}, "cells of one class only"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        fitted(dataclasses.replace(part(60), **change), part(40, seed=1), KNN)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_calibration_changes_no_decision_even_on_noise(n_classes: int) -> None:
    """One sigmoid a class can turn a ranking round to suit the validation part; one temperature cannot."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        train, val = (
            Part(rng.normal(size=(60, 5)).astype(np.float32), np.arange(60) % n_classes, None)
            for _ in range(2)
        )
        fit = fitted(train, val, LOGISTIC, n_classes=n_classes)
        assert fit.calibration == "temperature on val"
        raw = fit.model.calibrated_classifiers_[0].estimator
        features = rng.normal(size=(200, 5)).astype(np.float32)
        calibrated = predict_logits(fit, features)
        # scikit-learn divides in float32: what was as good as tied may become tied
        assert (calibrated.argmax(axis=1) == raw.predict(features)).mean() >= 0.99
        if n_classes == 2:
            margin = raw.decision_function(features)
            order = np.argsort(margin)
            assert (np.diff((calibrated[:, 1] - calibrated[:, 0])[order]) >= -1e-6).all()
