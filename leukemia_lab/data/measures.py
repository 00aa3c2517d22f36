"""What a data audit wants to know of one image beyond its box: cell or cells, colour, sharpness."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import cv2
import numpy as np

from leukemia_lab.data.images import BACKGROUND_LEVEL, ImageArray

# Specks smaller than this (a tenth of a per cent of a cell) are no second cell.
COMPONENT_PX = 30


class Measures(NamedTuple):
    """Of the foreground, which is what is not black: its pixels, its parts of COMPONENT_PX or more, its mean
    colour in grey levels, its sharpness (standard deviation of the 3 x 3 Laplacian, in grey levels), and the
    SHA-256 of the decoded image, by which files with other headers are found equal.
    """

    foreground_px: int
    n_components: int
    mean_red: float
    mean_green: float
    mean_blue: float
    sharpness: float
    pixels: str


def measure(image: ImageArray) -> Measures:
    """Measure uint8 [H, W, 3]; colours and sharpness are 0 where there is no foreground."""
    foreground = (image.max(axis=2) > BACKGROUND_LEVEL).astype(np.uint8)
    n_pixels = int(foreground.sum())
    if n_pixels == 0:
        return Measures(0, 0, 0.0, 0.0, 0.0, 0.0, pixels_hash(image))
    _, _, stats, _ = cv2.connectedComponentsWithStats(foreground, connectivity=8)
    n_components = int((stats[1:, cv2.CC_STAT_AREA] >= min(COMPONENT_PX, n_pixels)).sum())
    red, green, blue, _ = cv2.mean(image, mask=foreground)
    inside = cv2.erode(
        foreground, np.ones((3, 3), np.uint8), borderValue=0
    )  # the edge is the mask's, not the cell's
    laplacian = cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_32F)
    spread = cv2.meanStdDev(laplacian, mask=inside)[1][0, 0]
    return Measures(n_pixels, n_components, red, green, blue, float(spread), pixels_hash(image))


def pixels_hash(image: ImageArray) -> str:
    """SHA-256 of a decoded image, its shape included."""
    return hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest()
