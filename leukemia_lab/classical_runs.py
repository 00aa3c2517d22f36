"""How a run fits a classical baseline on features and predicts with it."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from leukemia_lab.cells import Cells
from leukemia_lab.dashboards import embedded
from leukemia_lab.data.datamodule import CellDataModule
from leukemia_lab.errors import RunError
from leukemia_lab.estimators.classical import ClassicalFit, Part, fit_classical, predict_logits
from leukemia_lab.estimators.model_file import load_model, save_model
from leukemia_lab.experiment import SEEN_PARTS, Trained, training_data
from leukemia_lab.extraction import FeatureExtractor, feature_extractor, features_of
from leukemia_lab.progress import CONSOLE
from leukemia_lab.runs.record import CHECKPOINTS, RunFolder
from leukemia_lab.schema import ClassicalModel, TrainSettings

MODEL = "model.skops"


def train_classical(settings: TrainSettings, cells: Cells, folder: RunFolder) -> Trained:
    """Fit `settings.model` on the training part's features, calibrate it on the validation part, predict both."""
    model = settings.model
    assert isinstance(model, ClassicalModel)
    data = training_data(settings, cells)
    extractor = feature_extractor(settings, cells, data)
    _announce(settings, cells, extractor)
    parts = {part: _part(extractor, cells, data, part) for part in SEEN_PARTS}
    started = time.monotonic()
    fitted = _fitted(settings, model, parts, len(cells.index.class_names))
    seconds = time.monotonic() - started
    path = folder.path / CHECKPOINTS / MODEL
    folder.require_hold()
    path.parent.mkdir(exist_ok=True)
    save_model(fitted, path)
    return Trained(
        logits={part: predict_logits(fitted, given.features) for part, given in parts.items()},
        best_epoch=0,
        embedded=embedded(data, parts["val"].features),
        record={
            "best_checkpoint": f"{CHECKPOINTS}/{MODEL}",
            "n_weights": _n_numbers(fitted.model) + extractor.n_weights,
            "features": extractor.description,
            "weights_state": extractor.weights_state,
            "chosen": fitted.chosen,
            "search_score": fitted.search_score,
            "search_folds": fitted.n_folds,
            "notes": list(fitted.notes),
            "calibration": fitted.calibration,
            "images_per_second": round(len(parts["train"].labels) / seconds, 3),
        },
        data=data,
        net=None,
    )


def _fitted(
    settings: TrainSettings, model: ClassicalModel, parts: dict[str, Part], n_classes: int
) -> ClassicalFit:
    node = model.classifier
    fitted = fit_classical(
        parts["train"],
        parts["val"],
        classifier=node.estimator,
        scale=node.scale,
        pca=node.pca,
        grid=node.search_grid,
        cv_folds=node.cv_folds,
        seed=settings.seed,
        n_classes=n_classes,
        accelerate=node.accelerate is True,
    )
    for note in fitted.notes:
        CONSOLE.print(note, markup=False)
    return fitted


def classical_predictor(
    settings: TrainSettings, cells: Cells, folder: RunFolder, data: CellDataModule
) -> Callable[[str], npt.NDArray[np.float64]]:
    """A function from a part to its logits float64 [n, K] by the model of a finished run."""
    assert isinstance(settings.model, ClassicalModel)
    target = settings.model.classifier.estimator["_target_"]
    fitted = load_model(folder.path / folder.record["best_checkpoint"], target)
    extractor = run_extractor(settings, cells, folder, data)
    return lambda part: predict_logits(fitted, features_of(extractor, cells, data, part))


def run_extractor(
    settings: TrainSettings, cells: Cells, folder: RunFolder, data: CellDataModule
) -> FeatureExtractor:
    """The features that a finished run was fitted on; RunError where the weights they come from are others now."""
    extractor = feature_extractor(settings, cells, data)
    if extractor.weights_state != folder.record["weights_state"]:
        raise RunError(
            f"{folder.path}: its features come from a net whose weights are others now ({extractor.weights}): put the "
            "file back that it was trained with, or train again with force=true"
        )
    return extractor


def _n_numbers(model: Any) -> int:
    """How many numbers a fitted model holds: all elements of its arrays, as pickle (protocol 5) sees them.

    The counterpart of a net's weights: KNN holds every training cell, an SVM its support vectors, a forest its nodes.
    """
    buffers: list[pickle.PickleBuffer] = []
    pickle.dumps(model, protocol=5, buffer_callback=buffers.append)
    return sum(memoryview(buffer).nbytes // memoryview(buffer).itemsize for buffer in buffers)


def _part(extractor: FeatureExtractor, cells: Cells, data: CellDataModule, part: str) -> Part:
    table = cells.split.table
    rows = table[table["part"] == part]
    groups: Any = None if rows["group"].isna().any() else rows["group"].to_numpy(dtype=str)
    labels = data.cells.labels[data.rows[part]].cpu().numpy()
    return Part(features_of(extractor, cells, data, part), labels, groups)


def _announce(settings: TrainSettings, cells: Cells, extractor: FeatureExtractor) -> None:
    CONSOLE.print(
        f"{settings.model.name}: {extractor.description}, {settings.pipeline.image_size} px, {settings.protocol.name}"
        + "".join(f"  [{stamp}]" for stamp in cells.stamps),
        markup=False,
    )
