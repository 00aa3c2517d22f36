"""What `export_features` does: features of the cells of a split, by a run's net or by any model, into one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from leukemia_lab.cells import Cells, prepare_cells, read_cells, require_one_split
from leukemia_lab.classical_runs import run_extractor
from leukemia_lab.data.datamodule import CellDataModule
from leukemia_lab.errors import ConfigError, RunError
from leukemia_lab.estimators.fit import load_model
from leukemia_lab.evaluating import TEST, trained_cells, trained_settings
from leukemia_lab.experiment import permuted, resolve_auto, training_data
from leukemia_lab.extraction import (
    FeatureExtractor,
    feature_extractor,
    features_of,
    morphology_extractor,
    pixel_extractor,
    trained_net_extractor,
)
from leukemia_lab.features.table import FeatureSource, write_features
from leukemia_lab.hashing import content_hash
from leukemia_lab.preflight import build_faults
from leukemia_lab.progress import CONSOLE, RESULTS
from leukemia_lab.runs.record import RunFolder, made_folder
from leukemia_lab.schema import ExportSettings, ManifestData, NetModel, TrainSettings

FILE, FOLDER = "features.parquet", Path("features")


def export_faults(settings: ExportSettings) -> list[str]:
    """The faults that building shows; a run has been built before, and pixels need no net."""
    if settings.run is None:
        if settings.data_root is not None:
            return ["data_root: of no effect without run=…; give data.root=…"]
        try:
            require_one_split(settings.protocol)
        except ConfigError as error:
            return [str(error)]
        needs_build = settings.features == "model" or isinstance(settings.data, ManifestData)
        return build_faults(settings.as_training()) if needs_build else []
    return []


def export(settings: ExportSettings) -> Path:
    """Write the file of features; returns its path.

    Raises:
        RunError: the run is not finished, or the file is there and `force` is false.
    """
    if settings.run is None:
        return _export_model(settings)
    folder = RunFolder.existing(settings.run)
    with folder.held():
        if not folder.finished:
            raise RunError(f"{folder.path} is not finished: repeat its train command, which resumes it")
        return _export_run(settings, folder)


def _export_run(settings: ExportSettings, folder: RunFolder) -> Path:
    trained = trained_settings(folder, settings.data_root)
    cells = trained_cells(trained, folder, read_cells(trained))
    path = _free(folder.path / FILE if settings.output is None else settings.output, settings)
    here = trained.trainer.model_copy(update={"accelerator": settings.trainer.accelerator})
    trained = _with_features(trained.model_copy(update={"trainer": here}), settings)
    data = training_data(trained, cells)
    if settings.features == "model" and isinstance(trained.model, NetModel):
        model = load_model(folder.path / folder.record["best_checkpoint"])
        extractor = trained_net_extractor(
            trained, model, data, f"best weights of run {folder.record['identity']}"
        )
    elif settings.features == "model":
        extractor = run_extractor(trained, cells, folder, data)
    else:
        extractor = _source(trained, settings, cells, data)
    if TEST in settings.parts:
        folder.count_test_look()
    return _write(path, settings, extractor, cells, data)


def _export_model(settings: ExportSettings) -> Path:
    chosen = _with_features(settings.as_training(), settings)
    cells = permuted(chosen, prepare_cells(chosen))
    data = training_data(chosen, cells)
    extractor = _source(chosen, settings, cells, data)
    name = chosen.model.name if settings.features == "model" else settings.features
    key = content_hash({"source": extractor.hash, "split": cells.split.hash, "parts": settings.parts})
    default = FOLDER / f"{name.replace('/', '_')}-{key}.parquet"
    path = _free(default if settings.output is None else settings.output, settings)
    if TEST in settings.parts:
        CONSOLE.print("note: the file holds the test part; no run's record counts that it was opened")
    return _write(path, settings, extractor, cells, data)


def _with_features(trained: TrainSettings, settings: ExportSettings) -> TrainSettings:
    """The settings with the image size and filter of the features asked for, where the user left them open."""
    if settings.features == "model":
        return resolve_auto(trained)
    node = settings.pixels if settings.features == "pixels" else settings.morphology
    model = trained.model.model_copy(update={"image_size": node.image_size, "log_mode": node.log_mode})
    pipeline = settings.pipeline.model_copy(
        update={
            "normalise": "train" if settings.pipeline.normalise == "auto" else settings.pipeline.normalise
        }
    )
    return resolve_auto(trained.model_copy(update={"model": model, "pipeline": pipeline}))


def _source(
    trained: TrainSettings, settings: ExportSettings, cells: Cells, data: CellDataModule
) -> FeatureExtractor:
    if settings.features == "pixels":
        return pixel_extractor(trained, data, settings.pixels.size)
    if settings.features == "morphology":
        return morphology_extractor(data)
    return feature_extractor(trained, cells, data)


def _free(path: Path, settings: ExportSettings) -> Path:
    if path.exists() and not settings.force:
        raise RunError(f"{path} is there already: give another output=…, or force=true to write over it")
    if path.is_dir():
        raise RunError(f"output={path} is a folder: name a file in it")
    made_folder(path.parent, "output")
    return path


def _write(
    path: Path, settings: ExportSettings, extractor: FeatureExtractor, cells: Cells, data: CellDataModule
) -> Path:
    table = cells.split.table
    rows = pd.concat([table[table["part"] == part] for part in settings.parts])
    values = np.concatenate([features_of(extractor, cells, data, part) for part in settings.parts])
    source = FeatureSource(
        source=extractor.description,
        pipeline_hash=extractor.hash,
        data_fingerprint=cells.index.fingerprint,
        split_hash=cells.split.hash,
        weights_source=extractor.weights,
        weights_hash=extractor.weights_state,
        stamps=cells.stamps,
    )
    write_features(path, rows, values, extractor.names(values.shape[1]), source)
    stamps = "".join(f" [{stamp}]" for stamp in cells.stamps)
    RESULTS.print(
        f"{len(rows)} cells x {values.shape[1]} features ({extractor.description}){stamps}: {path}",
        markup=False,
        soft_wrap=True,
    )
    return path
