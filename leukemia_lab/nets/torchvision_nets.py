"""AlexNet, VGG-16 and VGG-19 with torchvision's layers and state-dict keys, and VGG-16 as a feature extractor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torchvision import models

from leukemia_lab.nets.image_size import check_image_size
from leukemia_lab.nets.layout import WeightLayout
from leukemia_lab.nets.stages import HEAD, Stages, cut_after
from leukemia_lab.nets.vgg import BLOCK_WIDTHS, SHRINKAGE
from leukemia_lab.schema import Fraction

VGG16_BLOCKS = (2, 2, 3, 3, 3)  # convolutions a block: configuration D of Simonyan and Zisserman 2015
VGG19_BLOCKS = (2, 2, 4, 4, 4)  # configuration E
VGG_GRID, ALEXNET_GRID = 7, 6  # side of the pooled feature map
ALEXNET_STRIDES = ((11, 4, 2), (3, 2, 0), (3, 2, 0), (3, 2, 0))  # kernel, stride, padding of what shrinks
ALEXNET_SMALLEST = 63


class _FullyConnected:
    """What AlexNet and VGG share: two ReLU layers of 4096 units and the output layer in `classifier`."""

    features: nn.Sequential
    avgpool: nn.Module
    classifier: nn.Sequential
    num_features = 4096

    def forward_features(self, images: Tensor) -> Tensor:
        """Images [B, C, S, S] to the second hidden layer's activations [B, 4096], 0 or more."""
        pooled: Tensor = self.avgpool(self.features(images))
        features: Tensor = self.classifier[:-1](pooled.flatten(1))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, S, S] to logits [B, K]."""
        logits: Tensor = self._head()(self.forward_features(images))
        return logits

    def _head(self) -> nn.Linear:
        return cast("nn.Linear", self.classifier[-1])

    def _fully_connected_stages(self) -> Stages:
        fc6, fc7 = list(self.classifier[:3]), list(self.classifier[3:6])
        return {"fc6": fc6, "fc7": fc7, HEAD: [self._head()]}


class AlexNet(_FullyConnected, models.AlexNet):  # type: ignore[misc]
    """torchvision's AlexNet (Krizhevsky 2014) for any number of channels and images of 63 px or more.

    Differs in what no state dict shows: no layer works in place, and the pooling before the fully connected layers is
    left out where it changes nothing. Initialised as torchvision's.

    Raises:
        ConfigError: smaller images.
    """

    def __init__(self, in_channels: int, n_classes: int, image_size: int, dropout: float) -> None:
        check_image_size("AlexNet", image_size, ALEXNET_SMALLEST)
        super().__init__(num_classes=n_classes, dropout=dropout)
        self.features[0] = nn.Conv2d(in_channels, 64, kernel_size=11, stride=4, padding=2)
        side = image_size
        for kernel, stride, padding in ALEXNET_STRIDES:
            side = (side + 2 * padding - kernel) // stride + 1
        self.avgpool = _pooling(side, ALEXNET_GRID)
        _out_of_place(self)

    def stages(self) -> Stages:
        """`conv1` to `conv5`, `fc6`, `fc7`, `head`."""
        blocks = cut_after(self.features, nn.ReLU).values()
        convolutions = {f"conv{number}": block for number, block in enumerate(blocks, start=1)}
        return convolutions | self._fully_connected_stages()


class VGG(_FullyConnected, models.VGG):  # type: ignore[misc]
    """torchvision's VGG for any number of channels and images of 32 px or more; `blocks` convolutions a block.

    Differs in what no state dict shows: no layer works in place, and the pooling before the fully connected layers is
    left out where it changes nothing. Initialised as torchvision's (He et al. 2015 by the outputs, fully connected
    layers with std 0.01). Measured on 16 textures of 64 px with AdamW at 1e-4: after 9 steps the loss is 0.02, against
    0.7 with He's by the inputs (having been at 3.2) and 0.69, still chance, with PyTorch's default.

    Raises:
        ConfigError: smaller images.
    """

    def __init__(
        self,
        in_channels: int,
        n_classes: int,
        image_size: int,
        blocks: Sequence[int],
        dropout: float,
        batch_norm: bool,
    ) -> None:
        check_image_size("VGG", image_size, SHRINKAGE)
        features = _vgg_features(in_channels, blocks, batch_norm)
        super().__init__(features, num_classes=n_classes, dropout=dropout)
        self.avgpool = _pooling(image_size // SHRINKAGE, VGG_GRID)
        _out_of_place(self)

    def stages(self) -> Stages:
        """`block1` to `block5`, `fc6`, `fc7`, `head`."""
        return cut_after(self.features, nn.MaxPool2d) | self._fully_connected_stages()


class VGG16Extractor(nn.Module):
    """VGG-16's convolutions and one linear layer on their flattened output: the best of Vinnarasi et al.

    "VGG-16 as a feature extractor, Soft-max as the classifier" is all that the paper says; it leaves open whose
    activations are the features, what precedes the softmax, and whether any of VGG-16 was fine-tuned. Chosen
    here: the feature maps after the last pooling (7x7x512 at 224 px; other sizes are pooled to 7x7), one softmax
    layer on all 25,088 of them, and no dropout. The configuration freezes the convolutions (`freeze=backbone`),
    and softmax belongs to the loss.

    A whole VGG-16 of torchvision can be loaded; its fully connected layers are not used.

    Raises:
        ConfigError: images smaller than 32 px.
    """

    def __init__(self, in_channels: int, n_classes: int, image_size: int) -> None:
        super().__init__()
        check_image_size("VGG", image_size, SHRINKAGE)
        self.features = _vgg_features(in_channels, VGG16_BLOCKS, batch_norm=False)
        self.avgpool = _pooling(image_size // SHRINKAGE, VGG_GRID)
        self.num_features = BLOCK_WIDTHS[-1] * VGG_GRID**2
        self.head = nn.Linear(self.num_features, n_classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward_features(self, images: Tensor) -> Tensor:
        """Images [B, C, S, S] to the flattened feature maps [B, 25088], 0 or more."""
        pooled: Tensor = self.avgpool(self.features(images))
        return pooled.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, S, S] to logits [B, K]."""
        logits: Tensor = self.head(self.forward_features(images))
        return logits

    def stages(self) -> Stages:
        """`block1` to `block5`, `head`."""
        return cut_after(self.features, nn.MaxPool2d) | {HEAD: [self.head]}

    def weight_layout(self) -> WeightLayout:
        """Files of the whole VGG-16 bring fully connected layers too."""
        return WeightLayout(("features.0",), (HEAD,), unused=("classifier.",))


def alexnet(in_channels: int, n_classes: int, image_size: int, dropout: Fraction) -> AlexNet:
    """AlexNet; see `AlexNet`."""
    return AlexNet(in_channels, n_classes, image_size, dropout)


def vgg16(in_channels: int, n_classes: int, image_size: int, dropout: Fraction, batch_norm: bool) -> VGG:
    """VGG-16, as torchvision's `vgg16` or `vgg16_bn`; see `VGG`."""
    return VGG(in_channels, n_classes, image_size, VGG16_BLOCKS, dropout, batch_norm)


def vgg19(in_channels: int, n_classes: int, image_size: int, dropout: Fraction, batch_norm: bool) -> VGG:
    """VGG-19, as torchvision's `vgg19` or `vgg19_bn`; see `VGG`."""
    return VGG(in_channels, n_classes, image_size, VGG19_BLOCKS, dropout, batch_norm)


def vgg16_extractor(in_channels: int, n_classes: int, image_size: int) -> VGG16Extractor:
    """VGG-16 as a feature extractor with a softmax classifier; see `VGG16Extractor`."""
    return VGG16Extractor(in_channels, n_classes, image_size)


def _vgg_features(in_channels: int, blocks: Sequence[int], batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, n_convolutions in zip(BLOCK_WIDTHS, blocks, strict=True):
        for _ in range(n_convolutions):
            convolution = nn.Conv2d(in_channels, width, 3, padding=1)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(cast("Tensor", convolution.bias))
            layers += [convolution, nn.BatchNorm2d(width)] if batch_norm else [convolution]
            layers.append(nn.ReLU())
            in_channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def _pooling(side: int, grid: int) -> nn.Module:
    # Adaptive pooling's gradient is not deterministic on CUDA: not where there is nothing to pool.
    return nn.Identity() if side == grid else nn.AdaptiveAvgPool2d(grid)


def _out_of_place(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # in place it would overwrite what Grad-CAM's hooks keep
