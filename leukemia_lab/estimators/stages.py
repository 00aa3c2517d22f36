"""Learning rates by depth."""

from __future__ import annotations

from typing import Any

from torch import nn

from leukemia_lab.nets.stages import stages


def parameter_groups(net: nn.Module, lr: float, stage_decay: float) -> list[dict[str, Any]]:
    """All weights of `net` for an optimiser; `lr` falls by the factor `stage_decay` from each stage to the one before.

    With `stage_decay` 1 all weights are one group and the net needs no stages. Frozen weights are among them: they get
    no gradient, and thawed ones go on without a new optimiser.
    """
    if stage_decay == 1.0:
        return [{"params": list(net.parameters()), "lr": lr}]
    deepest_last = list(reversed(stages(net).values()))
    return [
        {
            "params": [weight for module in modules for weight in module.parameters()],
            "lr": lr * stage_decay**depth,
        }
        for depth, modules in enumerate(deepest_last)
    ]
