"""What a haematologist looks at, in numbers: size and shape of the cell, its colour, its texture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from skimage.feature import graycomatrix, graycoprops
from skimage.measure import regionprops
from sklearn.utils.parallel import Parallel, delayed

from leukemia_lab.errors import DataError
from leukemia_lab.progress import progress

SHAPE = {  # name here: name in skimage.measure.regionprops
    "area_px": "area",
    "perimeter_px": "perimeter_crofton",
    "equivalent_diameter_px": "equivalent_diameter_area",
    "major_axis_px": "axis_major_length",
    "minor_axis_px": "axis_minor_length",
    "eccentricity": "eccentricity",
    "solidity": "solidity",
    "extent": "extent",
}
COLOURS = ("red", "green", "blue", "lab_l", "lab_a", "lab_b")
TEXTURE = ("contrast", "dissimilarity", "homogeneity", "ASM", "correlation", "entropy")
DISTANCES_PX = (1, 3)
ANGLES = tuple(np.arange(4) * np.pi / 4)
GREY_LEVELS = 32  # a cell spans a third of 0-255: about ten levels
MORPHOLOGY_NAMES = (
    *SHAPE,
    "box_height_px",
    "box_width_px",
    "circularity",
    *(f"{colour}_{statistic}" for colour in COLOURS for statistic in ("mean", "sd")),
    *(f"glcm_{prop.lower()}_{distance}px" for prop in TEXTURE for distance in DISTANCES_PX),
)
CHUNK = 64  # cells a job

FloatVector = npt.NDArray[np.float64]
Images = npt.NDArray[np.uint8]


def morphology_features(images: Images) -> npt.NDArray[np.float32]:
    """Features [n, len(MORPHOLOGY_NAMES)] of uint8 RGB `images` [n, H, W, 3] on a black background.

    The cell is where any channel is above 0; lengths and areas are in pixels of `images`, colours in 0-255 and
    CIE L*a*b*, texture as `glcm` says, averaged over four angles. All are 0 where the image is black. Runs on
    all cores.

    Raises:
        DataError: the images are not uint8 RGB.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise DataError(f"morphology takes uint8 images [n, H, W, 3]; got {images.dtype} {images.shape}.")
    features = np.zeros((len(images), len(MORPHOLOGY_NAMES)), dtype=np.float32)
    starts = range(0, len(images), CHUNK)
    jobs = (delayed(_chunk)(images[start : start + CHUNK]) for start in starts)
    # Few cells are done before other processes have started.
    workers = Parallel(n_jobs=-1 if len(starts) > 8 else 1, return_as="generator")
    with progress("morphology", len(images), "cells") as advance:
        for start, rows in zip(starts, workers(jobs), strict=True):
            features[start : start + len(rows)] = rows
            advance(len(rows))
    return features


def glcm(grey: Images, mask: npt.NDArray[np.bool_], distances: Sequence[int]) -> npt.NDArray[np.uint32]:
    """Symmetric co-occurrence counts [GREY_LEVELS, GREY_LEVELS, distances, 4 angles] of neighbours in the cell.

    `grey` is uint8 [H, W], quantised into GREY_LEVELS equal steps of 0-255; pairs that touch the background
    are not counted (Haralick 1973; counts as `skimage.feature.graycomatrix`).
    """
    levels = np.where(mask, 1 + grey // (256 // GREY_LEVELS), 0).astype(np.uint8)
    counts: npt.NDArray[np.uint32] = graycomatrix(  # type: ignore[no-untyped-call]
        levels, distances, ANGLES, levels=GREY_LEVELS + 1, symmetric=True
    )
    return counts[1:, 1:]


def _chunk(images: Images) -> npt.NDArray[np.float64]:
    return np.stack([_cell(image) for image in images])


def _cell(image: Images) -> FloatVector:
    mask = (image[..., 0] | image[..., 1] | image[..., 2]) > 0
    if not mask.any():
        return np.zeros(len(MORPHOLOGY_NAMES))
    region = regionprops(mask.astype(np.uint8))[0]  # type: ignore[no-untyped-call]
    image, mask = image[region.slice], mask[region.slice]
    return np.concatenate([_shape(region), _colour(image[mask]), _texture(image, mask)])


def _shape(region: Any) -> FloatVector:
    top, left, bottom, right = region.bbox
    perimeter = region.perimeter_crofton
    circularity = 4 * np.pi * region.area / perimeter**2 if perimeter > 0 else 0.0
    return np.array([*(region[name] for name in SHAPE.values()), bottom - top, right - left, circularity])


def _colour(pixels: npt.NDArray[np.uint8]) -> FloatVector:
    lab = cv2.cvtColor(pixels[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    values = np.concatenate([pixels.T, lab.T], dtype=np.float64)
    return np.stack([values.mean(axis=1), values.std(axis=1)], axis=1).ravel()


def _texture(image: Images, mask: npt.NDArray[np.bool_]) -> FloatVector:
    grey: Any = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    counts = glcm(grey, mask, DISTANCES_PX).astype(np.float64)
    props = [graycoprops(counts, prop).mean(axis=1) for prop in TEXTURE]  # type: ignore[no-untyped-call]
    return np.concatenate(props)
