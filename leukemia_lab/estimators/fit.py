"""Fitting a CellClassifier and predicting with it: one Lightning Trainer, checkpoints, resume."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from leukemia_lab.data.datamodule import CellDataModule, evenly_spaced
from leukemia_lab.errors import RunError
from leukemia_lab.estimators.callbacks import TrainingProgress
from leukemia_lab.estimators.checkpoints import BEST, LAST, checkpointing, early_stopping
from leukemia_lab.estimators.interruption import StopRequest, interruptible
from leukemia_lab.estimators.meters import FetchClock, Meters
from leukemia_lab.estimators.neural import CellClassifier, Output


@dataclass(frozen=True)
class FitResult:
    """What came of a fit; `images_per_second` is over all its epochs, those before a resume included."""

    best_checkpoint: Path
    best_epoch: int
    n_epochs: int
    images_per_second: float | None


def fit(
    model: CellClassifier,
    data: CellDataModule,
    *,
    checkpoints: Path,
    logger: TensorBoardLogger,
    max_epochs: int,
    monitor: str,
    patience: int | None,
    precision: str,
    deterministic: bool,
    gradient_clip_norm: float | None,
    callbacks: Sequence[Callback] = (),
) -> FitResult:
    """Fit `model` on the training part, going on from `last.ckpt` where `checkpoints` holds one.

    `callbacks` are more of Lightning's, which run before the checkpoints are written.

    Raises:
        InterruptedRunError: Ctrl-C, or the system asked the process to end.
        TrainingError: the loss is no number any more.
    """
    progress, request, clock = TrainingProgress(), StopRequest(), FetchClock()
    watching: list[Callback] = [request, progress, Meters(progress, clock), *callbacks]
    if patience is not None:
        watching.insert(0, early_stopping(patience, monitor))
    trainer = _trainer(
        data,
        precision,
        deterministic,
        logger=logger,
        callbacks=[*watching, *checkpointing(checkpoints, monitor)],
        profiler=clock,
        max_epochs=max_epochs,
        gradient_clip_val=gradient_clip_norm,
        num_sanity_val_steps=0,
        log_every_n_steps=1_000_000,  # nothing is logged by the step
    )
    with _quiet(), _exact_float32(precision), interruptible(request):
        trainer.fit(model, datamodule=data, ckpt_path=_resume_point(checkpoints), weights_only=True)
    return FitResult(
        best_checkpoint=checkpoints / BEST,
        best_epoch=int(torch.load(checkpoints / BEST, weights_only=True, mmap=True)["epoch"]),
        n_epochs=trainer.current_epoch,
        images_per_second=progress.images_per_second,
    )


def load_model(checkpoint: Path) -> CellClassifier:
    """The model of a checkpoint, its weights loaded with `weights_only=True`; RunError where it cannot be read."""
    try:
        model = CellClassifier.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise RunError(f"{checkpoint} is missing: train the run again with force=true") from None
    except Exception as error:
        raise RunError(
            f"{checkpoint} cannot be loaded ({error}): train the run again with force=true"
        ) from error
    return model


def predict(
    model: CellClassifier,
    data: CellDataModule,
    part: str,
    *,
    output: Output,
    precision: str,
    deterministic: bool,
    limit: int | None = None,
) -> npt.NDArray[np.float32]:
    """`output` float32 [n, K] or [n, D] of the cells of `part`, in the order of the data module's rows, unaugmented.

    With `limit`, of that many cells of the part, evenly spaced (`CellDataModule.loader`), where it has more.
    """
    request = StopRequest()
    if precision == "16-mixed" and data.device.type == "cpu":  # Lightning would take bfloat16 and not say so
        precision = "32-true"
    trainer = _trainer(data, precision, deterministic, logger=False, callbacks=[request])
    model.output = output
    with _quiet(), _exact_float32(precision), interruptible(request):
        batches: Any = trainer.predict(
            model, dataloaders=data.loader(part, limit=limit), return_predictions=True
        )
    rows = torch.cat([cells.cpu() for cells, _ in batches])
    if not torch.equal(rows, evenly_spaced(data.rows[part], limit).cpu()):
        raise RunError(f"predictions of part {part} do not cover each cell once and in order")
    values: npt.NDArray[np.float32] = torch.cat([values.cpu() for _, values in batches]).numpy()
    return values


def _trainer(data: CellDataModule, precision: Any, deterministic: bool, **arguments: Any) -> Trainer:
    on_cpu = data.device.type == "cpu"
    with _quiet():
        return Trainer(
            accelerator="cpu" if on_cpu else "gpu",
            devices=1 if on_cpu else [data.device.index],
            precision=precision,
            # some CUDA kernels have no deterministic form: they warn there instead of ending the run
            deterministic=(True if on_cpu else "warn") if deterministic else False,
            benchmark=not deterministic,  # cuDNN may time its kernels and take the fastest
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            **arguments,
        )


def _resume_point(checkpoints: Path) -> Path | None:
    last = checkpoints / LAST
    if not last.exists():
        return None
    try:
        torch.load(last, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # cut off by a kill while it was written: the run starts over
        return None
    return last


@contextmanager
def _exact_float32(precision: str) -> Iterator[None]:
    """Let 32-true mean float32: cuDNN would round the factors of convolutions to TF32's 10 bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = before and precision != "32-true"
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Lightning says to developers about loaders and devices that were chosen on purpose."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"lightning\..*")
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"lightning\..*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
