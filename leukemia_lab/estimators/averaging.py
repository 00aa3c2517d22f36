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
