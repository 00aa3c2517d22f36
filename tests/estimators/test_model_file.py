from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.base import BaseEstimator, ClassifierMixin

from leukemia_lab.errors import RunError
from leukemia_lab.estimators.classical import ClassicalFit, Part, fit_classical, predict_logits
from leukemia_lab.estimators.model_file import load_model, save_model

RNG = np.random.default_rng(0)
LABELS = np.arange(120) % 3
FEATURES = (RNG.normal(size=(120, 8)) + LABELS[:, None]).astype(np.float32)
NODES: dict[str, dict[str, Any]] = {
    "sklearn.svm.SVC": {},
    "sklearn.neighbors.KNeighborsClassifier": {"algorithm": "kd_tree"},
    "sklearn.ensemble.RandomForestClassifier": {"n_estimators": 10},
    "sklearn.linear_model.LogisticRegression": {},
    "sklearn.ensemble.HistGradientBoostingClassifier": {"max_iter": 5},
    f"{__name__}.NearestMean": {},
}


class NearestMean(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A user's own classifier."""

    def fit(self, X: Any, y: Any) -> NearestMean:
        self.classes_ = np.unique(y)
        self.means_ = np.stack([X[y == label].mean(axis=0) for label in self.classes_])
        return self

    def decision_function(self, X: Any) -> Any:
        return -((X[:, None] - self.means_) ** 2).sum(axis=2)

    def predict(self, X: Any) -> Any:
        return self.classes_[self.decision_function(X).argmax(axis=1)]


def fitted(target: str, grid: dict[str, Any] | None = None) -> ClassicalFit:
    cells = Part(FEATURES, LABELS, None)
    return fit_classical(
        cells,
        cells,
        classifier={"_target_": target} | NODES.get(target, {}),
        scale=True,
        pca=4,
        grid={} if grid is None else grid,
        cv_folds=3,
        seed=0,
        n_classes=3,
        accelerate=True,
    )


@pytest.mark.parametrize("target", NODES)
def test_a_stored_model_predicts_the_same(target: str, tmp_path: Path) -> None:
    fit = fitted(target)
    save_model(fit, tmp_path / "model.skops")
    back = load_model(tmp_path / "model.skops", target)
    np.testing.assert_array_equal(predict_logits(back, FEATURES), predict_logits(fit, FEATURES))
    assert [file.name for file in tmp_path.iterdir()] == ["model.skops"]


def test_what_was_found_out_is_stored_too(tmp_path: Path) -> None:
    fit = fitted("sklearn.svm.SVC", {"C": [0.1, 1.0], "gamma": ["scale", 0.1]})
    save_model(fit, tmp_path / "model.skops")
    back = load_model(tmp_path / "model.skops", "sklearn.svm.SVC")
    for name in ("n_classes", "chosen", "search_score", "n_folds", "calibration", "notes"):
        assert getattr(back, name) == getattr(fit, name), name
    assert back.search_score is not None


def test_types_of_another_module_are_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    save_model(fitted(f"{__name__}.NearestMean"), path)
    with pytest.raises(RunError, match=r"sklearn\.svm\.SVC does not need: .*NearestMean\. It was not loaded"):
        load_model(path, "sklearn.svm.SVC")
    skops.io.dump({"model": os.system}, path)
    with pytest.raises(RunError, match=r"does not need: posix\.system"):
        load_model(path, "sklearn.svm.SVC")


def test_a_missing_or_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    with pytest.raises(RunError, match=r"model\.skops is missing: train the run again with force=true"):
        load_model(path, "sklearn.svm.SVC")
    save_model(fitted("sklearn.svm.SVC"), path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:-200], whole.replace(b"schema.json", b"schemo.json")):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=r"model\.skops cannot be loaded \(.*\): train the run again"):
            load_model(path, "sklearn.svm.SVC")
    skops.io.dump({"model": 1}, path)
    with pytest.raises(RunError, match="cannot be loaded"):
        load_model(path, "sklearn.svm.SVC")
