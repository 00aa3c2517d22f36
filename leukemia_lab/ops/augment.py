"""The eight symmetries of the square, as augmentation and for averaging over them.

Every augmentation on the device is a module `forward(images uint8 [B, 3, H, W], draw int64 [B], seed, epoch)`
that returns grey levels 0-255 of the same shape; `draw` numbers the cell, or one of its copies.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leukemia_lab.ops.random import Stream, cell_uniform

DIHEDRAL_ELEMENTS = 8


def dihedral(images: Tensor, element: Tensor) -> Tensor:
    """Apply one symmetry of the square to each of `images` [B, C, H, W] of any dtype.

    `element` (int64 [B], 0-7) has three bits, in this order: 1 flips columns, 2 flips rows, 4 transposes.
    Images that are not square have no transposition: bit 4 is ignored.
    """

    def chosen(bit: int) -> Tensor:
        return (element & bit).bool().view(-1, 1, 1, 1)

    images = torch.where(chosen(1), images.flip(-1), images)
    images = torch.where(chosen(2), images.flip(-2), images)
    if images.shape[-1] == images.shape[-2]:
        images = torch.where(chosen(4), images.transpose(-1, -2), images)
    return images


class Dihedral(nn.Module):
    """`dihedral` with an element drawn uniformly for each cell and epoch: cells have no upright position."""

    def forward(self, images: Tensor, draw: Tensor, seed: int, epoch: int) -> Tensor:
        """Images [B, C, H, W] of `draw` (int64 [B]) to the same shape and dtype."""
        uniform = cell_uniform(seed, epoch, draw, Stream.DIHEDRAL)
        return dihedral(images, (DIHEDRAL_ELEMENTS * uniform).to(torch.int64))
