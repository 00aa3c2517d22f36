"""Jitter of stain concentrations in optical-density space, as if the slide were stained again."""

from __future__ import annotations

import torch
from torch import Tensor

from leukemia_lab.ops.colour import cell_mask, linear_colour
from leukemia_lab.ops.log_filter import Float32Module
from leukemia_lab.ops.random import Stream, cell_uniforms
from leukemia_lab.schema import Fraction

# Optical density of methyl blue and eosin (Giemsa) in red, green, blue, as in skimage.color.rgb_from_bex
METHYL_BLUE, EOSIN = (0.834750233, 0.513556283, 0.196330403), (0.092789, 0.954111, 0.283111)
STREAMS = (
    Stream.STAIN_ALPHA_1, Stream.STAIN_ALPHA_2, Stream.STAIN_ALPHA_3,
    Stream.STAIN_BETA_1, Stream.STAIN_BETA_2, Stream.STAIN_BETA_3,
)  # fmt: skip


def stain_matrix() -> Tensor:
    """Rows: methyl blue, eosin and a residual perpendicular to both; float64 [3, 3]."""
    blue, eosin = torch.tensor([METHYL_BLUE, EOSIN], dtype=torch.float64)
    return torch.stack([blue, eosin, torch.linalg.cross(blue, eosin)])


class Stain(Float32Module):
    """Each stain's concentration c becomes `a c + b`, a uniform in 1 ± `alpha`, b in ± `beta`, drawn for each cell.

    Optical density is -ln((I + 1) / 256), split into concentrations by the inverse of `stain_matrix` (Ruifrok
    and Johnston 2001); `beta` is in its units. The jitter is that of Tellez et al. (2018, IEEE TMI 37(9)), for
    Giemsa instead of H&E. Pixels that are 0 in all channels are background and stay exactly 0.
    """

    stains: Tensor
    projections: Tensor

    def __init__(self, alpha: Fraction, beta: Fraction) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta
        stains = stain_matrix()
        unmix = torch.linalg.inv(stains)  # density as a row, times this, is the row of concentrations
        projections = torch.stack([torch.outer(stains[k], unmix[:, k]) for k in range(3)])
        self.register_buffer("stains", stains.float(), persistent=False)
        self.register_buffer("projections", projections.float(), persistent=False)  # of sum 1

    def forward(self, images: Tensor, draw: Tensor, seed: int, epoch: int) -> Tensor:
        """uint8 [B, 3, H, W] of `draw` (int64 [B]) to float32 grey levels 0-255 of the same shape."""
        around_zero = 2 * cell_uniforms(seed, epoch, draw, STREAMS).T - 1
        factor, shift = 1 + self.alpha * around_zero[:, :3], self.beta * around_zero[:, 3:]
        matrix = (factor[..., None, None] * self.projections).sum(dim=1)
        offset = (shift.unsqueeze(2) * self.stains).sum(dim=1)
        # The sign of the density is left out of both logarithm and exponential.
        colours = images.to(torch.float32, memory_format=torch.contiguous_format)
        log_light = colours.add(1).div_(256).log_()
        light = linear_colour(log_light, matrix, -offset).exp_()
        return light.mul_(256).sub_(1).clamp_(0, 255).mul_(cell_mask(colours))

    def extra_repr(self) -> str:
        """The two strengths, for `print(module)`."""
        return f"alpha={self.alpha}, beta={self.beta}"
