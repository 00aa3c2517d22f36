"""Cells as small JPEGs, and maps laid over them in a colour scale that is even to the eye and to the colour-blind."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image

from leukemia_lab.errors import RunError

COLOURS = "viridis"
STRENGTH = 0.75  # of the colour where a map is at its largest; the grey cell shows through
SIDE_PX = 160
LARGEST_BYTES = 8192
QUALITIES = (85, 75, 60, 45, 30, 20, 10)

Picture = npt.NDArray[np.uint8]


def resized(image: Picture, side: int) -> Picture:
    """uint8 [H, W, 3] as [side, side, 3], bilinear."""
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))


def overlay(image: Picture, attribution: npt.NDArray[np.floating], side: int) -> Picture:
    """The cell uint8 [H, W, 3] in grey with its map [H, W], 0 or more, in colour over it: uint8 [side, side, 3].

    Each map is scaled by its own largest value, and the more there is, the less of the cell shows through: 0 leaves
    the cell alone. Raises RunError where the two are of different size.
    """
    if image.shape[:2] != attribution.shape:
        raise RunError(f"a map of shape {attribution.shape} does not fit a cell of shape {image.shape}.")
    scale = Image.fromarray(attribution.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
    share = np.asarray(scale) / max(float(attribution.max()), np.finfo(np.float32).tiny)
    share = share.clip(0, 1)[:, :, None]
    grey = np.asarray(Image.fromarray(resized(image, side)).convert("L"))[:, :, None] / 255
    colours = matplotlib.colormaps[COLOURS](share[:, :, 0])[:, :, :3]
    mixed = grey + STRENGTH * share * (colours - grey)
    painted: Picture = np.rint(mixed * 255).astype(np.uint8)
    return painted


def jpeg(image: Picture) -> bytes:
    """uint8 [H, W, 3] as JPEG, in the best of QUALITIES that takes no more than LARGEST_BYTES."""
    for quality in QUALITIES:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= LARGEST_BYTES:
            break
    return file.getvalue()
