"""How a run trains a neural net and predicts with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import numpy.typing as npt
import torch
from lightning import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from leukemia_lab.batch_pieces import BatchPieces
from leukemia_lab.cells import Cells
from leukemia_lab.dashboards import Embedded, embedded
from leukemia_lab.data.datamodule import CellBatch, CellDataModule
from leukemia_lab.estimators.checkpoints import BEST
from leukemia_lab.estimators.fit import FitResult, fit, load_model, predict
from leukemia_lab.estimators.history import TrainingHistory
from leukemia_lab.estimators.interruption import HoldGuard
from leukemia_lab.estimators.losses import balanced_class_weights
from leukemia_lab.estimators.memory import has_batch_norm, in_memory
from leukemia_lab.estimators.neural import CellClassifier, Output
from leukemia_lab.estimators.validation_curves import ValidationCurves
from leukemia_lab.evaluation.figures import cell_grid_figure
from leukemia_lab.experiment import SEEN_PARTS, Trained, normalisation, training_data
from leukemia_lab.initial_weights import initial_weights
from leukemia_lab.progress import CONSOLE
from leukemia_lab.runs import record, tensorboard
from leukemia_lab.runs.projector import MAX_CELLS
from leukemia_lab.runs.record import RunFolder
from leukemia_lab.schema import NetModel, TrainSettings
from leukemia_lab.schema.fields import Target
from leukemia_lab.search.pruning import pruning_callbacks
from leukemia_lab.several_devices import fit_on_devices
from leukemia_lab.sweeping.job import TrialAddress

PICTURES = 8  # cells in the grid raw -> filtered -> augmented


def train_net(
    settings: TrainSettings,
    cells: Cells,
    folder: RunFolder,
    logger: TensorBoardLogger,
    trial: TrialAddress | None,
) -> Trained:
    """Fit the net of `settings.model`, or go on with it, and predict the training and validation parts.

    Raises:
        PrunedRunError: the search of `trial` has ended it.
    """
    lightning.seed_everything(settings.seed, workers=True, verbose=False)
    data = training_data(settings, cells)
    data.n_ranks = int(settings.trainer.devices)
    fitted = _fit_in_memory(settings, cells, data, folder, logger, trial)
    best = load_model(fitted.best_checkpoint)
    return Trained(
        logits={part: _predict(settings, best, data, part, "logits") for part in SEEN_PARTS},
        best_epoch=fitted.best_epoch,
        embedded=_embedded(settings, best, data),
        record={
            "best_checkpoint": f"{record.CHECKPOINTS}/{BEST}",
            "best_epoch": fitted.best_epoch,
            "n_weights": sum(weight.numel() for weight in best.net.parameters()),
            "epochs": fitted.n_epochs,
            "images_per_second": fitted.images_per_second,
            "peak_device_memory_bytes": fitted.peak_device_memory_bytes,
        },
        data=data,
        net=best,
    )


def fit_net(
    settings: TrainSettings,
    model: CellClassifier,
    data: CellDataModule,
    run_folder: Path,
    stamps: Sequence[str],
    logger: TensorBoardLogger | None,
    trial: TrialAddress | None,
    guards: Sequence[Callback] = (),
) -> FitResult:
    """Fit `model` as the settings say; without a logger, as one of several devices that leaves the files to another."""
    history = run_folder / record.HISTORY
    writing = [] if logger is None else [TrainingHistory(history), ValidationCurves(stamps)]
    return fit(
        model,
        data,
        checkpoints=run_folder / record.CHECKPOINTS,
        logger=logger,
        max_epochs=settings.trainer.max_epochs,
        monitor=settings.trainer.monitor,
        patience=settings.trainer.patience,
        precision=settings.trainer.precision,
        deterministic=settings.trainer.deterministic,
        gradient_clip_norm=settings.optim.gradient_clip_norm,
        callbacks=[*guards, *writing, *pruning_callbacks(trial, history, settings.trainer.monitor)],
    )


def _fit_in_memory(
    settings: TrainSettings,
    cells: Cells,
    data: CellDataModule,
    folder: RunFolder,
    logger: TensorBoardLogger,
    trial: TrialAddress | None,
) -> FitResult:
    """The fit; where memory runs out it goes on from its last checkpoint with twice as many pieces of a batch."""
    models = [
        _model(settings, cells, data, folder)
    ]  # the first attempt takes it: a failed one is not to be kept
    _log_pictures(logger, models[0], data, folder, cells.stamps)
    tensorboard.log_layout(logger)
    _announce(settings, cells, models[0])
    pieces = BatchPieces(folder, data, normalised=has_batch_norm(models[0].net))

    def attempt() -> FitResult:
        model = models.pop() if models else _model(settings, cells, data, folder)
        if data.n_ranks == 1:
            guards = [HoldGuard(folder)]
            return fit_net(settings, model, data, folder.path, cells.stamps, logger, trial, guards)
        logger.experiment.close()  # a server reads event files one after the other: what follows goes into new ones
        return fit_on_devices(settings, cells, folder, model, data.accumulated, trial)

    return in_memory(attempt, pieces.double)


def net_predictor(
    settings: TrainSettings, model: CellClassifier, data: CellDataModule, test_time: str
) -> Callable[[str], npt.NDArray[np.float32]]:
    """A function from a part to its logits float32 [n, K] by the net of a finished run."""
    output: Output = "dihedral" if test_time == "dihedral" else "logits"
    return lambda part: _predict(settings, model, data, part, output)


def _embedded(settings: TrainSettings, model: CellClassifier, data: CellDataModule) -> Embedded | None:
    if not hasattr(model.evaluated_net, "forward_features"):
        return None  # a user's net that has none
    return embedded(data, _predict(settings, model, data, "val", "features", limit=MAX_CELLS))


def _predict(
    settings: TrainSettings,
    model: CellClassifier,
    data: CellDataModule,
    part: str,
    output: Output,
    limit: int | None = None,
) -> npt.NDArray[np.float32]:
    return predict(
        model,
        data,
        part,
        output=output,
        precision=settings.trainer.precision,
        deterministic=settings.trainer.deterministic,
        limit=limit,
    )


def new_classifier(
    settings: TrainSettings, net: Target, cells: Cells, data: CellDataModule, **policies: Any
) -> CellClassifier:
    """A classifier with random weights, which depend on the seed alone; `policies` are those of training."""
    mean, std = normalisation(settings, data)
    plain: dict[str, Any] = {"augment": None, "freeze": "none", "thaw_every": None}
    plain |= {"class_weights": None, "focal_gamma": None}
    torch.manual_seed(settings.seed)
    return CellClassifier(
        net=net,
        class_names=cells.index.class_names,
        positive=cells.index.positive,
        image_size=int(settings.pipeline.image_size),
        log=settings.pipeline.log.model_dump(),
        mean=mean,
        std=std,
        optim=settings.optim.model_dump(),
        seed=settings.seed,
        **(plain | policies),
    )


def _model(settings: TrainSettings, cells: Cells, data: CellDataModule, folder: RunFolder) -> CellClassifier:
    node, balance = settings.model, settings.balance
    assert isinstance(node, NetModel)
    counts = data.class_counts("train", len(cells.index.class_names))
    model = new_classifier(
        settings,
        node.net,
        cells,
        data,
        augment=settings.augment.on_device,
        freeze=node.freeze,
        thaw_every=node.thaw_every,
        class_weights=balanced_class_weights(counts) if balance.class_weight else None,
        focal_gamma=balance.focal_gamma,
    )
    _load_weights(node, model, folder)  # a resumed run's checkpoint overrules them
    return model


def _load_weights(node: NetModel, model: CellClassifier, folder: RunFolder) -> None:
    weights = initial_weights(node)
    if weights is None:
        if model.frozen:
            CONSOLE.print(f"note: the frozen stages keep their random weights: {', '.join(model.frozen)}")
        return
    notes = model.start_from(weights.state)
    folder.update(initial_weights=weights.source)
    for text in (f"weights: {weights.source}", *notes):
        CONSOLE.print(text, markup=False)


def _announce(settings: TrainSettings, cells: Cells, model: CellClassifier) -> None:
    n_weights = sum(weight.numel() for weight in model.net.parameters())
    n_learning = sum(weight.numel() for weight in model.net.parameters() if weight.requires_grad)
    n_devices, device = settings.trainer.devices, settings.trainer.accelerator
    where = device if n_devices == 1 else f"{n_devices} processes of {device}"
    learning = "" if n_learning == n_weights else f", of which {n_learning:,} learn at first"
    CONSOLE.print(
        f"{settings.model.name}: {n_weights:,} weights{learning}, {settings.pipeline.image_size} px, "
        f"{settings.trainer.precision} on {where}, {settings.protocol.name}"
        + "".join(f"  [{stamp}]" for stamp in cells.stamps),
        markup=False,
    )


def _log_pictures(
    logger: TensorBoardLogger,
    model: CellClassifier,
    data: CellDataModule,
    folder: RunFolder,
    stamps: Sequence[str],
) -> None:
    """Show what the net will see: the same cells raw, filtered, augmented."""
    pictures, labels = _pictures(model, data)
    captions = [model.hparams["class_names"][label] for label in labels]
    figure = cell_grid_figure(pictures, captions)
    figure.suptitle(tensorboard.figure_title("training cells", stamps))
    figure.savefig(folder.path / record.FIGURES / "cells.png")
    tensorboard.log_figure(logger, "cells/raw_filtered_augmented", figure, 0)


def _pictures(model: CellClassifier, data: CellDataModule) -> tuple[dict[str, Any], list[int]]:
    rows = data.rows["train"]
    spread = rows[torch.linspace(0, len(rows) - 1, min(PICTURES, len(rows)), device=rows.device).long()]
    pipeline = model.pipeline.to(data.device)

    def stages(batch: CellBatch) -> dict[str, Tensor]:
        images, draws = batch["image"].to(data.device), batch["draw"].to(data.device)
        return pipeline.stages(images, draws, model.seed, 0)

    batch = data.cells[spread, 0]
    shown = stages(batch) | {"augmented": stages(data.train_cells[spread, 0])["augmented"]}
    pictures = {name: images.permute(0, 2, 3, 1).cpu().numpy() for name, images in shown.items()}
    if model.pipeline.log.mode == "none":
        del pictures["filtered"]
    return pictures, batch["label"].tolist()
