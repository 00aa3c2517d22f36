from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest
from torch import Tensor

from leukemia_lab.ops.augment import Dihedral, cell_uniform, dihedral

N = 20_000
MASK = (1 << 64) - 1


def _splitmix64(state: int) -> int:
    """The finaliser in Python's unbounded integers, from the published algorithm."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def _elements(seed: int, epoch: int, stream: int = 0, n: int = N) -> Tensor:
    return (8 * cell_uniform(seed, epoch, torch.arange(n), stream)).to(torch.int64)


def _independence(first: Tensor, second: Tensor) -> float:
    """p-value of all 64 pairs of elements being equally frequent."""
    return float(chisquare(np.bincount((8 * first + second).numpy(), minlength=64)).pvalue)


def test_is_the_splitmix64_sequence() -> None:
    start = int.from_bytes(hashlib.blake2b(b"7/3/1", digest_size=8).digest(), "little")
    cells = [0, 1, 2, 10_660, 2**31, 2**62, -1]
    expected = [(_splitmix64((start + cell * 0x9E3779B97F4A7C15) & MASK) >> 40) / 2**24 for cell in cells]
    assert cell_uniform(7, 3, torch.tensor(cells), 1).tolist() == expected


def test_first_published_splitmix64_number() -> None:
    assert _splitmix64(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF  # seed 0, Vigna's reference code


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_uniform_over_cells(seed: int) -> None:
    uniform = cell_uniform(seed, 0, torch.arange(N), 0)
    assert uniform.dtype == torch.float32
    assert 0 <= uniform.min() < uniform.max() < 1
    assert kstest(uniform.numpy(), "uniform").pvalue > 1e-3
    assert chisquare(np.bincount(_elements(seed, 0), minlength=8)).pvalue > 1e-3


def test_uniform_over_epochs_for_one_cell() -> None:
    cell = torch.tensor([42])
    uniform = [cell_uniform(0, epoch, cell, 0).item() for epoch in range(2_000)]
    assert kstest(uniform, "uniform").pvalue > 1e-3


def test_seeds_epochs_streams_and_neighbours_are_independent() -> None:
    first = _elements(0, 0)
    assert _independence(first, _elements(0, 1)) > 1e-3
    assert _independence(first, _elements(1, 0)) > 1e-3
    assert _independence(first, _elements(0, 0, stream=1)) > 1e-3
    assert _independence(first, first.roll(1)) > 1e-3
    assert _independence(first, first) < 1e-9  # the statistic sees dependence


def test_coordinates_do_not_run_into_each_other() -> None:
    cell = torch.arange(8)
    draws = {
        tuple(cell_uniform(*key[:2], cell, key[2]).tolist()) for key in [(1, 11, 0), (11, 1, 0), (1, 1, 10)]
    }
    assert len(draws) == 3


def test_same_pixels_in_any_batch() -> None:
    images = torch.randint(0, 256, (40, 3, 9, 9), dtype=torch.uint8)
    cell = torch.randperm(1_000)[:40]
    whole = Dihedral()(images, cell, 5, 2)
    assert not torch.equal(whole, images)
    order = torch.randperm(40)
    for rows in order.split([1, 7, 32]):
        assert torch.equal(Dihedral()(images[rows], cell[rows], 5, 2), whole[rows])


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
