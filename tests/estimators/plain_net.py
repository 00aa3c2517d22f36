"""A net without batch normalisation and dropout: what it gives for a cell does not depend on the cells beside it."""

from __future__ import annotations

from torch import Tensor, nn

NET = {"_target_": "plain_net.PlainNet"}


class PlainNet(nn.Module):
    """Images [B, C, H, W] to logits [B, K]: two convolutions and a linear layer."""

    num_features = 16

    def __init__(self, in_channels: int, n_classes: int, image_size: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU()
        )
        self.head = nn.Linear(16, n_classes)

    def forward_features(self, images: Tensor) -> Tensor:
        features: Tensor = self.body(images)
        return features.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.forward_features(images))
        return logits

    def stages(self) -> dict[str, list[nn.Module]]:
        return {"body": [self.body], "head": [self.head]}
