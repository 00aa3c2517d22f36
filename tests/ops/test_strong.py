"""Strong augmentation against SciPy and torchvision."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml
from scipy.ndimage import affine_transform, gaussian_filter
from torch import Tensor
from torchvision.transforms.functional import adjust_brightness, adjust_contrast, adjust_saturation

from leukemia_lab.config import conf_dir
from leukemia_lab.errors import ConfigError
from leukemia_lab.ops.colour import jitter, linear_colour
from leukemia_lab.ops.random import Stream, cell_uniforms
from leukemia_lab.ops.strong import LUMA, NO_BLUR_PX, STREAMS, Strong, gaussian_blur, warp
from leukemia_lab.targets import build

OFF: dict[str, Any] = {
    "flip_probability": 0.0,
    "rotation_deg": 0.0,
    "scale": [1.0, 1.0],
    "shear_deg": 0.0,
    "translation": 0.0,
    "blur_probability": 0.0,
    "blur_sigma_px": [0.5, 1.0],
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "channel_gain": 0.0,
    "erase_probability": 0.0,
    "erase_side": [0.2, 0.4],
}
AFFINE: dict[str, Any] = {
    "flip_probability": 0.5,
    "rotation_deg": 180.0,
    "scale": [0.7, 1.4],
    "shear_deg": 20.0,
    "translation": 0.1,
}
DRAW = torch.tensor([0, 3, 10_661, 99, 7, 8])


def strong(**changes: Any) -> Strong:
    module = build({"_target_": "leukemia_lab.ops.strong.Strong"} | OFF | changes)
    assert isinstance(module, Strong)
    return module


def shipped() -> Strong:
    module = build(yaml.safe_load(Path(conf_dir() / "augment" / "strong.yaml").read_text())["on_device"])
    assert isinstance(module, Strong)
    return module


def smooth(n: int = 6, height: int = 40, width: int = 40) -> Tensor:
    """Smooth images uint8 [n, 3, height, width], above 0 everywhere, in the layout of the decoded cache."""
    noise = np.random.default_rng(0).normal(size=(n, height, width, 3))
    waves = gaussian_filter(noise, (0, 4, 4, 0))
    scaled = 40 + 160 * (waves - waves.min()) / np.ptp(waves)
    return torch.from_numpy(scaled.astype(np.uint8)).permute(0, 3, 1, 2)


def cells(n: int = 6, side: int = 64) -> Tensor:
    """Discs on background 0, of a constant colour each."""
    y, x = torch.meshgrid(torch.arange(side) - side / 2, torch.arange(side) - side / 2, indexing="ij")
    disc = (x**2 + y**2 < (side / 3) ** 2).to(torch.uint8)
    colour = torch.tensor([70, 30, 80], dtype=torch.uint8) + 10 * torch.arange(n, dtype=torch.uint8)[:, None]
    return colour[:, :, None, None] * disc


def expected_warp(images: Tensor, seed: int, epoch: int, cell: int) -> npt.NDArray[np.float64]:
    """The bilinear warp of one cell by SciPy, float64 [H, W, C], from the forward transform written out."""
    uniforms = cell_uniforms(seed, epoch, DRAW, STREAMS)[:, cell].tolist()
    u = dict(zip(STREAMS, uniforms, strict=True))
    height, width = images.shape[-2:]
    angle = (2 * u[Stream.ROTATION] - 1) * math.radians(AFFINE["rotation_deg"])
    tangent = math.tan((2 * u[Stream.SHEAR] - 1) * math.radians(AFFINE["shear_deg"]))
    low, high = AFFINE["scale"]
    scale = low * (high / low) ** u[Stream.SCALE]
    flips = [-1 if u[stream] < 0.5 else 1 for stream in (Stream.FLIP_COLUMNS, Stream.FLIP_ROWS)]
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    forward = rotation @ np.array([[1, tangent], [0, 1]]) @ (scale * np.diag(flips))
    shares = np.array([2 * u[Stream.TRANSLATION_X] - 1, 2 * u[Stream.TRANSLATION_Y] - 1])
    centre = np.array([width - 1, height - 1]) / 2
    target = centre + AFFINE["translation"] * shares * [width, height]  # where the centre goes
    inverse = np.linalg.inv(forward)
    rows_first = inverse[::-1, ::-1]  # SciPy counts (row, column)
    offset = (centre - inverse @ target)[::-1]
    channels = [
        affine_transform(channel, rows_first, offset, order=1, mode="grid-constant")
        for channel in images[cell].double().numpy()
    ]
    return np.stack(channels)


@pytest.mark.parametrize(("height", "width"), [(40, 40), (30, 48)])
def test_the_warp_is_rotation_shear_scale_and_flip_then_translation(height: int, width: int) -> None:
    images, module = smooth(height=height, width=width), strong(**AFFINE)
    result = module(images, DRAW, 4, 2)
    assert result.dtype == torch.float32
    assert result.shape == images.shape
    changed = 0
    for cell in range(len(images)):
        with_mask = torch.cat([images, torch.ones_like(images[:, :1])], dim=1)
        warped = expected_warp(with_mask, 4, 2, cell)
        mask = warped[3]
        sure = np.abs(mask - 0.5) > 1e-3
        expected = np.where(mask > 0.5, warped[:3] / np.maximum(mask, 0.5), 0)
        np.testing.assert_allclose(result[cell].numpy()[:, sure], expected[:, sure], atol=0.05)
        changed += not np.allclose(expected, images[cell].numpy(), atol=5)
    assert changed == len(images)


def test_the_draws_cover_their_ranges() -> None:
    draws = torch.arange(4_000)
    module = strong(**AFFINE)
    uniform = dict(zip(STREAMS, cell_uniforms(0, 0, draws, STREAMS), strict=True))
    inverse, shift = module._affine(uniform, torch.Size((40, 80)))
    scale = torch.linalg.det(inverse).abs() ** -0.5
    assert (scale.min() - 0.7).abs() < 0.01
    assert (scale.max() - 1.4).abs() < 0.01
    assert (scale.log().mean() - math.log(0.7 * 1.4) / 2).abs() < 0.02
    assert (torch.linalg.det(inverse) < 0).float().mean() == pytest.approx(0.5, abs=0.03)
    assert shift.abs().amax(dim=0).tolist() == pytest.approx([8.0, 4.0], rel=0.01)


def test_strength_0_is_the_identity() -> None:
    for images in (smooth(), cells()):
        torch.testing.assert_close(strong()(images, DRAW, 0, 0), images.float(), atol=0.02, rtol=0)


@pytest.mark.parametrize("radius", [2, 5])
def test_blur_equals_scipy(radius: int) -> None:
    images = smooth(4).float()
    sigma = torch.tensor([0.3, 0.8, 1.6, NO_BLUR_PX])
    result = gaussian_blur(images, sigma, radius)
    for image, width, blurred in zip(images, sigma.tolist(), result, strict=True):
        expected = [gaussian_filter(c.double().numpy(), width, mode="constant", radius=radius) for c in image]
        np.testing.assert_allclose(blurred.numpy(), np.stack(expected), atol=1e-3)
    assert torch.equal(result[3], images[3])


def test_blur_is_a_choice_for_each_cell() -> None:
    images, draws = smooth(1).expand(400, -1, -1, -1), torch.arange(400)
    sharp = torch.stack([image - images[0] for image in strong()(images, draws, 0, 0)])
    assert sharp.abs().max() < 0.02
    changed = strong(blur_probability=0.3, blur_sigma_px=[1.0, 1.0])(images, draws, 0, 0) - images
    blurred = changed.abs().amax(dim=(1, 2, 3)) > 0.1
    assert float(blurred.float().mean()) == pytest.approx(0.3, abs=0.07)
    expected = gaussian_filter(images[0].double().numpy(), (0, 1, 1), mode="constant", radius=(0, 3, 3))
    share = gaussian_filter(np.ones(images.shape[-2:]), 1, mode="constant", radius=3)
    first = changed[blurred][0] + images[0]
    np.testing.assert_allclose(first.numpy(), expected / share, atol=0.05)


def test_background_does_not_darken_the_edge_of_a_cell() -> None:
    images = cells()
    result = strong(**AFFINE, blur_probability=1.0, blur_sigma_px=[1.0, 1.0])(images, DRAW, 1, 0)
    inside = result.amax(dim=1, keepdim=True) > 0
    colours = images.amax(dim=(2, 3), keepdim=True).float()
    torch.testing.assert_close(result, colours * inside, atol=0.05, rtol=0)


def test_colour_equals_torchvision() -> None:
    images = smooth().float()
    brightness, contrast, saturation = torch.linspace(0.7, 1.2, 18).view(3, 6)
    gain = torch.linspace(0.9, 1.1, 18).view(6, 3)
    matrix, offset = jitter(
        brightness, contrast, saturation, gain, images.mean(dim=(2, 3)), torch.tensor(LUMA)
    )
    result = linear_colour(images, matrix, offset)
    for cell in range(6):
        expected = images[cell : cell + 1] / 255 / 2 * gain[cell].view(3, 1, 1)  # halved: torchvision clips
        expected = adjust_brightness(expected, float(brightness[cell]))
        expected = adjust_contrast(expected, float(contrast[cell]))
        expected = adjust_saturation(expected, float(saturation[cell])) * 2 * 255
        # torchvision's luma is 0.2989, 0.587, 0.114, of sum 0.9999
        torch.testing.assert_close(result[cell : cell + 1], expected, atol=0.1, rtol=0)


def test_colour_of_a_cell_does_not_depend_on_how_much_background_there_is() -> None:
    narrow = cells(1, 64)
    wide = torch.zeros(1, 3, 100, 100, dtype=torch.uint8)
    wide[:, :, 18:82, 18:82] = narrow
    module = strong(contrast=0.5, brightness=0.2, channel_gain=0.1, saturation=0.4)
    draw = torch.tensor([5])
    left, right = module(narrow, draw, 0, 0), module(wide, draw, 0, 0)
    assert (left - narrow.float()).abs().max() > 1
    torch.testing.assert_close(right[:, :, 18:82, 18:82], left, atol=0.02, rtol=0)


def test_erasing_sets_one_rectangle_to_0() -> None:
    images, draws = smooth(1, 50, 50).expand(300, -1, -1, -1), torch.arange(300)
    result = strong(erase_probability=0.5, erase_side=[0.2, 0.4])(images, draws, 0, 0)
    erased = (result == 0).all(dim=1)
    assert torch.equal((result == 0).any(dim=1), erased)
    chosen = erased.any(dim=(1, 2))
    assert float(chosen.float().mean()) == pytest.approx(0.5, abs=0.08)
    for mask in erased[chosen]:
        rows, columns = mask.any(dim=1), mask.any(dim=0)
        assert torch.equal(mask, rows[:, None] & columns[None])
        for span in (rows, columns):
            places = span.nonzero().flatten()
            assert len(places) == places[-1] - places[0] + 1
            assert len(places) <= 20
            assert len(places) >= 9 or 0 in places or 49 in places  # cut off by the border


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pixels_outside_the_warped_cell_are_exactly_0(seed: int) -> None:
    images = cells()
    mask = images.any(dim=1, keepdim=True).float()
    module = shipped()
    uniform = dict(zip(STREAMS, cell_uniforms(seed, 1, DRAW, STREAMS), strict=True))
    inside = warp(mask, *module._affine(uniform, images.shape[-2:])) > 0.5
    result = module(images, DRAW, seed, 1)
    assert not result[~inside.expand_as(result)].any()
    erased = module._erased(uniform, images.shape[-2:])
    assert (result.amax(dim=1, keepdim=True) > 0)[inside & ~erased].all()
    assert 0 <= result.min() < result.max() <= 255


def test_equal_draws_give_equal_pixels_in_any_batch() -> None:
    images, module = smooth(), shipped()
    whole = module(images, DRAW, 5, 2)
    for rows in ([0], [4, 1], [5, 3, 2, 0]):
        torch.testing.assert_close(module(images[rows], DRAW[rows], 5, 2), whole[rows], atol=1e-3, rtol=0)


def test_epochs_seeds_and_copies_differ() -> None:
    image, module = smooth(1), shipped()
    results = [
        module(image, torch.tensor([draw]), seed, epoch)
        for draw, seed, epoch in [(7, 0, 0), (7, 0, 1), (7, 1, 0), (7 + 1000, 0, 0)]
    ]
    for index, left in enumerate(results):
        for right in results[index + 1 :]:
            assert (left - right).abs().max() > 5


def test_a_black_image_stays_black_and_the_input_is_not_changed() -> None:
    black = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    assert not shipped()(black, DRAW[:2], 0, 0).any()
    images = smooth()
    before = images.clone()
    shipped()(images, DRAW, 0, 0)
    assert torch.equal(images, before)


def test_precision_is_not_changed_by_conversion() -> None:
    images, module = smooth(), shipped()
    expected = module(images, DRAW, 0, 0)
    assert torch.equal(module.half()(images, DRAW, 0, 0), expected)
    assert list(module.state_dict()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": [1.2, 0.8]}, "1.2 to 0.8 is no range"),
        ({"flip_probability": 1.5}, "flip_probability: 1.5 cannot be used"),
        ({"rotation_deg": -1.0}, "rotation_deg: -1.0 cannot be used"),
        ({"blur_sigma_px": [0.0, 1.0]}, "blur_sigma_px"),
        ({"erase_side": [0.2, 2.0]}, "erase_side"),
        ({"brightness": "much"}, "brightness: 'much' cannot be used"),
    ],
)
def test_bad_strengths_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        strong(**change)
