"""Batch normalisation over the devices that share a batch: statistics of all its cells, not of each device's piece."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.modules._functions import SyncBatchNorm
from torch.overrides import TorchFunctionMode

from leukemia_lab.estimators.ranks import summed

_SIGNATURE = inspect.signature(functional.batch_norm)


class _Sum(torch.autograd.Function):
    """The sum over all devices; its gradient, too, is the sum of what they ask for."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return summed(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return summed(gradient)


class SynchronisedBatchNorm(TorchFunctionMode):
    """While it is active, `batch_norm` in training takes mean and variance over all devices of the process group.

    It works where every layer ends, in `torch.nn.functional.batch_norm`: the net stays as it is, whatever the classes
    of its layers, and its checkpoints are those of one device. `torch.nn.SyncBatchNorm` refuses the CPU, and would take
    the place of layers that do more than normalise, such as timm's.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = {} if kwargs is None else kwargs
        if func is functional.batch_norm:
            call = _SIGNATURE.bind(*args, **named)
            call.apply_defaults()
            if call.arguments.pop("training"):
                return synchronised_batch_norm(*call.arguments.values())
        return func(*args, **named)


def synchronised_batch_norm(
    inputs: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
) -> Tensor:
    """`torch.nn.functional.batch_norm` in training, of [B, C, ...] on every device, B being any number on each.

    Ioffe and Szegedy 2015, algorithm 1, over the cells of all devices; the gradients flow through the statistics.
    """
    if inputs.device.type == "cuda":
        world = torch.distributed.group.WORLD
        n_ranks = torch.distributed.get_world_size()
        normalised: Tensor = SyncBatchNorm.apply(
            inputs, weight, bias, running_mean, running_var, eps, momentum, world, n_ranks
        )
        return normalised
    values = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
    others = [dim for dim in range(values.ndim) if dim != 1]
    shape = [1, -1, *[1] * (values.ndim - 2)]
    count = values.new_tensor([values.numel() / values.shape[1]])
    *_, total = sums = _Sum.apply(torch.cat([values.sum(others), count]))
    mean = sums[:-1] / total
    centred = values - mean.view(shape)
    variance = _Sum.apply(centred.square().sum(others)) / total
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            unbiased = variance * total / (total - 1)
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    scale = torch.rsqrt(variance + eps)
    normalised = centred * (scale if weight is None else scale * weight).view(shape)
    if bias is not None:
        normalised = normalised + bias.view(shape)
    return normalised.to(inputs.dtype)
