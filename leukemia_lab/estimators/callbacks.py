"""What a training run shows and records while it goes: progress, speed."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from leukemia_lab.progress import CONSOLE, PLAIN_LINE_SECONDS, rate_text

SHOWN = ("train/loss", "val/loss", "val/auroc", "val/balanced_accuracy")


class TrainingProgress(Callback):
    """One line an epoch (losses, metrics, images/s, time left), a Rich bar within it on a terminal.

    The bar counts the optimiser's steps that were sent to the device; nothing here waits for it within an epoch.
    """

    def __init__(self) -> None:
        self.images, self.seconds = 0.0, 0.0
        self._epoch_images, self._epoch_seconds = 0.0, 0.0
        self._run_started = self._epoch_started = self._last_line = time.monotonic()
        self._first_epoch = 0
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    @property
    def images_per_second(self) -> float | None:
        """Training images a second over all epochs, validation left out; None before the first."""
        return self.images / self.seconds if self.seconds > 0 else None

    @property
    def epoch_images_per_second(self) -> float | None:
        """Training images a second in the epoch that was finished last; None before the first."""
        return self._epoch_images / self._epoch_seconds if self._epoch_seconds > 0 else None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and the bar where there is a terminal."""
        self._run_started, self._first_epoch = time.monotonic(), trainer.current_epoch
        if CONSOLE.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=CONSOLE, transient=True)
            self._bar.start()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """At an epoch's first batch: report the epoch before, whose metrics are complete only now."""
        if batch_idx > 0:
            return
        self._report(trainer)
        self._epoch_started = self._last_line = time.monotonic()
        self._epoch_images = 0.0
        if self._bar is not None:
            name = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self._task = self._bar.add_task(name, total=_n_steps(trainer), rate="")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch; stop the epoch's clock after the last one, before validation."""
        # a piece counts as its share in what all devices do
        self._epoch_images += len(batch.get("whole", batch["label"])) / trainer.accumulate_grad_batches
        self._show_step(trainer, (batch_idx + 1) / trainer.accumulate_grad_batches)
        if batch_idx + 1 == trainer.num_training_batches:
            if pl_module.device.type == "cuda":
                torch.cuda.synchronize(
                    pl_module.device
                )  # once an epoch, so that the rate is of finished work
            self._epoch_seconds = time.monotonic() - self._epoch_started
            self.seconds += self._epoch_seconds
            self.images += self._epoch_images

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the last epoch and take the bar away."""
        self._report(trainer)
        self._stop()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: the images and seconds so far."""
        return {"images": self.images, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting after a resume."""
        self.images, self.seconds = state_dict["images"], state_dict["seconds"]

    def _show_step(self, trainer: Trainer, done: float) -> None:
        now = time.monotonic()
        rate = rate_text(self._epoch_images, now - self._epoch_started, "images")
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, rate=rate)
        elif self._bar is None and now - self._last_line >= PLAIN_LINE_SECONDS:
            self._last_line = now
            n_steps = _n_steps(trainer)
            left = (now - self._epoch_started) / done * (n_steps - done)
            CONSOLE.print(f"  step {done:.0f}/{n_steps}, {rate}, {left:.0f} s left in this epoch")

    def _report(self, trainer: Trainer) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
        if self._epoch_images == 0:
            return
        done, n_epochs = trainer.current_epoch, trainer.max_epochs or trainer.current_epoch
        left = (time.monotonic() - self._run_started) / (done - self._first_epoch) * (n_epochs - done)
        values = trainer.callback_metrics
        shown = "  ".join(f"{key} {float(values[key]):.4f}" for key in SHOWN if key in values)
        rate = rate_text(self._epoch_images, self._epoch_seconds, "images")
        CONSOLE.print(f"epoch {done}/{n_epochs}  {shown}  {rate}  at most {left:.0f} s left", markup=False)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take the bar away."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _n_steps(trainer: Trainer) -> int:
    """The optimiser's steps of an epoch."""
    return int(trainer.num_training_batches) // trainer.accumulate_grad_batches
