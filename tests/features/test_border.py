from __future__ import annotations

import numpy as np
import pytest
import torch

from leukemia_lab.features.border import BORDER_NAMES, border_features


def test_each_side_is_measured_by_itself() -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, 3, 32, 40), dtype=np.uint8)
    found = border_features(torch.from_numpy(images), 0.12).numpy()
    sides = [images[:, :, :4], images[:, :, -4:], images[..., :4], images[..., -4:]]
    reference = [value for side in sides for value in (side.mean(axis=(2, 3)), side.std(axis=(2, 3)))]
    assert found == pytest.approx(np.concatenate(reference, axis=1), rel=1e-5)
    assert found.shape == (3, len(BORDER_NAMES))
    assert BORDER_NAMES[0] == "top_red_mean"
    assert BORDER_NAMES[-1] == "right_blue_sd"


def test_nothing_but_the_border_is_seen() -> None:
    images = torch.zeros((2, 3, 32, 32), dtype=torch.uint8)
    images[1, :, 4:-4, 4:-4] = 200
    assert not border_features(images, 4 / 32).any()
    assert border_features(images, 5 / 32)[1].all()
    assert border_features(images[:, :, 4:-4, 4:-4], 0.001)[1].any()  # a row at least
