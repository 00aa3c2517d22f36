"""Random numbers by (seed, epoch, draw) alone.

A generator's state would tie a cell's pixels to the batch it falls in, the number of devices and the point of
resumption. Here each number is a hash of its coordinates: nothing to save, nothing to synchronise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import IntEnum, unique

import torch
from torch import Tensor


@unique
class Stream(IntEnum):
    """Every kind of random decision draws from a stream of its own; a number in use never changes."""

    DIHEDRAL = 0
    FLIP_COLUMNS = 1
    FLIP_ROWS = 2
    ROTATION = 3
    SCALE = 4
    SHEAR = 5
    TRANSLATION_X = 6
    TRANSLATION_Y = 7
    BRIGHTNESS = 8
    CONTRAST = 9
    SATURATION = 10
    GAIN_RED = 11
    GAIN_GREEN = 12
    GAIN_BLUE = 13
    BLUR = 14
    BLUR_SIGMA = 15
    ERASE = 16
    ERASE_X = 17
    ERASE_Y = 18
    ERASE_WIDTH = 19
    ERASE_HEIGHT = 20
    STAIN_ALPHA_1 = 21
    STAIN_ALPHA_2 = 22
    STAIN_ALPHA_3 = 23
    STAIN_BETA_1 = 24
    STAIN_BETA_2 = 25
    STAIN_BETA_3 = 26


def _shift_right(bits: Tensor, n: int) -> Tensor:
    """Logical shift: int64's `>>` copies the sign bit, the mask clears the copies."""
    return (bits >> n) & ((1 << (64 - n)) - 1)


def _mix(bits: Tensor) -> Tensor:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014) on int64, which wraps as uint64 does."""
    bits = (bits ^ _shift_right(bits, 30)) * (0xBF58476D1CE4E5B9 - (1 << 64))
    bits = (bits ^ _shift_right(bits, 27)) * (0x94D049BB133111EB - (1 << 64))
    return bits ^ _shift_right(bits, 31)


def _start(seed: int, epoch: int, stream: int) -> int:
    key = hashlib.blake2b(f"{seed}/{epoch}/{int(stream)}".encode(), digest_size=8).digest()
    return int.from_bytes(key, "little", signed=True)


def cell_uniforms(seed: int, epoch: int, draw: Tensor, streams: Sequence[int]) -> Tensor:
    """Uniform numbers in [0, 1), float32 [len(streams), B], of resolution 2**-24, one for each `draw` (int64 [B]).

    Each depends on (seed, epoch, draw, stream) only, on any device. It is number `draw` of the SplitMix64
    sequence whose start is a hash of (seed, epoch, stream).
    """
    steps = draw * (0x9E3779B97F4A7C15 - (1 << 64))
    # The starts stay Python numbers: a tensor of them would be a copy to the device, which waits for it.
    bits = _mix(torch.stack([steps + _start(seed, epoch, stream) for stream in streams]))
    return _shift_right(bits, 40).to(torch.float32) * 2.0**-24


def cell_uniform(seed: int, epoch: int, draw: Tensor, stream: int) -> Tensor:
    """`cell_uniforms` of one stream, float32 [B]."""
    return cell_uniforms(seed, epoch, draw, (stream,))[0]
