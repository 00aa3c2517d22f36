"""The input pipeline: uint8 cells in, what a net sees out; the same module wherever a net is fed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from leukemia_lab.errors import ConfigError, DataError
from leukemia_lab.ops.log_filter import Float32Module, LogFilter

IN_CHANNELS = 3


class InputPipeline(Float32Module):
    """uint8 batch, augmentation (training only), float in 0-1, LoG, normalisation (x - mean) / std.

    Always float32 and outside autocast, whatever the module is converted to. `augment(images, draw, seed,
    epoch)` sees the uint8 batch and returns grey levels 0-255 of any dtype; None leaves the batch as it is.
    `mean` and `std` have one value for each output channel, or both are None (no normalisation); they are
    part of the state dict, so that a checkpoint carries its own.

    Raises:
        ConfigError: see `set_normalisation`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        augment: nn.Module | None,
        log: LogFilter,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
    ) -> None:
        super().__init__()
        self.augment = augment
        self.log = log
        self.register_buffer("mean", torch.zeros(1, self.out_channels, 1, 1, dtype=torch.float32))
        self.register_buffer("std", torch.ones(1, self.out_channels, 1, 1, dtype=torch.float32))
        if mean is not None or std is not None:
            self.set_normalisation(mean, std)

    @property
    def out_channels(self) -> int:
        """Number of channels that a net is fed."""
        return self.log.out_channels(IN_CHANNELS)

    def set_normalisation(self, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
        """Normalise by these values from now on, one for each output channel, `std` above 0.

        Raises:
            ConfigError: one of the two is missing, or a number or a sign is wrong.
        """
        if mean is None or std is None:
            raise ConfigError(f"normalisation needs mean and std or neither: got mean={mean}, std={std}.")
        if not len(mean) == len(std) == self.out_channels:
            raise ConfigError(
                f"normalisation has {len(mean)} means and {len(std)} standard deviations, but "
                f"pipeline.log.mode={self.log.mode} gives {self.out_channels} channels: "
                "set pipeline.normalise=train, which estimates them."
            )
        if not all(value > 0 for value in std):
            raise ConfigError(f"normalisation divides by std={list(std)}: every value must be above 0.")
        self.mean.copy_(torch.tensor(mean, dtype=torch.float32).view_as(self.mean))
        self.std.copy_(torch.tensor(std, dtype=torch.float32).view_as(self.std))

    def filtered(self, images: Tensor) -> Tensor:
        """Grey levels 0-255 [B, 3, H, W] to the LoG's output [B, out_channels, H, W], not normalised."""
        with torch.autocast(images.device.type, enabled=False):
            output: Tensor = self.log(_unit(images))
        return output

    def augmented(self, images: Tensor, draw: Tensor, seed: int, epoch: int) -> Tensor:
        """The augmentation of uint8 `images` [B, 3, H, W] of cells `draw` (int64 [B]), grey levels 0-255."""
        if self.augment is None:
            return images
        with torch.autocast(images.device.type, enabled=False):
            output: Tensor = self.augment(images, draw, seed, epoch)
        return output

    def forward(self, images: Tensor, draw: Tensor, seed: int, epoch: int, augment: bool) -> Tensor:
        """uint8 [B, 3, H, W] of any strides, `draw` int64 [B]; float32 [B, out_channels, H, W] channels_last.

        `draw`, `seed` and `epoch` determine the augmentation and matter only where `augment` is true.

        Raises:
            DataError: the batch is not uint8 with three channels.
        """
        _check_batch(images)
        if augment:
            images = self.augmented(images, draw, seed, epoch)
        normalised = (self.filtered(images) - self.mean) / self.std
        return normalised.contiguous(memory_format=torch.channels_last)

    def stages(self, images: Tensor, draw: Tensor, seed: int, epoch: int) -> dict[str, Tensor]:
        """The same cells `raw`, `filtered` and `augmented`: three float32 [B, 3, H, W] in 0-1, for pictures.

        A LoG has both signs: it is shown around mid-grey, each image scaled by its largest magnitude.
        """
        _check_batch(images)
        filtered = self.filtered(images)[:, -IN_CHANNELS:]
        if self.log.mode in ("replace", "append"):
            largest = (
                filtered.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
            )
            filtered = 0.5 + 0.5 * filtered / largest
        augmented = _unit(self.augmented(images, draw, seed, epoch))
        return {"raw": _unit(images), "filtered": filtered.clamp(0, 1), "augmented": augmented}


def _unit(images: Tensor) -> Tensor:
    return images.to(torch.float32, memory_format=torch.channels_last) / 255


def _check_batch(images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != IN_CHANNELS:
        raise DataError(
            f"the input pipeline takes uint8 images [B, {IN_CHANNELS}, H, W]; got {images.dtype} of shape "
            f"{tuple(images.shape)}. Convert to RGB bytes first; scaling to 0-1 happens here."
        )


@torch.no_grad()
def channel_statistics(pipeline: InputPipeline, batches: Iterable[Tensor]) -> tuple[list[float], list[float]]:
    """Mean and population standard deviation of each output channel before normalisation, summed in float64.

    `batches` are uint8 [B, 3, H, W], taken without augmentation: give training cells only.

    Raises:
        DataError: there is no image, or a channel is constant and has no scale.
    """
    n_pixels = 0
    sums, squares = torch.zeros(2, pipeline.out_channels, dtype=torch.float64)
    for images in batches:
        _check_batch(images)
        values = pipeline.filtered(images).double()
        n_pixels += values[:, 0].numel()
        sums += values.sum(dim=(0, 2, 3)).cpu()
        squares += values.square().sum(dim=(0, 2, 3)).cpu()
    if n_pixels == 0:
        raise DataError("no image to estimate the normalisation from: the training part is empty.")
    mean = sums / n_pixels
    std = (squares / n_pixels - mean**2).clamp_min(0).sqrt()
    constant = [channel for channel, value in enumerate(std.tolist()) if value < 1e-7]
    if constant:
        raise DataError(
            f"channels {constant} of the pipeline's output are constant over all training images: "
            "look at the files, or set pipeline.normalise=none."
        )
    return mean.tolist(), std.tolist()
