"""One image file as 8-bit RGB, the square that a net sees, and what tells a cell from its near copies."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from leukemia_lab.errors import DataError

ImageArray = npt.NDArray[np.uint8]

# Part of the decoded cache's key: raise it when the pixels of `fit_square` change.
RESIZE_METHOD = "pil-bilinear-antialias-1"

# Above the ±2 grey levels of a re-saved background, below the darkest edge pixels that matter:
# the same box as with level 0 on real C-NMC cells.
BACKGROUND_LEVEL = 2
# JPEG ringing around a cell stays below this, so a silhouette keeps its size to 1-2 px when re-saved.
SILHOUETTE_LEVEL = 16
# Of the pixels above black: an image with more has no black background, and no outline to judge.
WHOLE_FRAME = 0.98
GRID_SIDE = 16
GRID_STEPS_PER_SD = 32
# What `content_fingerprint` writes: the silhouette's width and height, and its grey grid in standard scores.
FINGERPRINT = np.dtype([("width", "<u2"), ("height", "<u2"), ("grid", "i1", (GRID_SIDE, GRID_SIDE))])


class ImageFileError(DataError):
    """An image file that cannot be used; `fault` is a short stable code, `detail` a sentence."""

    def __init__(self, source: str, fault: str, detail: str) -> None:
        super().__init__(f"{source}: {fault} ({detail}). Copy the file again or leave it out.")
        self.fault = fault
        self.detail = detail


class Box(NamedTuple):
    """A rectangle in pixels; x and y are its first column and row."""

    x: int
    y: int
    width: int
    height: int


def read_rgb(path: Path) -> ImageArray:
    """Read an image file as uint8 [H, W, 3], RGB, 0-255; see `decode_rgb`."""
    return decode_rgb(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """Read a file whole; an unreadable one is an `ImageFileError`."""
    try:
        if path.exists() and not path.is_file():  # a named pipe would be waited for without end
            raise ImageFileError(str(path), "unreadable", "not a regular file")
        return path.read_bytes()
    except OSError as error:
        raise ImageFileError(str(path), "unreadable", str(error.strerror)) from error


def decode_rgb(data: bytes, source: str) -> ImageArray:
    """Decode BMP, PNG, JPEG or TIFF bytes to uint8 [H, W, 3], RGB, 0-255; see `decode_with_mode`."""
    return decode_with_mode(data, source)[0]


def decode_with_mode(data: bytes, source: str) -> tuple[ImageArray, str]:
    """Decode BMP, PNG, JPEG or TIFF bytes to uint8 [H, W, 3], RGB, 0-255, and the file's own mode (`RGB`, `L`, `P`).

    Grey is repeated in the three channels, a palette is looked up, 16 bits are scaled by 1/257 and
    transparency is laid on black. The first page counts; EXIF rotation is not applied. `source` names the
    file in errors.

    Raises:
        ImageFileError: with fault "empty file", "not an image", "truncated", "damaged", "too large" or
            "unsupported pixels".
    """
    if not data:
        raise ImageFileError(source, "empty file", "0 bytes")
    try:
        with Image.open(io.BytesIO(data)) as file:
            # Pillow cuts 16-bit colour to its upper byte, so that depth is decoded by OpenCV, after
            # Pillow's loading has shown that no data are missing.
            has_16_bits = any(";16" in str(tile.args) for tile in file.tile)
            file.load()
            if has_16_bits:
                return _decode_16_bits(data, source), file.mode
            if file.mode in ("I", "F"):
                raise ImageFileError(source, "unsupported pixels", "32 bits a channel have no fixed scale")
            if file.has_transparency_data:
                return _on_black(np.asarray(file.convert("RGBA"))), file.mode
            return np.asarray(file.convert("RGB")), file.mode
    except Image.DecompressionBombError as error:
        raise ImageFileError(source, "too large", str(error)) from error
    except UnidentifiedImageError as error:
        raise ImageFileError(source, "not an image", f"begins with {data[:8]!r}") from error
    except (OSError, SyntaxError, ValueError, struct.error, MemoryError) as error:
        fault = "truncated" if "truncated" in str(error).lower() else "damaged"
        raise ImageFileError(source, fault, str(error)) from error


def fit_square(image: ImageArray, size: int) -> ImageArray:
    """Resize uint8 [H, W, 3] to uint8 [size, size, 3]; the shape is kept by repeating edges to a square.

    Pillow's bilinear filter with its support widened by the scale: of the methods near 2 ms a 450-pixel
    image it lets the least aliasing through (a wave at 0.4 cycles/px becomes ±3 levels at 128 px; OpenCV's
    INTER_AREA ±12, plain bilinear ±45), without the overshoot of bicubic on the hard edge of a cell.
    """
    height, width = image.shape[:2]
    if height != width:
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        padding = ((top, side - height - top), (left, side - width - left), (0, 0))
        image = np.pad(image, padding, mode="edge")
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def centre_crop(image: ImageArray, side: int) -> ImageArray:
    """Cut the central [side, side, 3] of an image at least that large (C-NMC's final phase: 600 to 450)."""
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def cell_box(image: ImageArray) -> Box:
    """Extent of what is not black in uint8 [H, W, 3]; the whole image where there is no black background."""
    return _box_above(image, BACKGROUND_LEVEL)


def content_fingerprint(image: ImageArray) -> bytes:
    """Summarise a cell so that its near copies can be found: one `FINGERPRINT` record as bytes.

    The silhouette's box is averaged to a 16 x 16 grey grid and turned into standard scores, so that neither
    a shift of the cell nor a change of brightness or contrast matters.
    """
    box = _box_above(image, SILHOUETTE_LEVEL)
    corners = (box.x, box.y, box.x + box.width, box.y + box.height)
    size = (GRID_SIDE, GRID_SIDE)
    colours = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX, box=corners))
    grey = colours.mean(axis=2)
    # A flat image has no standard deviation: one grey level keeps its rounding noise from being blown up.
    scores = (grey - grey.mean()) / max(grey.std(), 1.0)
    grid = np.rint(scores * GRID_STEPS_PER_SD).clip(-127, 127)
    return np.array((box.width, box.height, grid), dtype=FINGERPRINT).tobytes()


def _box_above(image: ImageArray, level: int) -> Box:
    rows = np.flatnonzero(image.reshape(len(image), -1).max(axis=1) > level)
    columns = np.flatnonzero(image.max(axis=0).max(axis=1) > level)
    if rows.size == 0:
        return Box(0, 0, image.shape[1], image.shape[0])
    x, y = int(columns[0]), int(rows[0])
    return Box(x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1)


def _decode_16_bits(data: bytes, source: str) -> ImageArray:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ImageFileError(source, "unsupported pixels", "this kind of 16-bit image cannot be decoded")
    eight_bits = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if eight_bits.ndim == 2:
        return np.repeat(eight_bits[:, :, np.newaxis], 3, axis=2)
    if eight_bits.shape[2] == 4:
        return _on_black(eight_bits[:, :, [2, 1, 0, 3]])
    return np.ascontiguousarray(eight_bits[:, :, ::-1])


def _on_black(rgba: ImageArray) -> ImageArray:
    alpha = rgba[:, :, 3:].astype(np.uint16)
    return ((rgba[:, :, :3] * alpha + 127) // 255).astype(np.uint8)
