"""A small convolutional net, quick enough for a CPU."""

from __future__ import annotations

from pydantic import PositiveInt
from torch import Tensor, nn

from leukemia_lab.nets.image_size import check_image_size
from leukemia_lab.nets.stages import HEAD, Stages, cut_after
from leukemia_lab.schema import Fraction

MIN_IMAGE_SIZE = 32


class SimpleCNN(nn.Module):
    """Images [B, C, H, W] to logits [B, K]: three convolution blocks, mean over the image, dropout, linear.

    The blocks have `width`, 2 `width` and 4 `width` channels and halve the image each; 0.33 GFLOP an image
    forward at 128 px with width 32. `num_features` is 4 `width`.
    """

    def __init__(self, in_channels: int, n_classes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_block(in_channels, width), *_block(width, 2 * width), *_block(2 * width, 4 * width)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4 * width, n_classes)
        self.num_features = 4 * width

    def forward_features(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] to the mean activations [B, num_features] of the last block, 0 or more."""
        features: Tensor = self.features(images)
        return features.mean(dim=(2, 3))  # adaptive pooling's gradient is not deterministic on CUDA

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] to logits [B, K]."""
        logits: Tensor = self.head(self.dropout(self.forward_features(images)))
        return logits

    def stages(self) -> Stages:
        """`block1` to `block3`, `head`."""
        return cut_after(self.features, nn.ReLU) | {HEAD: [self.head]}


def _block(in_channels: int, width: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    # Momentum 0.3, not 0.1: the running averages must settle within the few steps of a small epoch.
    # ReLU after the pooling gives the same values as before it, on a quarter of the pixels.
    return convolution, nn.BatchNorm2d(width, momentum=0.3), nn.MaxPool2d(2), nn.ReLU()


def simple_cnn(
    in_channels: int, n_classes: int, image_size: int, width: PositiveInt, dropout: Fraction
) -> SimpleCNN:
    """The small net for images of `image_size` px a side, 32 or more; see `SimpleCNN`.

    Raises:
        ConfigError: the images are smaller than 32 px.
    """
    check_image_size("SimpleCNN", image_size, MIN_IMAGE_SIZE)
    return SimpleCNN(in_channels, n_classes, width, dropout)
