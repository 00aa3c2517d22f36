"""Blocks of cells spread over parts so that every part has every class."""

from __future__ import annotations

import numpy as np
import pytest
from grouped_cells import blocks_of

from leukemia_lab.data import spreading
from leukemia_lab.data.spreading import spread_blocks
from leukemia_lab.errors import SplitError


def test_three_pure_groups_a_class_are_enough_at_the_first_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of several classes are placed first: pure ones can then go wherever a class is still absent."""
    monkeypatch.setattr(spreading, "MAX_DRAWS", 1)
    rng = np.random.default_rng(0)
    for seed in range(200):
        pure = [{"labels": [label] * rng.integers(1, 40)} for label in "ABCD" for _ in range(3)]
        mixed = [{"labels": list(rng.permutation(list("ABCD"))[:2])} for _ in range(rng.integers(1, 8))]
        assert set(spread_blocks(blocks_of(pure + mixed), (0.7, 0.15, 0.15), seed=(seed,))) == {0, 1, 2}


def test_groups_whose_classes_cannot_be_spread_are_refused() -> None:
    """A needs groups 0, 1, 2 apart, B 0, 1, 3 and C 0, 2, 3: four groups apart do not fit three parts."""
    cells = blocks_of([{"labels": list(labels)} for labels in ("ABC", "AB", "AC", "BC")])
    with pytest.raises(SplitError, match="without cutting a group in two"):
        spread_blocks(cells, (0.4, 0.3, 0.3), seed=(0,))
