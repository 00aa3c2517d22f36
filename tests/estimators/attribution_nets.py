"""Nets whose attribution is known, or cannot be had."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from small_models import a_model
from torch import Tensor, nn
from torch.nn import functional

from leukemia_lab.estimators.attribution import (
    mass_on_cell,
)
from leukemia_lab.estimators.neural import CellClassifier

MARK = 16  # side in pixels of the mark in the corner


def some_cells(n: int, size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator)


class InPlace(nn.Module):
    """Works in place wherever it can, a functional one after the last map included."""

    def __init__(self, in_channels: int, n_classes: int, image_size: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(in_channels, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        )
        self.second = nn.Conv2d(6, 8, 3, 2, 1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(8, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.relu(self.second(self.first(images)))
        maps *= 3.0
        logits: Tensor = self.head(functional.relu(maps, inplace=True).mean(dim=(2, 3)))
        return logits


class Shortcut(nn.Module):
    """Its last convolution stands beside a shortcut: only the sum holds all."""

    def __init__(self, in_channels: int, n_classes: int, image_size: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 8, 3, 4, 1)
        self.branch = nn.Conv2d(8, 8, 3, 1, 1)
        self.head = nn.Linear(8, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images).relu()
        logits: Tensor = self.head((maps + self.branch(maps)).mean(dim=(2, 3)))
        return logits


class Tokens(nn.Module):
    """A patch embedding and a transformer's layer."""

    def __init__(self, in_channels: int, n_classes: int, image_size: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(in_channels, 8, 4, 4)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.layer(self.patches(images).flatten(2).transpose(1, 2))
        logits: Tensor = self.head(tokens.mean(dim=1))
        return logits


class Flat(nn.Module):
    """No map at all."""

    def __init__(self, in_channels: int, n_classes: int, image_size: int) -> None:
        super().__init__()
        self.head = nn.Linear(in_channels * image_size**2, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images.flatten(1))
        return logits


def with_net(kind: type[nn.Module], size: int = 32, **changes: Any) -> CellClassifier:
    return a_model(net={"_target_": f"{__name__}.{kind.__name__}"}, image_size=size, **changes)


def corner_mass(maps: Tensor) -> Tensor:
    mask = np.zeros(maps.shape, dtype=bool)
    mask[:, :MARK, :MARK] = True
    return torch.from_numpy(mass_on_cell(maps.numpy(), mask))


class MarkNet(nn.Module):
    """The second class's logit is the area brighter than noise ever is, which only the mark is."""

    def __init__(self, in_channels: int, n_classes: int, image_size: int) -> None:
        super().__init__()
        self.blocks = nn.AvgPool2d(4)
        self.bright = nn.Conv2d(in_channels, 1, 1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(1, n_classes)
        with torch.no_grad():
            self.bright.weight.fill_(1 / in_channels)
            self.bright.bias.fill_(-0.5)
            self.head.weight.copy_(torch.tensor([[-1.0], [1.0]]))

    def forward(self, images: Tensor) -> Tensor:
        maps = self.relu(self.bright(self.blocks(images)))
        logits: Tensor = self.head(maps.mean(dim=(2, 3)))
        return logits


def marked(n: int, seed: int, size: int = 64) -> tuple[Tensor, Tensor]:
    """Noise, half of it with a bright mark in the upper left corner, and which are marked."""
    images = some_cells(n, size, seed) // 4
    classes = torch.arange(n) % 2
    images[classes == 1, :, :MARK, :MARK] = 230
    return images, classes
