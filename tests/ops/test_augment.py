from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from leukemia_lab.ops.augment import DIHEDRAL_ELEMENTS, Dihedral, dihedral
from leukemia_lab.ops.random import Stream, cell_uniform


def test_the_element_is_drawn_from_the_stream_of_its_own() -> None:
    images, draw = torch.randint(0, 256, (50, 3, 5, 5)), torch.arange(50)
    element = (cell_uniform(1, 2, draw, Stream.DIHEDRAL) * DIHEDRAL_ELEMENTS).long()
    assert int(Stream.DIHEDRAL) == 0  # a number in use never changes: runs would not repeat
    assert torch.equal(Dihedral()(images, draw, 1, 2), dihedral(images, element))


def test_same_pixels_in_any_batch() -> None:
    images = torch.randint(0, 256, (40, 3, 9, 9), dtype=torch.uint8)
    draw = torch.randperm(1_000)[:40]
    whole = Dihedral()(images, draw, 5, 2)
    assert not torch.equal(whole, images)
    order = torch.randperm(40)
    for rows in order.split([1, 7, 32]):
        assert torch.equal(Dihedral()(images[rows], draw[rows], 5, 2), whole[rows])


def test_does_not_touch_the_global_generator() -> None:
    state = torch.get_rng_state()
    Dihedral()(torch.zeros(4, 3, 8, 8), torch.arange(4), 0, 0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("permuted", [False, True])
def test_elements_are_the_eight_symmetries(dtype: torch.dtype, permuted: bool) -> None:
    image = torch.randint(0, 256, (3, 6, 6)).to(dtype)
    images = image.expand(8, 3, 6, 6)
    if permuted:
        images = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    result = dihedral(images, torch.arange(8))
    assert result.dtype == dtype

    def turned(quarters: int, base: Tensor = image) -> Tensor:
        return torch.rot90(base, quarters, (-2, -1))

    flipped = image.flip(-1)
    expected = [
        image, flipped, turned(2, flipped), turned(2),
        turned(1, flipped), turned(1), turned(3), turned(3, flipped),
    ]  # fmt: skip
    for element in range(8):
        assert torch.equal(result[element], expected[element]), element
    assert len({tuple(row.flatten().tolist()) for row in result}) == 8


def test_rectangles_are_never_transposed() -> None:
    image = torch.arange(12).view(1, 3, 4)
    result = dihedral(image.expand(8, 1, 3, 4), torch.arange(8))
    expected = [image, image.flip(-1), image.flip(-2), image.flip(-1, -2)] * 2
    assert torch.equal(result, torch.stack(expected))


def test_module_draws_every_element_equally() -> None:
    image = torch.arange(4, dtype=torch.uint8).view(1, 1, 2, 2)
    result = Dihedral()(image.expand(8_000, 1, 2, 2), torch.arange(8_000), 0, 0)
    counts = result.flatten(1).unique(dim=0, return_counts=True)[1]
    assert len(counts) == 8
    assert chisquare(counts.numpy()).pvalue > 1e-3
