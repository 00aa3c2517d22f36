"""VGG13 of Kanthimathi et al.: five blocks of two 3x3 convolutions, average pooling after the last."""

from __future__ import annotations

from pydantic import PositiveInt
from torch import Tensor, nn

from leukemia_lab.errors import ConfigError
from leukemia_lab.nets.stages import HEAD, Stages, cut_after
from leukemia_lab.schema import Fraction

BLOCK_WIDTHS = (64, 128, 256, 512, 512)
SHRINKAGE = 2 ** len(BLOCK_WIDTHS)


class VGG13(nn.Module):
    """Images [B, C, S, S], S a multiple of 32, to logits [B, K]; softmax belongs to the loss.

    Max pooling follows the first four blocks, 2x2 average pooling the fifth; then two ReLU layers of `hidden`
    units, each with dropout, and the output layer. Initialised after He et al. 2015, so that it trains from
    scratch without batch normalisation too. `num_features` is `hidden`.

    Raises:
        ConfigError: `image_size` is not a multiple of 32.
    """

    def __init__(
        self, in_channels: int, n_classes: int, image_size: int, hidden: int, dropout: float, batch_norm: bool
    ) -> None:
        super().__init__()
        _check_image_size(image_size)
        blocks: list[nn.Module] = []
        for width in BLOCK_WIDTHS:
            blocks += _convolution(in_channels, width, batch_norm)
            blocks += _convolution(width, width, batch_norm)
            blocks.append(nn.MaxPool2d(2))
            in_channels = width
        blocks[-1] = nn.AvgPool2d(2)
        self.features = nn.Sequential(*blocks)
        n_flat = in_channels * (image_size // SHRINKAGE) ** 2
        self.hidden = nn.Sequential(
            *(nn.Flatten(), nn.Linear(n_flat, hidden), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout)),
        )
        self.head = nn.Linear(hidden, n_classes)
        self.num_features = hidden
        self.apply(_initialise)
        nn.init.normal_(self.head.weight, std=0.01)  # first predictions near 1/K, whatever the width

    def forward_features(self, images: Tensor) -> Tensor:
        """Images [B, C, S, S] to the second hidden layer's activations [B, num_features], 0 or more."""
        features: Tensor = self.hidden(self.features(images))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, S, S] to logits [B, K]."""
        logits: Tensor = self.head(self.forward_features(images))
        return logits

    def stages(self) -> Stages:
        """`block1` to `block5`, `hidden`, `head`."""
        blocks = cut_after(self.features, (nn.MaxPool2d, nn.AvgPool2d))
        return blocks | {"hidden": [self.hidden], HEAD: [self.head]}


def _convolution(in_channels: int, width: int, batch_norm: bool) -> list[nn.Module]:
    norm = [nn.BatchNorm2d(width)] if batch_norm else []
    # No in-place ReLU: it would overwrite what Grad-CAM's hooks keep.
    return [nn.Conv2d(in_channels, width, 3, padding=1, bias=not batch_norm), *norm, nn.ReLU()]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _check_image_size(image_size: int) -> None:
    below, rest = image_size - image_size % SHRINKAGE, image_size % SHRINKAGE
    if rest != 0 or below == 0:
        nearest = " or ".join(str(size) for size in (below, below + SHRINKAGE) if size > 0)
        raise ConfigError(
            f"VGG13 halves the image five times: {image_size} px is not a multiple of {SHRINKAGE}. "
            f"Set model.image_size (or pipeline.image_size) to {nearest}."
        )


def vgg13(
    in_channels: int,
    n_classes: int,
    image_size: int,
    hidden: PositiveInt,
    dropout: Fraction,
    batch_norm: bool,
) -> VGG13:
    """The paper's custom VGG13; see `VGG13`."""
    return VGG13(in_channels, n_classes, image_size, hidden, dropout, batch_norm)
