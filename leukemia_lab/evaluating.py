"""What `evaluate` does: open the locked test part of a finished run, count that, add it to the run's results."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pandas as pd
import yaml

from leukemia_lab.cells import Cells, KnownCells
from leukemia_lab.classical_runs import classical_predictor
from leukemia_lab.dashboards import log_part
from leukemia_lab.data.datamodule import CellDataModule
from leukemia_lab.data.leaks import refuse_leaks
from leukemia_lab.data.split_files import read_split
from leukemia_lab.data.splits import Split, check_split
from leukemia_lab.device import resolve_device
from leukemia_lab.errors import ConfigError, RunError
from leukemia_lab.estimators.checkpoints import OBJECTIVE
from leukemia_lab.estimators.fit import load_model
from leukemia_lab.estimators.neural import CellClassifier
from leukemia_lab.evaluation.document import metrics_document
from leukemia_lab.evaluation.metrics import positive_index
from leukemia_lab.evaluation.predictions import predictions_table, read_predictions, write_predictions
from leukemia_lab.evaluation.result_lines import show_metrics
from leukemia_lab.experiment import SEEN_PARTS, data_module
from leukemia_lab.explaining import explain
from leukemia_lab.identity import run_identity
from leukemia_lab.net_runs import net_predictor
from leukemia_lab.progress import RESULTS
from leukemia_lab.runs import record, tensorboard
from leukemia_lab.runs.record import AVERAGED, TEST_SEEN, RunFolder
from leukemia_lab.schema import ClassicalModel, CombinedData, EvaluateSettings, Evaluation, TrainSettings
from leukemia_lab.shared_cells import shared_known_cells

TEST = "test"


def evaluate(settings: EvaluateSettings, run: Path) -> dict[str, Any]:
    """Predict the test part with a run's best weights and show the result; returns the new content of metrics.json.

    Raises:
        RunError: the run is not finished, or its data or split are not what it was trained on.
    """
    folder = RunFolder.existing(run)
    document = evaluate_run(settings, folder, None)
    show_metrics(document, ["val", TEST])
    RESULTS.print(f"test part opened {folder.record['test_looks']} time(s) by this run")
    RESULTS.print(f"run folder: {folder.path}", markup=False, soft_wrap=True)
    return document


def evaluate_run(
    settings: EvaluateSettings, folder: RunFolder, known: KnownCells | None, *, again: bool = True
) -> dict[str, Any]:
    """`evaluate` of the run in `folder` without a word, on its data as `read_cells` has just read them, if given.

    Where not `again`, a test part that has been opened in the same way, if by another process, stays closed.
    """
    with folder.held():
        require_finished(folder)
        if not again and is_evaluated(settings, folder):
            return folder.metrics()
        return _evaluate(settings, folder, known)


def is_evaluated(settings: EvaluateSettings, folder: RunFolder) -> bool:
    """Whether the run's results on its test part are there, all of them predicted as `settings` ask."""
    found = folder.metrics()
    return TEST in found and found.get("test_time") == settings.test_time


def require_finished(folder: RunFolder) -> None:
    """Raise RunError where training has not ended."""
    if not folder.finished:
        raise RunError(
            f"{folder.path} is {folder.record.get('status', 'not finished')}: repeat its train command, "
            "which resumes it"
        )


def _evaluate(settings: EvaluateSettings, folder: RunFolder, known: KnownCells | None) -> dict[str, Any]:
    trained = trained_settings(folder, settings.data_root)
    if settings.test_time != "none" and isinstance(trained.model, ClassicalModel):
        raise ConfigError(
            f"test_time={settings.test_time}: {trained.model.name} is no neural net; leave test_time out"
        )
    _require_positive(settings, folder)
    cells = trained_cells(trained, folder, shared_known_cells(trained) if known is None else known)
    if not (cells.split.table["part"] == TEST).any():
        raise RunError(f"{folder.path}: its split has no test part")
    _require_seen_parts(folder)
    device = resolve_device(settings.accelerator, "accelerator")
    data = data_module(trained, cells, device, settings.batch_size)
    logits_of: Callable[[str], npt.NDArray[Any]]
    net = None
    if isinstance(trained.model, ClassicalModel):
        logits_of = classical_predictor(trained, cells, folder, data)
    else:
        net = load_model(folder.path / folder.record["best_checkpoint"])
        logits_of = net_predictor(trained, net, data, settings.test_time)
    folder.count_test_look()  # before anything of it is seen, after all that can be refused
    class_names = tuple(folder.record["class_names"])
    parts = _parts(settings, folder)
    folder.update(test_time=None)  # not known, should this be cut off half-way
    for part in parts:
        rows = cells.split.table[cells.split.table["part"] == part]
        predicted = predictions_table(rows, logits_of(part), class_names, run_id=folder.record["identity"])
        folder.require_hold()
        write_predictions(predicted, folder.path / record.PREDICTIONS)
    folder.update(test_time=settings.test_time)
    document = _write_results(folder, class_names, settings.evaluation)
    _explain(folder, [part for part in parts if part != "train"], data, net)
    return document


def _require_positive(settings: EvaluateSettings, folder: RunFolder) -> None:
    """A sensitivity can only be asked for where there is a positive class."""
    asked, class_names = settings.evaluation.min_sensitivity, folder.record["class_names"]
    if asked is not None and positive_index(class_names, folder.record["positive"]) is None:
        raise ConfigError(
            f"evaluation.min_sensitivity={asked:g}: of the classes {', '.join(class_names)} of {folder.path} none is "
            "the positive one; leave it out"
        )


def _explain(
    folder: RunFolder, parts: Sequence[str], data: CellDataModule, net: CellClassifier | None
) -> None:
    """Show the errors of these parts, with the stamps that the results have now."""
    predictions = read_predictions(folder.path / record.PREDICTIONS)
    with tensorboard.logging_to(folder.path) as logger:
        for part in parts:
            explain(folder, part, predictions, data, net, logger, 0)


def _parts(settings: EvaluateSettings, folder: RunFolder) -> tuple[str, ...]:
    """The parts to predict: all where the table was predicted in another way, so that its rows compare."""
    same = folder.record.get("test_time", "none") == settings.test_time
    return (TEST,) if same else (*SEEN_PARTS, TEST)


def _require_seen_parts(folder: RunFolder) -> None:
    """The predictions of training must be there before the test part is opened: its results join them."""
    path = folder.path / record.PREDICTIONS
    if not path.exists():
        raise RunError(f"{path} is missing: train the run again with force=true")
    missing = {"train", "val"} - set(read_predictions(path)["part"])
    if missing:
        raise RunError(
            f"{path} has no predictions of part {', '.join(sorted(missing))}: train again with force=true"
        )


def trained_settings(folder: RunFolder, data_root: Path | None) -> TrainSettings:
    """The settings that a run was trained with, its data at `data_root` where that is given.

    Raises:
        RunError: config.yaml cannot be read, or the folder holds the runs of several folds.
    """
    if folder.is_cross_validation:
        raise RunError(
            f"{folder.path} is a cross-validation of {len(folder.record['folds'])} runs, here one is needed: give "
            f"run={folder.path / folder.record['folds'][0]['run']}"
        )
    path = folder.path / record.CONFIG
    try:
        trained = TrainSettings.model_validate_json(
            json.dumps(yaml.safe_load(path.read_text(encoding="utf-8")))
        )
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RunError(
            f"{path} cannot be read ({error}): it was changed, or made by another version"
        ) from error
    if data_root is None:
        return trained
    if isinstance(trained.data, CombinedData):
        raise RunError(
            f"data_root={data_root} cannot stand for the {len(trained.data.trees)} trees of {folder.path}: put them "
            "where they were, or train again"
        )
    if not data_root.is_dir():
        raise RunError(f"data_root={data_root} does not exist; give the folder where the images are now")
    return trained.model_copy(update={"data": trained.data.model_copy(update={"root": data_root})})


def trained_cells(trained: TrainSettings, folder: RunFolder, known: KnownCells) -> Cells:
    """The run's cells as they are on disk now, which is what is `known`, with the split that it was trained on."""
    index = known.index
    if index.fingerprint != folder.record["data_fingerprint"]:
        raise RunError(
            f"{folder.path}: the data at {index.where} are not those that it was trained on (fingerprint "
            f"{index.fingerprint[:12]}, recorded {folder.record['data_fingerprint'][:12]}): give data_root=…"
        )
    split: Split = read_split(folder.path / record.SPLIT)
    if split.hash != folder.record["split_hash"]:
        raise RunError(
            f"{folder.path}: split.parquet is not the one it was trained on: train it again with force=true"
        )
    check_split(split)
    refuse_leaks(split, index.table, known.evidence.copies)
    weights = folder.record["weights_hash"]
    if run_identity(trained, index.fingerprint, split.hash, weights) != folder.record["identity"]:
        raise RunError(
            f"{folder.path}: config.yaml is not the one it was trained with, or leukemia_lab prepares cells in "
            "another way now: train it again with force=true"
        )
    return Cells(index, split, training_stamps(folder))


def _write_results(folder: RunFolder, class_names: tuple[str, ...], evaluation: Evaluation) -> dict[str, Any]:
    predictions = read_predictions(folder.path / record.PREDICTIONS)
    stamps = evaluated_stamps(folder)
    positive = folder.record["positive"]
    document = metrics_document(predictions, class_names, positive, stamps, OBJECTIVE, evaluation)
    document["objective"] = folder.record["objective"]  # of training, whatever evaluating averages over
    document["test_time"] = folder.record["test_time"]
    write_tested(folder, document, predictions[predictions["part"] == TEST])
    return document


def write_tested(folder: RunFolder, document: dict[str, Any], tested: pd.DataFrame) -> None:
    """Write `document` as metrics.json, its stamps to the record, figure and dashboard of the `tested` predictions."""
    class_names, stamps = folder.record["class_names"], document["stamps"]
    looks = folder.record["test_looks"]  # the step: each look has its own curves
    config = yaml.safe_load((folder.path / record.CONFIG).read_text(encoding="utf-8"))
    values = tensorboard.final_values(document)
    with tensorboard.logging_to(folder.path) as logger:
        log_part(logger, folder.path, TEST, tested, class_names, folder.record["positive"], stamps, looks)
        tensorboard.log_stamps(logger, stamps, looks)
        tensorboard.log_final(logger, record.flat(config), values, stamps)
    folder.write_metrics(document)
    folder.update(stamps=stamps)


def evaluated_stamps(folder: RunFolder) -> list[str]:
    """The stamps of the run's results on its test part: how it was predicted, and seen how often.

    For the choice of a sweep the looks count that the sweep's other runs had taken before.
    """
    chosen = folder.record.get("sweep_choice", {"looks_of_others": 0})
    looks = folder.record["test_looks"] + chosen["looks_of_others"]
    averaged = [AVERAGED] if folder.record.get("test_time") == "dihedral" else []
    return [*training_stamps(folder), *averaged, *([f"{TEST_SEEN} {looks} TIMES"] if looks > 1 else [])]


def training_stamps(folder: RunFolder) -> tuple[str, ...]:
    """The stamps that the run was trained with."""
    return tuple(stamp for stamp in folder.record["stamps"] if not stamp.startswith((TEST_SEEN, AVERAGED)))
