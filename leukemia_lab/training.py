"""What `train` does: prepare, fit, predict the training and validation parts, record. The test part stays closed."""

from __future__ import annotations

import time
import traceback
from pathlib import Path

import lightning
import pandas as pd
import torch
import yaml
from lightning.pytorch.loggers import TensorBoardLogger

from leukemia_lab.data.datamodule import CellDataModule
from leukemia_lab.data.splits import write_split
from leukemia_lab.device import device_name, resolve_device
from leukemia_lab.errors import InterruptedRunError
from leukemia_lab.estimators.checkpoints import BEST, OBJECTIVE
from leukemia_lab.estimators.fit import FitResult, fit, load_model, predict
from leukemia_lab.estimators.neural import CellClassifier
from leukemia_lab.evaluation.figures import cell_grid_figure, confusion_figure
from leukemia_lab.evaluation.metrics import confusion, metrics_document
from leukemia_lab.evaluation.predictions import predictions_table, write_predictions
from leukemia_lab.evaluation.tables import metrics_table
from leukemia_lab.experiment import (
    Cells,
    data_module,
    normalisation,
    prepare_cells,
    resolve_auto,
)
from leukemia_lab.hashing import content_hash
from leukemia_lab.identity import identity_settings, run_identity
from leukemia_lab.progress import CONSOLE, RESULTS
from leukemia_lab.runs import record, tensorboard
from leukemia_lab.runs.record import RunFolder
from leukemia_lab.schema import TrainSettings

PICTURES = 8  # cells in the grid raw -> filtered -> augmented
SEEN_PARTS = ("train", "val")


def train(settings: TrainSettings, parent: Path, given: Path | None) -> tuple[Path, float | None]:
    """Train a run, finish an interrupted one, or return a finished one: its folder and its objective (val AUROC).

    The folder is `given`, or `<parent>/<model>-<identity>`.

    Raises:
        LeukemiaLabError: bad data, a split that cannot be made, a folder that is another run's, an interruption.
    """
    settings = resolve_auto(settings)
    cells = prepare_cells(settings)
    identity = run_identity(settings, cells.index.fingerprint, cells.split.hash)
    path = parent / f"{settings.model.name}-{identity}" if given is None else given
    folder = RunFolder.open(path, identity, settings.force)
    if folder.finished:
        CONSOLE.print(
            f"{folder.path}: finished before ({folder.record['finished']}); force=true starts it over"
        )
    else:
        with folder.held():
            if not folder.finished:  # another process may have been faster
                _train_recorded(settings, cells, folder)
    return folder.path, folder.metrics()["objective"]


def show(folder: Path) -> None:
    """Print the training and validation metrics of a finished run, and where it is."""
    RESULTS.print(metrics_table(RunFolder.existing(folder).metrics(), SEEN_PARTS))
    RESULTS.print(f"run folder: {folder}", markup=False, soft_wrap=True)


def _train_recorded(settings: TrainSettings, cells: Cells, folder: RunFolder) -> None:
    """Train with the record telling at any moment how far the run is, and how it ended."""
    _start_record(settings, cells, folder)
    started = time.monotonic()
    try:
        _train(settings, cells, folder)
    except (InterruptedRunError, KeyboardInterrupt):
        folder.update(status="interrupted", finished=record.now())
        raise
    except Exception as error:
        folder.update(
            status="failed",
            finished=record.now(),
            error=f"{type(error).__name__}: {error}",
            traceback=traceback.format_exc(),
        )
        raise
    finally:
        folder.update(seconds=round(folder.record.get("seconds", 0.0) + time.monotonic() - started, 3))


def _start_record(settings: TrainSettings, cells: Cells, folder: RunFolder) -> None:
    device = resolve_device(settings.trainer.accelerator, "trainer.accelerator")
    folder.set_split(cells.split.hash)
    folder.update(
        status="running",
        started=record.now(),
        config_hash=content_hash(identity_settings(settings)),
        data_fingerprint=cells.index.fingerprint,
        data_root=str(cells.index.root.resolve()),
        class_names=list(cells.index.class_names),
        positive=cells.index.positive,
        stamps=list(cells.stamps),
        model=settings.model.name,
        protocol=cells.split.protocol,
        versions=record.versions(),
        commit=record.commit(),
        hardware={"processor": record.processor(), "device": device_name(device)},
    )
    config = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
    record.write_atomically(folder.path / record.CONFIG, config)
    write_split(cells.split, folder.path / record.SPLIT)


def _train(settings: TrainSettings, cells: Cells, folder: RunFolder) -> None:
    lightning.seed_everything(settings.seed, workers=True, verbose=False)
    device = resolve_device(settings.trainer.accelerator, "trainer.accelerator")
    data = data_module(settings, cells, device, settings.trainer.batch_size)
    model = _model(settings, cells, data)
    logger = tensorboard.run_logger(folder.path)
    _log_start(logger, model, data, folder)
    _announce(settings, cells, model)
    fitted = fit(
        model,
        data,
        checkpoints=folder.path / record.CHECKPOINTS,
        logger=logger,
        max_epochs=settings.trainer.max_epochs,
        monitor=settings.trainer.monitor,
        patience=settings.trainer.patience,
        precision=settings.trainer.precision,
        deterministic=settings.trainer.deterministic,
        gradient_clip_norm=settings.optim.gradient_clip_norm,
    )
    predictions = _predictions(settings, cells, data, fitted, run_id=folder.record["identity"])
    write_predictions(predictions, folder.path / record.PREDICTIONS)
    _finish(settings, cells, folder, logger, predictions, fitted)


def _model(settings: TrainSettings, cells: Cells, data: CellDataModule) -> CellClassifier:
    mean, std = normalisation(settings, data)
    torch.manual_seed(settings.seed)  # the weights depend on the seed alone
    return CellClassifier(
        net=settings.model.net,
        class_names=cells.index.class_names,
        positive=cells.index.positive,
        image_size=int(settings.pipeline.image_size),
        log=settings.pipeline.log.model_dump(),
        augment=settings.augment.on_device,
        mean=mean,
        std=std,
        optim=settings.optim.model_dump(),
        seed=settings.seed,
    )


def _announce(settings: TrainSettings, cells: Cells, model: CellClassifier) -> None:
    n_weights = sum(weight.numel() for weight in model.net.parameters())
    CONSOLE.print(
        f"{settings.model.name}: {n_weights:,} weights, {settings.pipeline.image_size} px, "
        f"{settings.trainer.precision} on {settings.trainer.accelerator}, {settings.protocol.name}"
        + "".join(f"  [{stamp}]" for stamp in cells.stamps),
        markup=False,
    )


def _log_start(
    logger: TensorBoardLogger, model: CellClassifier, data: CellDataModule, folder: RunFolder
) -> None:
    """Show what the net will see: the same cells raw, filtered, augmented; and the run's configuration."""
    rows = data.rows["train"]
    spread = rows[torch.linspace(0, len(rows) - 1, min(PICTURES, len(rows)), device=rows.device).long()]
    batch = data.cells[spread]
    pipeline = model.pipeline.to(data.device)
    stages = pipeline.stages(batch["image"].to(data.device), batch["cell"].to(data.device), model.seed, 0)
    captions = [model.hparams["class_names"][label] for label in batch["label"].tolist()]
    pictures = {name: images.permute(0, 2, 3, 1).cpu().numpy() for name, images in stages.items()}
    if model.pipeline.log.mode == "none":
        del pictures["filtered"]
    figure = cell_grid_figure(pictures, captions)
    (folder.path / record.FIGURES).mkdir(exist_ok=True)
    figure.savefig(folder.path / record.FIGURES / "cells.png")
    tensorboard.log_figure(logger, "cells/raw_filtered_augmented", figure, 0)
    tensorboard.log_text(logger, "run/config", (folder.path / record.CONFIG).read_text(encoding="utf-8"))
    tensorboard.log_text(logger, "run/stamps", "\n".join(folder.record["stamps"]))


def _predictions(
    settings: TrainSettings, cells: Cells, data: CellDataModule, fitted: FitResult, run_id: str
) -> pd.DataFrame:
    """The predictions of the best epoch for the training and validation parts."""
    model = load_model(fitted.best_checkpoint)
    tables = []
    trainer = settings.trainer
    for part in SEEN_PARTS:
        logits = predict(model, data, part, precision=trainer.precision, deterministic=trainer.deterministic)
        rows = cells.split.table[cells.split.table["part"] == part]
        tables.append(predictions_table(rows, logits, cells.index.class_names, run_id))
    return pd.concat(tables, ignore_index=True)


def _finish(
    settings: TrainSettings,
    cells: Cells,
    folder: RunFolder,
    logger: TensorBoardLogger,
    predictions: pd.DataFrame,
    fitted: FitResult,
) -> None:
    """Write metrics, figures and dashboards, and close the record."""
    class_names, positive = cells.index.class_names, cells.index.positive
    document = metrics_document(predictions, class_names, positive, cells.stamps, OBJECTIVE)
    matrix = confusion(predictions[predictions["part"] == "val"], class_names)
    figure = confusion_figure(matrix, class_names, _title("validation", cells.stamps))
    figure.savefig(folder.path / record.FIGURES / "confusion_val.png")
    tensorboard.log_figure(logger, "confusion/val", figure, fitted.best_epoch)
    config = tensorboard.flat(settings.model_dump(mode="json"))
    tensorboard.log_final(logger, config, tensorboard.final_values(document))
    logger.finalize("success")
    folder.write_metrics(document)
    folder.update(
        status="finished",
        finished=record.now(),
        objective=document["objective"],
        best_checkpoint=f"{record.CHECKPOINTS}/{BEST}",
        best_epoch=fitted.best_epoch,
        epochs=fitted.n_epochs,
        images_per_second=fitted.images_per_second,
    )


def _title(part: str, stamps: tuple[str, ...]) -> str:
    return part + "".join(f" [{stamp}]" for stamp in stamps)
