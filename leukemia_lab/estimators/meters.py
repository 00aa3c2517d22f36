"""What an epoch cost, logged beside its metrics: images/s, waiting for data, memory."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import Profiler

from leukemia_lab.estimators.callbacks import TrainingProgress

FETCH = "[_TrainingEpochLoop].train_dataloader_next"  # what Lightning calls the wait for a training batch


class FetchClock(Profiler):
    """Seconds that the training loop waited for its loader since `reset`; everything else is not timed."""

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        """Start anew: no wait, and no epoch begun."""
        self.waited = 0.0
        self.began: float | None = None  # when the epoch asked for its first batch
        self._asked = 0.0

    def start(self, action_name: str) -> None:
        """Note when a batch is asked for."""
        if action_name == FETCH:
            self._asked = time.perf_counter()
            if self.began is None:
                self.began = self._asked

    def stop(self, action_name: str) -> None:
        """Add the wait for the batch."""
        if action_name == FETCH:
            self.waited += time.perf_counter() - self._asked


class Meters(Callback):
    """Logs `speed/images_per_second`, `speed/data_wait_share` (0 to 1) and the memory once an epoch.

    `memory/device_bytes` is the most that PyTorch has held on the GPU so far. Without a GPU it is
    `memory/process_bytes`, the most that the process has held in main memory since it began.
    """

    def __init__(self, progress: TrainingProgress, clock: FetchClock) -> None:
        self.progress, self.clock = progress, clock
        self._wait_share: float | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After the last batch: the share of the epoch so far that went by waiting for batches."""
        if batch_idx + 1 == trainer.num_training_batches and self.clock.began is not None:
            seconds = time.perf_counter() - self.clock.began
            self._wait_share = self.clock.waited / max(seconds, 1e-9)
            self.clock.reset()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's meters."""
        values = {
            "speed/images_per_second": self.progress.epoch_images_per_second,
            "speed/data_wait_share": self._wait_share,
        } | _memory(pl_module.device)
        pl_module.log_dict({name: value for name, value in values.items() if value is not None})


def _memory(device: torch.device) -> dict[str, float | None]:
    if device.type == "cuda":
        return {"memory/device_bytes": float(torch.cuda.max_memory_allocated(device))}
    return {"memory/process_bytes": _process_bytes()}


def _process_bytes() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
