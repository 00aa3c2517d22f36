"""Where a training run left the numbers: found on the device, without a wait at every step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from torch import Tensor
from torch.nn.utils import get_total_norm

from leukemia_lab.errors import TrainingError
from leukemia_lab.estimators.epoch_metrics import Floats
from leukemia_lab.estimators.ranks import smallest

_NEVER = 2**62


class FirstBadStep:
    """The first batch of an epoch whose loss is NaN or infinite; read once, at the epoch's end."""

    def __init__(self) -> None:
        self._first: Tensor | None = None
        self._rates: list[float] = []

    def add(self, loss: Tensor, lr: float) -> None:
        """Note the loss of the next batch, a scalar tensor that is not read, and its learning rate."""
        place = torch.where(torch.isfinite(loss.detach()), _NEVER, len(self._rates))
        self._first = place if self._first is None else torch.minimum(self._first, place)
        self._rates.append(lr)

    def pop(self) -> tuple[int | None, list[float]]:
        """The bad batch, None where no device had one, and the rates of all batches since the last `pop`."""
        first = _NEVER if self._first is None else int(smallest(self._first))
        rates = self._rates
        self._first, self._rates = None, []
        return None if first == _NEVER else first, rates


def require_numbers(model: LightningModule, losses: FirstBadStep, outputs: Floats, lr: float) -> None:
    """Raise TrainingError after an epoch that had a bad batch, or whose weights or validation `outputs` are no numbers.

    Its facts, for the record: `nan_epoch`, `nan_step` within the epoch and `nan_global_step`, all counted from 0, and
    `nan_lr`. `lr` is the full learning rate.
    """
    bad, rates = losses.pop()
    accumulated = model.trainer.accumulate_grad_batches
    n_steps = len(rates) // accumulated
    step = n_steps - 1 if bad is None else bad // accumulated
    if bad is not None:
        what = f"the training loss is NaN or infinite at step {step}"
    elif not math.isfinite(get_total_norm([weight.detach() for weight in model.parameters()])):
        what = f"the norm of the weights is NaN or infinite after step {step}, the last one"
    elif not np.isfinite(outputs).all():
        what = f"the outputs for the validation part are NaN or infinite after step {step}, the last one"
    else:
        return
    epoch, rate = model.trainer.current_epoch, rates[-1 if bad is None else bad]
    facts: dict[str, Any] = {"nan_epoch": epoch, "nan_step": step}
    facts |= {"nan_global_step": epoch * n_steps + step, "nan_lr": rate}
    raise TrainingError(
        f"{what} of epoch {epoch} (step {facts['nan_global_step']} of the run, all counted from 0) at learning rate "
        f"{rate:.3g}: lower optim.lr (now {lr}), raise optim.warmup_epochs, or set trainer.precision=32-true. The "
        "epoch is not kept: the checkpoints are those of the epochs before",
        **facts,
    )
