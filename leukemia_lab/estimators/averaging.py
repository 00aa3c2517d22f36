"""A moving average of a net's weights, evaluated in place of the weights themselves."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def move_average(average: nn.Module, net: nn.Module, decay: float, step: int) -> None:
    """Move the weights of `average` towards those of `net` after training step `step`, counted from 0.

    average <- d * average + (1 - d) * net with d = min(decay, (1 + step) / (10 + step)): without the warm-up (that of
    TensorFlow's ExponentialMovingAverage) the random start would weigh heavily for 1 / (1 - decay) steps.
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    ours, theirs = average.state_dict(), net.state_dict()
    floating = [name for name, value in ours.items() if value.is_floating_point()]
    torch._foreach_lerp_([ours[name] for name in floating], [theirs[name] for name in floating], share)
    for name in ours.keys() - set(floating):  # counters of batch normalisation
        ours[name].copy_(theirs[name])
