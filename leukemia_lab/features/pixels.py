"""Pixels as features: the input pipeline's output, made small."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from leukemia_lab.errors import ConfigError


def pixel_features(inputs: Tensor, size: int) -> Tensor:
    """Area averages of float32 `inputs` [B, C, H, W] on a grid of `size` x `size`, flattened: [B, C*size*size].

    Row-major within a channel, in the order of `pixel_names`. Equals `interpolate(mode="area")`.

    Raises:
        ConfigError: the grid is finer than the image.
    """
    side = min(inputs.shape[-2:])
    if not 1 <= size <= side:
        raise ConfigError(
            f"model.features.size: {size} cannot be used; images of {side} px are averaged down to 1-{side} px. "
            "Lower model.features.size or raise pipeline.image_size."
        )
    return adaptive_avg_pool2d(inputs, size).flatten(1)


def pixel_names(n_channels: int, size: int) -> tuple[str, ...]:
    """`pixel_<channel>_<row>_<column>` for each feature of `pixel_features`."""
    return tuple(f"pixel_{c}_{y}_{x}" for c in range(n_channels) for y in range(size) for x in range(size))
