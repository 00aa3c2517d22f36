from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest
from torch import Tensor

from leukemia_lab.ops.random import Stream, cell_uniform, cell_uniforms

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


def test_all_streams_at_once_equal_one_at_a_time() -> None:
    draws = torch.arange(5)
    together = cell_uniforms(3, 4, draws, tuple(Stream))
    assert together.shape == (len(Stream), 5)
    for stream, row in zip(Stream, together, strict=True):
        assert torch.equal(row, cell_uniform(3, 4, draws, stream))
    assert len(together.flatten().unique()) == together.numel()


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
