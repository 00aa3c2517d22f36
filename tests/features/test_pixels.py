from __future__ import annotations

import pytest
import torch
from torch.nn.functional import interpolate

from leukemia_lab.errors import ConfigError
from leukemia_lab.features.pixels import pixel_features, pixel_names


def test_each_feature_is_the_mean_of_its_block_in_the_order_of_the_names() -> None:
    inputs = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    features = pixel_features(inputs.contiguous(memory_format=torch.channels_last), 4)
    names = pixel_names(2, 4)
    assert features.shape == (3, len(names)) == (3, 32)
    column = names.index("pixel_1_3_0")
    torch.testing.assert_close(features[:, column], inputs[:, 1, 6:8, 0:2].mean(dim=(1, 2)))


@pytest.mark.parametrize("size", [1, 5, 13])
def test_sizes_that_do_not_divide_equal_area_interpolation(size: int) -> None:
    inputs = torch.rand(2, 3, 13, 13)
    expected = interpolate(inputs, size=(size, size), mode="area").flatten(1)
    torch.testing.assert_close(pixel_features(inputs, size), expected)


@pytest.mark.parametrize("size", [0, 14])
def test_a_grid_finer_than_the_image_is_refused(size: int) -> None:
    with pytest.raises(
        ConfigError, match=rf"model.features.size: {size} cannot be used; images of 13 px .* 1-13 px"
    ):
        pixel_features(torch.rand(1, 3, 13, 16), size)
