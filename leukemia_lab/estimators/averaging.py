"""A moving average of a net's weights, evaluated in place of the weights themselves."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def move_average(average: nn.Module, net: nn.Module, decay: float, step: int) -> None:
    """Move the weights of `average` towards those of `net` after training step `step`, counted from 0.

    average <- d * average + (1 - d) * net with d = min(decay, (1 + step) / (10 + step)): without the warm-up (that of
    TensorFlow's ExponentialMovingAverage) the random start would weigh heavily for 1 / (1 - decay) steps.
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    pairs: list[tuple[Tensor, Tensor]] = []  # a weight that is shared within the net stands here once
    pairs += zip(average.parameters(), net.parameters(), strict=True)
    for ours, theirs in zip(average.buffers(), net.buffers(), strict=True):
        if ours.is_floating_point():
            pairs.append((ours, theirs))
        else:  # counters of batch normalisation
            ours.copy_(theirs)
    averages, currents = ([pair[side] for pair in pairs] for side in (0, 1))
    torch._foreach_lerp_(averages, currents, share)


class FiniteMean:
    """The mean of numbers that stay on their device until `pop`: reading each would wait for the device.

    Numbers that are not finite (16-mixed leaves out steps whose gradients overflow) do not count.
    """

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._count: Tensor | None = None

    def add(self, value: Tensor) -> None:
        """Add a scalar tensor."""
        finite = torch.isfinite(value)
        number = torch.where(finite, value, torch.zeros_like(value)).float()
        self._sum = number if self._sum is None else self._sum + number
        self._count = finite.float() if self._count is None else self._count + finite

    def pop(self) -> float:
        """The mean since the last `pop`; NaN without a finite number."""
        if self._sum is None or self._count is None:
            return float("nan")
        mean = self._sum / self._count
        self._sum = self._count = None
        return float(mean)
