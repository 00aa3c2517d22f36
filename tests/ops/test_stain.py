"""Stain jitter against scikit-image's colour deconvolution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from skimage.color import rgb_from_bex
from torch import Tensor

from leukemia_lab.config import conf_dir
from leukemia_lab.errors import ConfigError
from leukemia_lab.ops.random import cell_uniforms
from leukemia_lab.ops.stain import STREAMS, Stain, stain_matrix
from leukemia_lab.targets import build

DRAW = torch.tensor([0, 3, 10_661, 99])


def some_cells(n: int = 4, side: int = 24) -> Tensor:
    """Every grey level inside a square, background 0 around it; some levels within are 0 in one or two channels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, side, side, 3), dtype=torch.uint8, generator=generator)
    images[:, :4] = images[:, :, -5:] = 0
    return images.permute(0, 3, 1, 2)


def test_the_stains_are_those_of_scikit_image() -> None:
    np.testing.assert_allclose(stain_matrix().numpy(), rgb_from_bex, atol=1e-7)


@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 0.0), (0.0, 0.2), (0.2, 0.1)])
def test_concentrations_are_scaled_and_shifted(alpha: float, beta: float) -> None:
    images = some_cells()
    result = Stain(alpha, beta)(images, DRAW, 2, 5)
    uniform = cell_uniforms(2, 5, DRAW, STREAMS).double().numpy().T
    for image, u, changed in zip(images, uniform, result, strict=True):
        density = -np.log((image.permute(1, 2, 0).double().numpy() + 1) / 256)
        concentration = density @ np.linalg.inv(rgb_from_bex)
        jittered = concentration * (1 + alpha * (2 * u[:3] - 1)) + beta * (2 * u[3:] - 1)
        expected = np.clip(256 * np.exp(-jittered @ rgb_from_bex) - 1, 0, 255)
        expected[(image == 0).all(dim=0).numpy()] = 0
        np.testing.assert_allclose(changed.permute(1, 2, 0).numpy(), expected, atol=5e-3)


def test_strength_0_is_the_identity() -> None:
    images = some_cells()
    result = Stain(0.0, 0.0)(images, DRAW, 0, 0)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, images.float(), atol=2e-3, rtol=0)
    assert torch.equal(result.round().to(torch.uint8), images)


def test_background_stays_exactly_0_and_nothing_else_does() -> None:
    images = some_cells()
    background = (images == 0).all(dim=1, keepdim=True).expand_as(images)
    result = Stain(0.9, 0.9)(images, DRAW, 0, 0)
    assert background.any()
    assert not result[background].any()
    assert 0 <= result.min() < result.max() <= 255
    assert not Stain(0.9, 0.9)(torch.zeros_like(images), DRAW, 0, 0).any()


def test_same_pixels_in_any_batch_and_others_in_another_epoch() -> None:
    images, stain = some_cells(), Stain(0.1, 0.05)
    whole = stain(images, DRAW, 5, 2)
    for rows in ([0], [3, 1], [2, 1, 0]):
        torch.testing.assert_close(stain(images[rows], DRAW[rows], 5, 2), whole[rows], atol=1e-3, rtol=0)
    for other in (stain(images, DRAW, 5, 3), stain(images, DRAW, 6, 2), stain(images, DRAW + 1000, 5, 2)):
        assert ((other - whole).abs().amax(dim=(1, 2, 3)) > 1).all()


def test_precision_is_not_changed_by_conversion_nor_is_the_input() -> None:
    images, stain = some_cells(), Stain(0.1, 0.05)
    before, expected = images.clone(), stain(images, DRAW, 0, 0)
    assert torch.equal(stain.bfloat16()(images, DRAW, 0, 0), expected)
    assert torch.equal(images, before)
    assert list(stain.state_dict()) == []
    assert repr(stain) == "Stain(alpha=0.1, beta=0.05)"


def test_the_shipped_strength_shifts_grey_levels_as_images_of_the_data_differ() -> None:
    """Between images the mean colour shifts by about 10 grey levels around (69, 30, 79)."""
    node = yaml.safe_load(Path(conf_dir() / "augment" / "stain.yaml").read_text(encoding="utf-8"))[
        "on_device"
    ]
    colour = torch.tensor([69, 30, 79], dtype=torch.uint8).view(1, 3, 1, 1).expand(2000, 3, 1, 1)
    result = build(node)(colour, torch.arange(2000), 0, 0)
    assert 5 < float(result.std(dim=0).mean()) < 12


def test_bad_strengths_are_named() -> None:
    with pytest.raises(ConfigError, match=r"alpha: 1\.5 cannot be used"):
        build({"_target_": "leukemia_lab.ops.stain.Stain", "alpha": 1.5, "beta": 0.0})
