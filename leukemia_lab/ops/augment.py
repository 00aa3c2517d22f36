"""Augmentation on the device, random by (seed, epoch, cell) alone.

A generator's state would tie a cell's pixels to the batch it falls in, the number of devices and the point of
resumption. Here each number is a hash of its coordinates: nothing to save, nothing to synchronise.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

DIHEDRAL_STREAM = 0  # every kind of random decision draws from a stream of its own


def _shift_right(bits: Tensor, n: int) -> Tensor:
    """Logical shift: int64's `>>` copies the sign bit, the mask clears the copies."""
    return (bits >> n) & ((1 << (64 - n)) - 1)


def _mix(bits: Tensor) -> Tensor:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014) on int64, which wraps as uint64 does."""
    bits = (bits ^ _shift_right(bits, 30)) * (0xBF58476D1CE4E5B9 - (1 << 64))
    bits = (bits ^ _shift_right(bits, 27)) * (0x94D049BB133111EB - (1 << 64))
    return bits ^ _shift_right(bits, 31)


def cell_uniform(seed: int, epoch: int, cell: Tensor, stream: int) -> Tensor:
    """Uniform numbers in [0, 1), float32 [B], of resolution 2**-24, one for each `cell` (int64 [B]).

    Each depends on (seed, epoch, cell, stream) only, on any device. It is number `cell` of the SplitMix64
    sequence whose start is a hash of (seed, epoch, stream).
    """
    key = hashlib.blake2b(f"{seed}/{epoch}/{stream}".encode(), digest_size=8).digest()
    start = int.from_bytes(key, "little", signed=True)
    bits = _mix(cell * (0x9E3779B97F4A7C15 - (1 << 64)) + start)
    return _shift_right(bits, 40).to(torch.float32) * 2.0**-24


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

    def forward(self, images: Tensor, cell: Tensor, seed: int, epoch: int) -> Tensor:
        """Images [B, C, H, W] of cells `cell` (int64 [B]) to the same shape and dtype."""
        element = (8 * cell_uniform(seed, epoch, cell, DIHEDRAL_STREAM)).to(torch.int64)
        return dihedral(images, element)
