from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy.stats import f_oneway

from leukemia_lab.auditing.clustering import QUANTITIES, clustering, clustering_by_quantity

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def drawn(rng: np.random.Generator, sizes: npt.ArrayLike, icc: float) -> tuple[Floats, Ints]:
    """Values of variance 1 and their subjects; a share `icc` of the variance lies between subjects."""
    subjects = np.repeat(np.arange(len(np.asarray(sizes))), sizes)
    own = rng.normal(0, np.sqrt(icc), subjects[-1] + 1)[subjects]
    return own + rng.normal(0, np.sqrt(1 - icc), len(subjects)), subjects


@pytest.mark.parametrize("seed", range(10))
def test_icc_agrees_with_the_f_ratio_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 40, rng.integers(2, 30))
    values, subjects = drawn(rng, sizes, 0.3)
    ratio = f_oneway(*(values[subjects == i] for i in range(len(sizes)))).statistic
    n0 = sizes.mean() - sizes.var(ddof=1) / (len(sizes) * sizes.mean())
    result = clustering(values, subjects)
    assert result["icc_raw"] == pytest.approx((ratio - 1) / (ratio - 1 + n0))
    assert (result["n_cells"], result["n_subjects"]) == (sizes.sum(), len(sizes))


def test_equal_sizes_give_the_textbook_design_effect() -> None:
    values, subjects = drawn(np.random.default_rng(0), np.full(20, 15), 0.5)
    result = clustering(values, subjects)
    assert result["design_effect"] == pytest.approx(1 + 14 * result["icc"])
    assert result["n_effective"] == pytest.approx(300 / result["design_effect"])


@pytest.mark.parametrize("icc", [0.0, 0.1, 0.3, 0.7])
def test_icc_finds_the_truth(icc: float) -> None:
    rng = np.random.default_rng(1)
    estimates = [clustering(*drawn(rng, rng.integers(2, 60, 60), icc))["icc_raw"] for _ in range(200)]
    assert np.mean(estimates) == pytest.approx(icc, abs=0.01)


def test_the_effective_size_says_how_much_the_mean_wavers() -> None:
    rng = np.random.default_rng(2)
    sizes = rng.integers(2, 120, 40)
    draws = [drawn(rng, sizes, 0.3) for _ in range(2000)]
    variance_of_mean = np.var([values.mean() for values, _ in draws])
    n_effective = np.mean([clustering(*draw)["n_effective"] for draw in draws[:300]])
    assert 1 / variance_of_mean == pytest.approx(n_effective, rel=0.15)
    assert n_effective < sizes.sum() / 10


def test_a_negative_estimate_counts_as_none() -> None:
    subjects = np.repeat(np.arange(10), 2)
    result = clustering(np.tile([0.0, 1.0], 10), subjects)
    assert result["icc_raw"] == pytest.approx(-1)
    assert (result["icc"], result["design_effect"], result["n_effective"]) == (0, 1, 20)


@pytest.mark.parametrize(
    ("values", "subjects", "reason"),
    [
        ([], [], "two subjects"),
        ([1.0, 2.0], [0, 0], "two subjects"),
        ([1.0, 2.0, 3.0], [0, 1, 2], "two cells"),
        ([1.0, 1.0, 1.0], [0, 0, 1], "same value"),
        ([1.0, np.nan, 2.0], [0, 0, 1], "1 of 3 cells have no value"),
    ],
)
def test_why_it_is_undefined(values: list[float], subjects: list[int], reason: str) -> None:
    result = clustering(np.array(values), np.array(subjects, dtype=np.int64))
    assert [result[key] for key in ("icc", "icc_raw", "design_effect", "n_effective")] == [None] * 4
    assert reason in result["reason"]


def boxes_of_the_manifest(shared_data: Path) -> pd.DataFrame:
    manifest = pd.read_csv(shared_data / "cnmc_meta" / "train_manifest.csv")
    table = manifest.rename(columns={"w": "box_w", "h": "box_h"})
    missing = {column for columns in QUANTITIES.values() for column in columns} - set(table)
    return table.assign(**dict.fromkeys(missing, 0.0))


def test_box_sides_of_c_nmc(shared_data: Path) -> None:
    """The published figures are of the mean of width and height, by subject name with twins apart.

    sqrt(w h) gives .289 and .185, the longer side .234 and .166.
    """
    table = boxes_of_the_manifest(shared_data)
    found = {label: clustering_by_quantity(cells)["box_side"] for label, cells in table.groupby("label")}
    assert found["all"]["icc"] == pytest.approx(0.285, abs=5e-4)
    assert found["hem"]["icc"] == pytest.approx(0.184, abs=5e-4)
    assert found["all"]["design_effect"] == pytest.approx(74, abs=0.5)
    assert found["hem"]["design_effect"] == pytest.approx(49, abs=0.5)
    assert [found[k]["n_subjects"] for k in ("all", "hem")] == [47, 26]
    assert sum(result["n_effective"] for result in found.values()) == pytest.approx(168, abs=1)
