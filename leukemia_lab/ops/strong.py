"""Strong augmentation on the device: one warp, blur, colour and erasing, each drawn for each cell."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample

from leukemia_lab.ops.colour import cell_mask, jitter, linear_colour
from leukemia_lab.ops.log_filter import Float32Module
from leukemia_lab.ops.random import Stream, cell_uniforms
from leukemia_lab.schema import Fraction

STREAMS = tuple(stream for stream in Stream if Stream.FLIP_COLUMNS <= stream <= Stream.ERASE_HEIGHT)
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as torchvision's
NO_BLUR_PX = 0.05  # a Gaussian this narrow is 1 at its centre and exactly 0 elsewhere
BLUR_RADIUS_SIGMAS = 3


def _ascending(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"{limits[0]} to {limits[1]} is no range: give the smaller number first")
    return limits


Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Magnification = Annotated[float, Field(ge=0.1, le=10.0)]
BlurSigma = Annotated[float, Field(ge=NO_BLUR_PX, le=16.0)]


def warp(images: Tensor, inverse: Tensor, shift_px: Tensor) -> Tensor:
    """Each pixel p of the result is `images` at inverse @ (p - shift_px), bilinear, 0 outside the image.

    `images` float [B, C, H, W], `inverse` [B, 2, 2], `shift_px` [B, 2]; coordinates are (x, y) pixels about the
    image's centre. It is one `grid_sample`; the grid is made without a matrix product, which may run in TF32.
    """
    height, width = images.shape[-2:]

    def positions(n: int, shift: Tensor) -> Tensor:
        centred = torch.arange(n, dtype=torch.float32, device=images.device) - (n - 1) / 2
        return centred - shift.unsqueeze(1)

    x, y = positions(width, shift_px[:, 0]), positions(height, shift_px[:, 1])
    # grid_sample counts from -1 to 1 along either side.
    halves = torch.stack([inverse[:, 0] * (2 / width), inverse[:, 1] * (2 / height)], dim=1)
    grid = (
        x.view(-1, 1, width, 1) * halves[:, None, None, :, 0]
        + y.view(-1, height, 1, 1) * halves[:, None, None, :, 1]
    )
    return grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def gaussian_blur(images: Tensor, sigma_px: Tensor, radius: int) -> Tensor:
    """`images` float [B, C, H, W] blurred by `sigma_px` [B], cut off at `radius` px, 0 outside the image.

    Matches `scipy.ndimage.gaussian_filter` with mode="constant" and that radius.
    """
    n_cells, channels, height, width = images.shape
    offset = torch.arange(-radius, radius + 1, dtype=torch.float32, device=images.device)
    weight = torch.exp(-0.5 * (offset / sigma_px.unsqueeze(1)) ** 2)
    weight = weight / weight.sum(dim=1, keepdim=True)
    # One pass, not two separable ones: a CPU spends its time on moving the planes, not on so small a kernel.
    kernel = (weight.unsqueeze(2) * weight.unsqueeze(1)).repeat_interleave(channels, dim=0)
    planes = images.reshape(1, -1, height, width)  # every plane has a kernel of its own
    planes = conv2d(planes, kernel.unsqueeze(1), padding=radius, groups=len(kernel))
    return planes.view(n_cells, channels, height, width)


class Strong(Float32Module):
    """Warp, blur, colour jitter and random erasing (Zhong et al. 2020); see conf/augment/strong.yaml.

    A cell is where any channel is above 0. Its mask is warped with it, and what is at most half covered by the
    warped mask is exactly 0. Warp and blur take their means over the cell alone (sum of the colours over sum
    of the mask), so that the background does not darken its edge. Equal draws give equal pixels to within the
    rounding of float32, whatever else is in the batch.
    """

    luma: Tensor

    def __init__(
        self,
        flip_probability: Probability,
        rotation_deg: Annotated[float, Field(ge=0.0, le=180.0)],
        scale: Annotated[tuple[Magnification, Magnification], AfterValidator(_ascending)],
        shear_deg: Annotated[float, Field(ge=0.0, le=45.0)],
        translation: Fraction,
        blur_probability: Probability,
        blur_sigma_px: Annotated[tuple[BlurSigma, BlurSigma], AfterValidator(_ascending)],
        brightness: Fraction,
        contrast: Fraction,
        saturation: Fraction,
        channel_gain: Fraction,
        erase_probability: Probability,
        erase_side: Annotated[tuple[Probability, Probability], AfterValidator(_ascending)],
    ) -> None:
        super().__init__()
        self.flip_probability = flip_probability
        self.rotation, self.shear = math.radians(rotation_deg), math.radians(shear_deg)
        self.log_scale = math.log(scale[0]), math.log(scale[1])
        self.translation = translation
        self.blur_probability, self.blur_sigma_px = blur_probability, blur_sigma_px
        self.brightness, self.contrast, self.saturation = brightness, contrast, saturation
        self.channel_gain = channel_gain
        self.erase_probability, self.erase_side = erase_probability, erase_side
        self.register_buffer("luma", torch.tensor(LUMA, dtype=torch.float32), persistent=False)

    def forward(self, images: Tensor, draw: Tensor, seed: int, epoch: int) -> Tensor:
        """uint8 [B, 3, H, W] of `draw` (int64 [B]) to float32 grey levels 0-255 of the same shape."""
        uniform = dict(zip(STREAMS, cell_uniforms(seed, epoch, draw, STREAMS), strict=True))
        colours = images.to(torch.float32, memory_format=torch.contiguous_format)
        masked = torch.cat([colours, cell_mask(colours)], dim=1)
        matrix, offset = self._colour(uniform, masked)
        masked = warp(masked, *self._affine(uniform, images.shape[-2:]))
        kept = (masked[:, 3:] > 0.5) & ~self._erased(uniform, images.shape[-2:])
        masked = self._blurred(uniform, masked)
        colours = masked[:, :3] / masked[:, 3:].clamp_min(torch.finfo(torch.float32).tiny)
        return linear_colour(colours, matrix, offset).clamp_(0, 255).mul_(kept)

    def _affine(self, uniform: dict[Stream, Tensor], size: torch.Size) -> tuple[Tensor, Tensor]:
        """Inverse of rotation @ shear @ scale @ flip [B, 2, 2], and the translation in pixels [B, 2]."""
        angle = _between(uniform[Stream.ROTATION], -self.rotation, self.rotation)
        tangent = torch.tan(_between(uniform[Stream.SHEAR], -self.shear, self.shear))
        shrinkage = torch.exp(-_between(uniform[Stream.SCALE], *self.log_scale))
        flips = [
            uniform[stream] < self.flip_probability for stream in (Stream.FLIP_COLUMNS, Stream.FLIP_ROWS)
        ]
        across, down = (torch.where(flip, -shrinkage, shrinkage) for flip in flips)
        cos, sin = torch.cos(angle), torch.sin(angle)
        unturned = (across * (cos + tangent * sin), across * (sin - tangent * cos), down * -sin, down * cos)
        shares = (uniform[Stream.TRANSLATION_X], uniform[Stream.TRANSLATION_Y])
        reach = (self.translation * size[1], self.translation * size[0])
        shift = [_between(share, -limit, limit) for share, limit in zip(shares, reach, strict=True)]
        return torch.stack(unturned, dim=1).view(-1, 2, 2), torch.stack(shift, dim=1)

    def _blurred(self, uniform: dict[Stream, Tensor], images: Tensor) -> Tensor:
        sigma_px = _between(uniform[Stream.BLUR_SIGMA], *self.blur_sigma_px)
        sigma_px = torch.where(uniform[Stream.BLUR] < self.blur_probability, sigma_px, NO_BLUR_PX)
        return gaussian_blur(images, sigma_px, math.ceil(BLUR_RADIUS_SIGMAS * self.blur_sigma_px[1]))

    def _colour(self, uniform: dict[Stream, Tensor], masked: Tensor) -> tuple[Tensor, Tensor]:
        """The colour jitter's matrix [B, 3, 3] and offset [B, 3]."""

        def factor(stream: Stream, strength: float) -> Tensor:
            return _between(uniform[stream], 1 - strength, 1 + strength)

        sums = masked.sum(dim=(2, 3))  # exact up to 256 x 256 px: whole numbers below 2**24
        channels = (Stream.GAIN_RED, Stream.GAIN_GREEN, Stream.GAIN_BLUE)
        return jitter(
            brightness=factor(Stream.BRIGHTNESS, self.brightness),
            contrast=factor(Stream.CONTRAST, self.contrast),
            saturation=factor(Stream.SATURATION, self.saturation),
            gain=torch.stack([factor(stream, self.channel_gain) for stream in channels], dim=1),
            mean=sums[:, :3] / sums[:, 3:].clamp_min(1),
            luma=self.luma,
        )

    def _erased(self, uniform: dict[Stream, Tensor], size: torch.Size) -> Tensor:
        """Pixels of one rectangle in each cell that is chosen, bool [B, 1, H, W]."""

        def span(n: int, centre: Stream, side: Stream) -> Tensor:
            position = (torch.arange(n, dtype=torch.float32, device=self.luma.device) + 0.5) / n
            half = 0.5 * _between(uniform[side], *self.erase_side)
            return (position - uniform[centre].unsqueeze(1)).abs() < half.unsqueeze(1)

        rows = span(size[0], Stream.ERASE_Y, Stream.ERASE_HEIGHT)
        columns = span(size[1], Stream.ERASE_X, Stream.ERASE_WIDTH)
        chosen = (uniform[Stream.ERASE] < self.erase_probability).view(-1, 1, 1, 1)
        return chosen & rows[:, None, :, None] & columns[:, None, None, :]


def _between(uniform: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * uniform
