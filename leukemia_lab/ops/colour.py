"""Colour changes that are linear in each pixel: any number of them is one 3 x 3 matrix and an offset a cell."""

from __future__ import annotations

import torch
from torch import Tensor


def cell_mask(images: Tensor) -> Tensor:
    """1 where any channel of `images` float [B, 3, H, W] is above 0, else 0: float [B, 1, H, W]."""
    return (images.amax(dim=1, keepdim=True) > 0).to(images.dtype)


def linear_colour(images: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """matrix @ pixel + offset: `images` float [B, 3, H, W], `matrix` [B, 3, 3], `offset` [B, 3].

    By elementwise operations: a matrix product may run in TF32, and round by the size of the batch.
    """
    columns = matrix[..., None, None].unbind(dim=2)
    result = torch.addcmul(offset[..., None, None], columns[0], images[:, 0:1])
    return result.addcmul_(columns[1], images[:, 1:2]).addcmul_(columns[2], images[:, 2:3])


def jitter(
    brightness: Tensor, contrast: Tensor, saturation: Tensor, gain: Tensor, mean: Tensor, luma: Tensor
) -> tuple[Tensor, Tensor]:
    """Matrix [B, 3, 3] and offset [B, 3] of channel gains, brightness, contrast and saturation, in this order.

    All but `luma` are factors a cell, 1 for no change: [B], and `gain` [B, 3]. The last three are those of
    torchvision's `adjust_brightness`, `adjust_contrast` and `adjust_saturation`: contrast turns about the grey
    level of the cell's mean colour (`mean` [B, 3]), saturation about each pixel's own. `luma` [3] weighs the
    channels, of sum 1.
    """
    gain = gain * brightness.unsqueeze(1)
    blend = torch.lerp(
        luma.expand(3, 3), torch.eye(3, dtype=luma.dtype, device=luma.device), saturation.view(-1, 1, 1)
    )
    matrix = contrast.view(-1, 1, 1) * blend * gain.unsqueeze(1)
    grey = (luma * gain * mean).sum(dim=1)
    return matrix, ((1 - contrast) * grey).unsqueeze(1).expand(-1, 3)
