"""Fitting a CellClassifier and predicting with it: one Lightning Trainer, checkpoints, resume."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning import Trainer
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from leukemia_lab.data.datamodule import CellDataModule, evenly_spaced
from leukemia_lab.errors import RunError, TrainingError
from leukemia_lab.estimators.batch_norm import SynchronisedBatchNorm
from leukemia_lab.estimators.callbacks import TrainingProgress
from leukemia_lab.estimators.checkpoints import BEST, LAST, checkpointing, early_stopping
from leukemia_lab.estimators.interruption import StopRequest, interruptible
from leukemia_lab.estimators.memory import in_memory
from leukemia_lab.estimators.meters import FetchClock, Meters
from leukemia_lab.estimators.neural import CellClassifier, Output
from leukemia_lab.estimators.ranks import SharedSteps, WholeValidation
from leukemia_lab.progress import CONSOLE


@dataclass(frozen=True)
class FitResult:
    """What came of a fit; `images_per_second` is over all its epochs, those before a resume included."""

    best_checkpoint: Path
    best_epoch: int
    n_epochs: int
    images_per_second: float | None
    peak_device_memory_bytes: int | None  # of PyTorch on the GPU, resident cells included; None on a CPU


def fit(
    model: CellClassifier,
    data: CellDataModule,
    *,
    checkpoints: Path,
    logger: TensorBoardLogger | None,
    max_epochs: int,
    monitor: str,
    patience: int | None,
    precision: str,
    deterministic: bool,
    gradient_clip_norm: float | None,
    callbacks: Sequence[Callback] = (),
) -> FitResult:
    """Fit `model` on the training part, going on from `last.ckpt` where `checkpoints` holds one.

    `callbacks` are more of Lightning's, which run before the checkpoints are written. Where `data.n_ranks` is above 1
    the process group must exist, and every rank of it call this.

    Raises:
        InterruptedRunError: Ctrl-C, or the system asked the process to end.
        TrainingError: the loss, or a weight, is no number any more.
    """
    progress, request, clock = TrainingProgress(), StopRequest(), FetchClock()
    watching: list[Callback] = [WholeValidation(), request, progress, Meters(progress, clock), *callbacks]
    if patience is not None:
        watching.insert(0, early_stopping(patience, monitor))
    shared: dict[str, Any] = {}
    if data.n_ranks > 1:
        shared = {"strategy": SharedSteps(), "plugins": [LightningEnvironment()], "devices": data.n_ranks}
    trainer = _trainer(
        data,
        precision,
        deterministic,
        **shared,
        logger=False if logger is None else logger,
        callbacks=[*watching, *checkpointing(checkpoints, monitor)],
        profiler=clock,
        max_epochs=max_epochs,
        accumulate_grad_batches=data.accumulated,
        gradient_clip_val=gradient_clip_norm,
        num_sanity_val_steps=0,
        log_every_n_steps=1_000_000,  # nothing is logged by the step
    )
    # With several devices Lightning would ask at every step whether the first was told to end, and wait for the answer.
    # `StopRequest` hears of that, and several_devices ends the others.
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
    if data.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(data.device)
    try:
        with _quiet(), _exact_float32(precision), interruptible(request), _shared_batches(data):
            trainer.fit(model, datamodule=data, ckpt_path=_resume_point(checkpoints), weights_only=True)
    finally:
        data.trainer = None  # through it the data would keep model and optimiser in memory
    return FitResult(
        best_checkpoint=checkpoints / BEST,
        best_epoch=int(torch.load(checkpoints / BEST, weights_only=True, mmap=True)["epoch"]),
        n_epochs=trainer.current_epoch,
        images_per_second=progress.images_per_second,
        peak_device_memory_bytes=torch.cuda.max_memory_allocated(data.device)
        if data.device.type == "cuda"
        else None,
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

    With `limit`, of that many cells of the part, evenly spaced (`CellDataModule.loader`), where it has more. Where
    memory runs out, the data module's batches outside training are halved, for good.

    Raises:
        InterruptedRunError: Ctrl-C, or the system asked the process to end.
        TrainingError: there is no memory for a single cell.
    """
    if precision == "16-mixed" and data.device.type == "cpu":  # Lightning would take bfloat16 and not say so
        precision = "32-true"
    model.output = output
    return in_memory(
        lambda: _predicted(model, data, part, precision, deterministic, limit),
        lambda: _halve_evaluation_batch(data),
    )


def _halve_evaluation_batch(data: CellDataModule) -> None:
    size = data.evaluation_batch
    if size == 1:
        raise TrainingError(
            f"{data.device}: out of memory predicting a single cell. Free memory on it, or choose another "
            "trainer.accelerator, a smaller pipeline.image_size or a smaller net"
        )
    data.evaluation_batch = -(-size // 2)
    CONSOLE.print(f"out of memory predicting {size} cells at a time: going on with {data.evaluation_batch}")


def _predicted(
    model: CellClassifier,
    data: CellDataModule,
    part: str,
    precision: str,
    deterministic: bool,
    limit: int | None,
) -> npt.NDArray[np.float32]:
    request = StopRequest()
    trainer = _trainer(data, precision, deterministic, logger=False, callbacks=[request])
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
    arguments.setdefault("devices", 1 if on_cpu else [data.device.index])
    with _quiet():
        return Trainer(
            accelerator="cpu" if on_cpu else "gpu",
            precision=precision,
            # some CUDA kernels have no deterministic form: they warn there instead of ending the run
            deterministic=(True if on_cpu else "warn") if deterministic else False,
            benchmark=not deterministic,  # cuDNN may time its kernels and take the fastest
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            **arguments,
        )


def _shared_batches(data: CellDataModule) -> AbstractContextManager[Any]:
    """Batch normalisation over all devices that share a batch, where there are several."""
    return SynchronisedBatchNorm() if data.n_ranks > 1 else nullcontext()


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
