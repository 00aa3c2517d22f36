"""The synthetic cells against what was measured on C-NMC 2019; read from the training files alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from leukemia_lab.data.synthetic import SyntheticSpec, write_tree

DEFAULT = SyntheticSpec(n_cells=1000, n_subjects=40, seed=0, n_twins=2, subject_effect=1.0)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def measure(root: Path) -> pd.DataFrame:
    """Box and colour sums of each cell of a tree."""

    def of_cell(path: Path) -> dict[str, float]:
        image = pixels(path).astype(np.float32)
        foreground = image.max(axis=2) > 0
        rows, columns = np.nonzero(foreground)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        return {
            "side": (height + width) / 2,
            "longer": max(height, width),
            "y": rows.min() + height / 2,
            "x": columns.min() + width / 2,
            "n_pixels": foreground.sum(),
            **dict(zip(("red", "green", "blue"), image[foreground].sum(axis=0, dtype=float), strict=True)),
        }

    paths = sorted(root.glob("C-NMC_training_data/*/*/*.bmp"))
    with ThreadPoolExecutor(2) as pool:
        cells = pd.DataFrame(list(pool.map(of_cell, paths)))
    return cells.assign(
        path=paths, label=[p.parent.name for p in paths], subject=[p.name.split("_")[1] for p in paths]
    )


def fineness(path: Path) -> float:
    """Fine against coarse contrast of the chromatin, away from the rim; half the resolution for speed."""
    image = cv2.resize(pixels(path), (225, 225), interpolation=cv2.INTER_AREA)
    core = cv2.erode((image.max(axis=2) > 0).astype(np.uint8), np.ones((21, 21), np.uint8)) > 0
    fine, middle, coarse = (
        cv2.GaussianBlur(image[..., 0].astype(np.float32), (0, 0), s) for s in (1, 2.5, 6)
    )
    return float((fine - middle)[core].std() / (middle - coarse)[core].std())


def intraclass_correlation(cells: pd.DataFrame) -> float:
    """ICC(1) of the box side by subject, unequal group sizes (Donner 1986)."""
    groups = [g.to_numpy() for _, g in cells.groupby("subject")["side"]]
    n = np.array([g.size for g in groups])
    means = np.array([g.mean() for g in groups])
    between = (n * (means - cells["side"].mean()) ** 2).sum() / (n.size - 1)
    within = sum(((g - g.mean()) ** 2).sum() for g in groups) / (n.sum() - n.size)
    n_0 = (n.sum() - (n**2).sum() / n.sum()) / (n.size - 1)
    return float((between - within) / (between + (n_0 - 1) * within))


def assert_like_the_real_cells(cells: pd.DataFrame, side_tolerance_px: float) -> None:
    rgb = cells[["red", "green", "blue"]].sum() / cells["n_pixels"].sum()
    np.testing.assert_allclose(rgb, (69, 30, 79), atol=8)
    np.testing.assert_allclose(cells[["x", "y"]].mean(), 225, atol=2.5)
    assert cells[["x", "y"]].std().between(3, 10).all()
    by_label = dict(list(cells.groupby("label")))
    for label, side_px in (("all", 221), ("hem", 187)):
        assert by_label[label]["side"].mean() == pytest.approx(side_px, abs=side_tolerance_px)
        assert by_label[label]["longer"].mean() == pytest.approx(side_px, abs=side_tolerance_px)
    assert 0.74 <= roc_auc_score(cells["label"] == "all", cells["side"]) <= 0.88
    for label in ("all", "hem"):
        assert 0.12 <= intraclass_correlation(by_label[label]) <= 0.45


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_default_tree_looks_like_the_real_data(tmp_path: Path, seed: int) -> None:
    write_tree(tmp_path / "tree", replace(DEFAULT, seed=seed))
    cells = measure(tmp_path / "tree")
    assert len(cells) == 850
    assert_like_the_real_cells(cells, side_tolerance_px=10)


def test_smaller_tree_looks_like_the_real_data_and_shows_its_class(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", replace(DEFAULT, n_cells=250, n_subjects=24))
    cells = measure(tmp_path / "tree")
    assert_like_the_real_cells(cells, side_tolerance_px=12)
    # Chromatin must say more than size does, and less than everything.
    assert 0.8 <= roc_auc_score(cells["label"] == "all", cells["path"].map(fineness)) <= 0.98


def test_without_subject_effect_subjects_do_not_differ(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", replace(DEFAULT, n_cells=120, n_subjects=10, n_twins=0, subject_effect=0.0))
    cells = measure(tmp_path / "tree")
    cells["side"] -= cells.groupby("label")["side"].transform("mean")
    assert intraclass_correlation(cells) < 0.1
