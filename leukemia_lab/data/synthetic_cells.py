"""Draws one synthetic lymphoid cell: outline, nucleus, chromatin, smear, sharp mask.

The constants reproduce what was measured on C-NMC 2019: box sides, nucleus and cytoplasm colours, the colour
profile from the edge inwards, and texture contrast. The classes differ in size, outline and chromatin, never
in colour, and they overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

FRAME_PX = 450
MIN_SIDE_PX, MAX_SIDE_PX = 125.0, 345.0
OUTLINE_POINTS = 512
SMEAR_RATE = 0.12

# Colours are RGB levels, 0-255. A pixel `d` px inside the nucleus has NUCLEUS + RIM * exp(-d / RIM_DECAY_PX).
NUCLEUS = np.array([63.0, 24.0, 73.0], np.float32)
RIM = np.array([42.0, 38.0, 30.0], np.float32)
RIM_DECAY_PX = np.array([4.5, 5.5, 9.0], np.float32)
SMEAR = np.array([87.0, 63.0, 76.0], np.float32)
SHADOW = np.array([20.0, 12.0, 6.0], np.float32)
BRIGHTNESS_AXIS = np.array([6.5, 4.0, 5.0], np.float32)
HUE_AXIS = np.array([2.5, 0.0, -2.5], np.float32)
TEXTURE_AXIS = np.array([1.0, 0.6, 0.75], np.float32)

FloatImage = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
Shape = tuple[int, int]  # height, width


@dataclass(frozen=True)
class ClassLook:
    """What a class looks like; `between` and `within` subjects are standard deviations."""

    log_side: float
    log_side_between: float
    log_side_within: float
    lace: float  # 0: coarse dark clumps of chromatin; 1: a fine bright net
    irregularity: float
    cleft_rate: float
    nucleolus_rate: float


LOOKS = {
    "all": ClassLook(
        log_side=np.log(214.5),
        log_side_between=0.066,
        log_side_within=0.100,
        lace=0.79,
        irregularity=0.020,
        cleft_rate=0.35,
        nucleolus_rate=0.40,
    ),
    "hem": ClassLook(
        log_side=np.log(177.0),
        log_side_between=0.075,
        log_side_within=0.134,
        lace=0.21,
        irregularity=0.010,
        cleft_rate=0.08,
        nucleolus_rate=0.05,
    ),
}
LACE_BETWEEN, LACE_WITHIN = 0.11, 0.13


@dataclass(frozen=True)
class SubjectLook:
    """What all cells of a subject share, each in standard deviations between subjects."""

    side: float
    brightness: float
    hue: float
    blur: float
    contrast: float
    grain: float
    lace: float


def draw_cell(label: str, subject: SubjectLook, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Draw one cell of class `label` (`all` or `hem`): RGB uint8 of shape (450, 450, 3).

    The background is exactly 0; the foreground is one 4-connected piece without holes, all its levels >= 1.
    """
    look = LOOKS[label]
    outline = _outline(look, subject, rng)
    body = _filled(outline)
    smear_root = outline[rng.integers(OUTLINE_POINTS)] if rng.random() < SMEAR_RATE else None
    smear = None if smear_root is None else _smear(smear_root, outline.mean(axis=0), rng)
    cell = _one_solid_piece(body if smear is None else body | smear)
    # Only the cell's own box is painted: the frame is four times as large.
    x, y, width, height = cv2.boundingRect(cell)
    box = np.s_[y : y + height, x : x + width]
    inside = outline - (x, y)
    nucleus = _filled(_nucleus_outline(outline, rng))[box]
    image = _stained(nucleus, subject, rng)
    image += _texture(look, subject, (height, width), rng)[..., None] * TEXTURE_AXIS
    if rng.random() < look.nucleolus_rate:
        _add_nucleoli(image, inside, rng)
    if smear_root is not None:
        _add_smear(image, body[box] == 0, smear_root - (x, y), rng)
    blur_px = float(np.exp(np.log(1.4) + 0.30 * subject.blur + 0.15 * rng.standard_normal()))
    sensor_noise = np.float32(0.6) * rng.standard_normal((height, width, 1), np.float32)
    levels = cv2.GaussianBlur(image, (0, 0), blur_px) + sensor_noise
    frame = np.zeros((FRAME_PX, FRAME_PX, 3), np.uint8)
    frame[box] = np.clip(np.rint(levels), 1, 255) * cell[box][..., None]
    return frame


def _outline(look: ClassLook, subject: SubjectLook, rng: np.random.Generator) -> Points:
    """Contour in frame pixels, (512, 2) of x, y: a random Fourier series of the radius, some with a cleft."""
    order = np.arange(1, OUTLINE_POINTS // 2 + 2)
    amplitude = look.irregularity * np.exp(0.35 * rng.standard_normal()) * (3 / order) ** 1.4
    amplitude[[0, 1]] = 0.0, 0.035  # a shift of the cell, drawn below, and its elongation
    waves = amplitude * (rng.standard_normal(order.size) + 1j * rng.standard_normal(order.size))
    radius = 1 + np.fft.irfft(np.roll(waves, 1), OUTLINE_POINTS) * OUTLINE_POINTS / 2
    angle = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False)
    if rng.random() < look.cleft_rate:
        away = np.angle(np.exp(1j * (angle - rng.uniform(0, 2 * np.pi))))
        radius -= rng.uniform(0.06, 0.25) * np.exp(-((away / rng.uniform(0.12, 0.35)) ** 2))
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    log_side = look.log_side + look.log_side_between * subject.side
    side = np.exp(log_side + look.log_side_within * rng.standard_normal())
    points *= np.clip(side, MIN_SIDE_PX, MAX_SIDE_PX) / np.ptp(points, axis=0).mean()
    centre = FRAME_PX / 2 + rng.laplace(0, 2.5, size=2)
    return np.asarray(points + centre - (points.max(axis=0) + points.min(axis=0)) / 2)


def _nucleus_outline(outline: Points, rng: np.random.Generator) -> Points:
    """The nucleus fills most of the cell; pushed off centre it leaves a crescent of pale cytoplasm."""
    centre = outline.mean(axis=0)
    shrink = rng.uniform(0.96, 1.01)
    push = rng.normal(0, 0.012, size=2) * np.ptp(outline, axis=0)
    return np.asarray(centre + push + (outline - centre) * shrink)


def _filled(outline: Points) -> Mask:
    mask = np.zeros((FRAME_PX, FRAME_PX), np.uint8)
    cv2.fillPoly(mask, [np.rint(outline * 16).astype(np.int32)], (1,), shift=4)
    return mask


def _smear(root: Points, centre: Points, rng: np.random.Generator) -> Mask:
    """A winding band that leaves the cell at `root` (x, y), away from `centre`."""
    x, y = root
    heading = float(np.arctan2(y - centre[1], x - centre[0]))
    bend, radius = rng.normal(0, 0.02), rng.uniform(4.0, 20.0)
    mask = np.zeros((FRAME_PX, FRAME_PX), np.uint8)
    for _ in range(int(np.exp(rng.normal(np.log(36.0), 0.85)) / 2)):
        x, y = x + 2 * np.cos(heading), y + 2 * np.sin(heading)
        heading += bend + rng.normal(0, 0.10)
        radius = float(np.clip(radius + rng.normal(0, 1.2), 2.0, 30.0))
        cv2.circle(mask, (int(x), int(y)), int(radius), (1,), cv2.FILLED)
    return mask


def _one_solid_piece(mask: Mask) -> Mask:
    """The largest 4-connected piece of `mask`, its holes filled."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    framed = np.pad((pieces != largest).astype(np.uint8), 1, constant_values=1)
    _, background = cv2.connectedComponents(framed, connectivity=4)
    return np.asarray(background != background[0, 0], np.uint8)[1:-1, 1:-1]


def _stained(nucleus: Mask, subject: SubjectLook, rng: np.random.Generator) -> FloatImage:
    """Colour from the depth inside the nucleus, shifted by the subject's and the cell's staining."""
    depth = cv2.distanceTransform(nucleus, cv2.DIST_L2, 5)
    brightness = subject.brightness + 0.6 * rng.standard_normal() + 0.35 * _noise(30.0, _shape(depth), rng)
    hue = subject.hue + 0.5 * rng.standard_normal() + 0.5 * _noise(18.0, _shape(depth), rng)
    image = RIM * np.exp(-depth[..., None] / RIM_DECAY_PX)
    image += NUCLEUS + brightness[..., None] * BRIGHTNESS_AXIS + hue[..., None] * HUE_AXIS
    return np.asarray(image, np.float32)


def _texture(look: ClassLook, subject: SubjectLook, shape: Shape, rng: np.random.Generator) -> FloatImage:
    """Chromatin in levels: from coarse dark clumps (lace 0) to a fine bright net (lace 1)."""
    lace = look.lace + LACE_BETWEEN * subject.lace + LACE_WITHIN * rng.standard_normal()
    lace = float(np.clip(lace, 0.0, 1.0))
    grain = float(np.exp(0.10 * subject.grain))
    clumps = np.exp(0.4 * _noise(12.0 * grain, shape, rng))
    net = np.exp(-1.0 * _noise(6.5 * grain, shape, rng) ** 2)
    contrast = 5.2 * np.exp(0.22 * subject.contrast + 0.15 * rng.standard_normal())
    texture = np.sqrt(1 - lace) * _standardised(clumps) + np.sqrt(lace) * _standardised(net)
    return np.asarray(contrast * texture, np.float32)


def _noise(scale_px: float, shape: Shape, rng: np.random.Generator) -> FloatImage:
    """Gaussian field of mean 0 and variance 1 over `shape`, correlated over `scale_px` (a Gaussian's sd)."""
    # Drawn on a grid of half the scale and enlarged: the cost then falls with the square of the scale.
    rows, columns = (int(2 * n / scale_px) + 2 for n in shape)
    coarse = cv2.GaussianBlur(rng.standard_normal((rows, columns), np.float32), (0, 0), 2.0)
    field = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return _standardised(np.asarray(field, np.float32))


def _shape(image: npt.NDArray[Any]) -> Shape:
    return image.shape[0], image.shape[1]


def _standardised(field: FloatImage) -> FloatImage:
    return np.asarray((field - field.mean()) / field.std(), np.float32)


def _bump(centre: Points, radius_px: float, shape: Shape) -> FloatImage:
    """A round Gaussian of height 1 at `centre` (x, y), shape (height, width, 1)."""
    columns, rows = (
        np.exp(-0.5 * ((np.arange(n) - c) / radius_px) ** 2) for n, c in zip(shape[::-1], centre, strict=True)
    )
    return np.outer(rows, columns).astype(np.float32)[..., None]


def _add_nucleoli(image: FloatImage, outline: Points, rng: np.random.Generator) -> None:
    """One to three pale round spots with a darker ring, inside the nucleus."""
    centre, side = outline.mean(axis=0), np.ptp(outline, axis=0).mean()
    for _ in range(rng.integers(1, 4)):
        spot, radius = centre + rng.normal(0, 0.13, size=2) * side, side * rng.uniform(0.03, 0.05)
        spot_and_ring = 1.6 * _bump(spot, radius, _shape(image)) - _bump(spot, 1.7 * radius, _shape(image))
        image += 9.0 * spot_and_ring * TEXTURE_AXIS


def _add_smear(
    image: FloatImage, outside: npt.NDArray[np.bool_], root: Points, rng: np.random.Generator
) -> None:
    """Paint what lies `outside` the body as smear, and the shadow where it meets the body."""
    image -= _bump(root, rng.uniform(12.0, 22.0), _shape(image)) * SHADOW
    image[outside] = SMEAR + 3.0 * _noise(12.0, _shape(image), rng)[outside, None]
