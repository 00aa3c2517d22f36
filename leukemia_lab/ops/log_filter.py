"""Laplacian of Gaussian as one fused kernel: the paper's (Kornia's) stencil, or the sampled true LoG.

Reflect padding extends an image by its mirror, and a symmetric kernel maps mirrored images to mirrored
images; so one pass with the convolved kernel equals blurring and then filtering, borders included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from leukemia_lab.errors import ConfigError

LogMode = Literal["none", "replace", "append", "sharpen"]
LogStencil = Literal["kornia", "sampled"]


class Float32Module(nn.Module):
    """A module whose buffers follow the device but keep their dtype, also under `.half()` or bf16-true."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(lambda tensor: tensor.to(fn(tensor).device), recurse)  # type: ignore[no-untyped-call]
        return self


def _check_size(key: str, size: int) -> None:
    if size < 3 or size % 2 == 0:
        raise ConfigError(
            f"pipeline.log.{key}={size} is no kernel size: give an odd number of pixels, 3 or more."
        )


def _gaussian(sigma_px: float, radius: int) -> Tensor:
    offset = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weight = torch.exp(-0.5 * (offset / sigma_px) ** 2)
    return weight / weight.sum()


def _kornia_stencil(sigma_px: float, gaussian_radius: int, laplacian_size: int) -> Tensor:
    # Kornia's Laplacian is a box of ones less its area at the centre, over its L1 norm: both parts are separable.
    gaussian = _gaussian(sigma_px, gaussian_radius)
    box = torch.from_numpy(np.convolve(gaussian.numpy(), np.ones(laplacian_size)))
    centred = pad(gaussian, (laplacian_size // 2, laplacian_size // 2))
    area = laplacian_size**2
    return (torch.outer(box, box) - area * torch.outer(centred, centred)) / (2 * (area - 1))


def _true_log(sigma_px: float, radius: int) -> Tensor:
    offset = torch.arange(-radius, radius + 1, dtype=torch.float64)
    gaussian = _gaussian(sigma_px, radius)
    second_derivative = (offset**2 / sigma_px**4 - 1 / sigma_px**2) * gaussian
    log = torch.outer(gaussian, second_derivative) + torch.outer(second_derivative, gaussian)
    # Sampling and truncation leave a small sum, a response to constant images; a LoG has none.
    return log - log.sum() * torch.outer(gaussian, gaussian)


def log_kernel(
    stencil: LogStencil, sigma_px: float, gaussian_size: int | None, laplacian_size: int
) -> Tensor:
    """The LoG as one kernel [k, k], float32, symmetric, of sum 0.

    `kornia`: Kornia's L1-normalised Laplacian of `laplacian_size` px convolved with its Gaussian of
    `gaussian_size` px (None: 3 sigma on each side), k = gaussian_size + laplacian_size - 1. Matches
    `kornia.filters.laplacian(gaussian_blur2d(x, gaussian_size, sigma_px), laplacian_size)`.

    `sampled`: the sampled second derivatives of a Gaussian on k = `gaussian_size` px (None: 4 sigma on each
    side, SciPy's truncation); `laplacian_size` plays no part. Matches `scipy.ndimage.gaussian_laplace` with
    mode="mirror", less that function's own response to a constant image: per unit of grey -1.4e-4 at
    sigma 1, -1.7e-4 at 2, -1.2e-4 at 3, but -1.0e-2 at 0.7 and -1.1 at 0.5 px, too narrow to be sampled.

    Raises:
        ConfigError: sigma_px is not above 0, a size is even or below 3, or the stencil is unknown.
    """
    if not (math.isfinite(sigma_px) and sigma_px > 0):
        raise ConfigError(f"pipeline.log.sigma_px={sigma_px} is no width of a Gaussian: give pixels above 0.")
    if gaussian_size is not None:
        _check_size("gaussian_size", gaussian_size)
    if stencil == "kornia":
        _check_size("laplacian_size", laplacian_size)
        radius = math.ceil(3 * sigma_px) if gaussian_size is None else gaussian_size // 2
        return _kornia_stencil(sigma_px, radius, laplacian_size).float()
    if stencil == "sampled":
        radius = max(1, int(4 * sigma_px + 0.5)) if gaussian_size is None else gaussian_size // 2
        return _true_log(sigma_px, radius).float()
    raise ConfigError(
        f"pipeline.log.stencil={stencil} is unknown: allowed are {', '.join(get_args(LogStencil))}."
    )


def log_filter(images: Tensor, kernel: Tensor) -> Tensor:
    """Filter each channel of `images` [B, C, H, W] with `kernel` [k, k] (odd k), borders reflected.

    Computed outside autocast in float32 (float64 where the images are): bf16 leaves 17 % error, since a LoG
    is a small difference of large numbers. The result has the images' shape.

    Raises:
        ConfigError: the images are too small to be reflected by half a kernel.
    """
    channels, height, width = images.shape[1:]
    size = kernel.shape[-1]
    border = size // 2
    if min(height, width) <= border:
        raise ConfigError(
            f"images of {height}x{width} px are too small for a LoG kernel of {size} px, whose reflected "
            f"border needs more than {border} px a side. Set pipeline.image_size to {border + 1} or more, "
            "or lower pipeline.log.sigma_px, gaussian_size or laplacian_size."
        )
    dtype = torch.promote_types(images.dtype, torch.float32)
    # CPU: a channels_last depthwise convolution is several times faster. CUDA: channels_last means cuDNN,
    # which may round to TF32; PyTorch's own depthwise kernel does not.
    memory_format = torch.contiguous_format if images.is_cuda else torch.channels_last
    with torch.autocast(images.device.type, enabled=False):
        padded = pad(images.to(dtype, memory_format=memory_format), (border,) * 4, mode="reflect")
        weight = kernel.to(images.device, dtype).expand(channels, 1, size, size)
        return conv2d(padded, weight, groups=channels)


class LogFilter(Float32Module):
    """`log_filter` with a kernel built once, and what becomes of its result.

    Modes: `none` returns the images, `replace` the LoG, `append` the images and their LoG as extra channels,
    `sharpen` images - strength * LoG. Arguments as in `log_kernel`. Output is float32 (float64 for float64).

    Raises:
        ConfigError: the mode is unknown, or as `log_kernel`.
    """

    kernel: Tensor

    def __init__(
        self,
        mode: LogMode,
        stencil: LogStencil,
        sigma_px: float,
        gaussian_size: int | None,
        laplacian_size: int,
        strength: float,
    ) -> None:
        super().__init__()
        if mode not in get_args(LogMode):
            raise ConfigError(
                f"pipeline.log.mode={mode} is unknown: allowed are {', '.join(get_args(LogMode))}."
            )
        self.mode = mode
        self.strength = strength
        kernel = log_kernel(stencil, sigma_px, gaussian_size, laplacian_size)
        self.register_buffer("kernel", kernel, persistent=False)

    def out_channels(self, in_channels: int) -> int:
        """Number of channels of the output for images of `in_channels`."""
        return 2 * in_channels if self.mode == "append" else in_channels

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] to [B, out_channels(C), H, W]."""
        images = images.to(torch.promote_types(images.dtype, torch.float32))
        if self.mode == "none":
            return images
        log = log_filter(images, self.kernel)
        if self.mode == "replace":
            return log
        if self.mode == "append":
            return torch.cat([images, log], dim=1)
        return images - self.strength * log

    def extra_repr(self) -> str:
        """Mode and kernel size, for `print(module)`."""
        return f"mode={self.mode}, kernel={tuple(self.kernel.shape)}, strength={self.strength}"
