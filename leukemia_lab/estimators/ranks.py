"""Several processes that train one net, each with a device and a rank of its own: how they share steps and results."""

from __future__ import annotations

from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed


def summed(values: Tensor) -> Tensor:
    """The sum of `values` over all processes; `values` themselves where there is one."""
    return _reduced(values, distributed.ReduceOp.SUM)


def smallest(values: Tensor) -> Tensor:
    """The smallest of `values` over all processes; `values` themselves where there is one."""
    return _reduced(values, distributed.ReduceOp.MIN)


def _reduced(values: Tensor, operation: Any) -> Tensor:
    if distributed.is_initialized():
        values = values.clone()
        distributed.all_reduce(values, operation)
    return values


def gathered(values: Tensor) -> Tensor:
    """`values` [n, ...] of all processes, those of rank 0 first; n may differ among them, and none may have none."""
    if not distributed.is_initialized():
        return values
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, values.cpu())
    return torch.cat(found).to(values.device)


class WholeValidation(Callback):
    """Gathers what all devices have validated, and has it checked, before any other callback asks for it."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Gather the outputs of the part's cells."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        pl_module.close_epoch(data.rows["val"])


class SharedSteps(DDPStrategy):
    """Lightning's DDP, for nets whose stages freeze and thaw while they are trained."""

    def __init__(self) -> None:
        # Buffers stay equal without being sent round: sending would be a meeting at every batch, also of validation,
        # where the devices may have different numbers of batches. A net may have weights that its logits do not use.
        super().__init__(broadcast_buffers=False, find_unused_parameters=True)
        self._learning: list[bool] = []

    def configure_ddp(self) -> None:
        """Wrap the module; DDP shares the gradients of the weights that learn at this moment."""
        super().configure_ddp()
        self._learning = self._learning_now()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Wrap the module anew where other weights learn than before; the module has frozen its stages by now."""
        if batch_idx == 0 and self._learning != self._learning_now():
            assert self.lightning_module is not None
            self.model = self._setup_model(self.lightning_module)
            self._learning = self._learning_now()

    def _learning_now(self) -> list[bool]:
        assert self.lightning_module is not None
        return [weight.requires_grad for weight in self.lightning_module.parameters()]
