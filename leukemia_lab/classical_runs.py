"""How a run fits a classical baseline on features and predicts with it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from leukemia_lab.data.datamodule import CellDataModule
from leukemia_lab.errors import RunError
from leukemia_lab.estimators.classical import Part, fit_classical, predict_logits
from leukemia_lab.estimators.classifiers import accelerated
from leukemia_lab.estimators.model_file import load_model, save_model
from leukemia_lab.experiment import SEEN_PARTS, Cells, Trained, training_data
from leukemia_lab.extraction import FeatureExtractor, feature_extractor, features_of
from leukemia_lab.initial_weights import weights_hash
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
    target = model.classifier.estimator["_target_"]
    started = time.monotonic()
    fitted = fit_classical(
        parts["train"],
        parts["val"],
        classifier=model.classifier.estimator,
        scale=model.classifier.scale,
        pca=model.classifier.pca,
        grid=model.classifier.grid,
        cv_folds=model.classifier.cv_folds,
        seed=settings.seed,
        n_classes=len(cells.index.class_names),
        accelerate=True,
    )
    for note in fitted.notes:
        CONSOLE.print(note, markup=False)
    seconds = time.monotonic() - started
    path = folder.path / CHECKPOINTS / MODEL
    path.parent.mkdir(exist_ok=True)
    save_model(fitted, path)
    return Trained(
        logits={part: predict_logits(fitted, given.features) for part, given in parts.items()},
        best_epoch=0,
        record={
            "best_checkpoint": f"{CHECKPOINTS}/{MODEL}",
            "features": extractor.description,
            "accelerated": accelerated(target) != target,
            "chosen": fitted.chosen,
            "search_score": fitted.search_score,
            "calibration": fitted.calibration,
            "images_per_second": round(len(parts["train"].labels) / seconds, 3),
        },
    )


def predict_classical(
    settings: TrainSettings, cells: Cells, folder: RunFolder, data: CellDataModule, part: str
) -> npt.NDArray[np.float64]:
    """Logits float64 [n, K] of `part` by the model of a finished run.

    Raises:
        RunError: the file of weights that its features come from is another now.
    """
    assert isinstance(settings.model, ClassicalModel)
    if weights_hash(settings.model) != folder.record["weights_hash"]:
        raise RunError(
            f"{settings.model.weights_path} is not the file that {folder.path} was trained with: put that one back, or "
            "train again with force=true"
        )
    fitted = load_model(
        folder.path / folder.record["best_checkpoint"], settings.model.classifier.estimator["_target_"]
    )
    return predict_logits(fitted, features_of(feature_extractor(settings, cells, data), cells, data, part))


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
    for note in extractor.notes:
        CONSOLE.print(note, markup=False)
