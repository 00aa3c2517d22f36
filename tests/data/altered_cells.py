"""Copies of a cell as data sets hold them: saved anew, shifted, brighter, noisier, recompressed."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from leukemia_lab.data.copies import (
    IDENTICAL,
    NEAR,
    PIXELS,
)
from leukemia_lab.data.synthetic import TRAINING_DIB, encode_bmp

ImageArray = npt.NDArray[np.uint8]
DrawCell = Callable[..., ImageArray]


def shifted(image: ImageArray, rows: int, columns: int) -> ImageArray:
    """Moved down and right; what comes in repeats the edge."""
    reach = max(abs(rows), abs(columns))
    framed = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    height, width = image.shape[:2]
    return framed[reach - rows : reach - rows + height, reach - columns : reach - columns + width]


def offset(image: ImageArray, levels: int) -> ImageArray:
    return (image.astype(np.int16) + levels).clip(0, 255).astype(np.uint8)


def noisy(image: ImageArray) -> ImageArray:
    noise = np.random.default_rng(0).integers(-2, 3, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


def bmp(image: ImageArray) -> bytes:
    return encode_bmp(image, TRAINING_DIB)


def other_header(image: ImageArray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "TIFF")
    return buffer.getvalue()


def jpeg(image: ImageArray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


COPIES: dict[str, tuple[str, Callable[[ImageArray], bytes]]] = {
    "identical": (IDENTICAL, bmp),
    "other header": (PIXELS, other_header),
    "shift 1": (NEAR, lambda image: bmp(shifted(image, 1, -1))),
    "shift 2": (NEAR, lambda image: bmp(shifted(image, -2, 2))),
    "shift 3": (NEAR, lambda image: bmp(shifted(image, 3, 3))),
    "shift of rows": (NEAR, lambda image: bmp(shifted(image, -3, 0))),
    "shift of columns": (NEAR, lambda image: bmp(shifted(image, 0, 3))),
    "brighter": (NEAR, lambda image: bmp(offset(image, 2))),
    "darker": (NEAR, lambda image: bmp(offset(image, -2))),
    "noise": (NEAR, lambda image: bmp(noisy(image))),
    "jpeg 95": (NEAR, lambda image: jpeg(image, 95)),
    "jpeg 90": (NEAR, lambda image: jpeg(image, 90)),
    "jpeg 75": (NEAR, lambda image: jpeg(image, 75)),
    "shift and jpeg": (NEAR, lambda image: jpeg(shifted(image, 3, -2), 75)),
}
