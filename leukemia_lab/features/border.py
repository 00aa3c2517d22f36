"""The outermost frame of an image as features: background, unless a cell or an artefact reaches it."""

from __future__ import annotations

from torch import Tensor, cat, std_mean

SIDES = ("top", "bottom", "left", "right")
CHANNELS = ("red", "green", "blue")
BORDER_NAMES = tuple(
    f"{side}_{channel}_{value}" for side in SIDES for value in ("mean", "sd") for channel in CHANNELS
)


def border_features(images: Tensor, width: float) -> Tensor:
    """Mean and SD in grey levels of each channel of uint8 `images` [B, 3, H, W] along each side: [B, 24].

    Float32, in the order of `BORDER_NAMES`. A side is the outermost rows or columns, corners included: as many as
    `width` is of the shorter side, rounded, one at least.
    """
    width_px = max(1, round(width * min(images.shape[-2:])))
    sides = (
        images[:, :, :width_px],
        images[:, :, -width_px:],
        images[:, :, :, :width_px],
        images[:, :, :, -width_px:],
    )
    found = []
    for side in sides:
        sd, mean = std_mean(side.float(), dim=(2, 3), correction=0)
        found += [mean, sd]
    return cat(found, dim=1)
