from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from leukemia_lab.errors import ConfigError, DataError
from leukemia_lab.ops.augment import Dihedral
from leukemia_lab.ops.log_filter import LogFilter, LogMode
from leukemia_lab.ops.pipeline import InputPipeline, channel_statistics

MEAN, STD = [0.3, 0.1, 0.35], [0.06, 0.04, 0.05]
CELL = torch.arange(6)


def _log(mode: LogMode) -> LogFilter:
    return LogFilter(mode, "kornia", sigma_px=1.0, gaussian_size=5, laplacian_size=3, strength=0.7)


def _bytes(n: int = 6, height: int = 24, width: int = 24) -> Tensor:
    """Rows of a memmap: [B, H, W, 3] seen as [B, 3, H, W]."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8, generator=generator)
    return rows.permute(0, 3, 1, 2)


def _pipeline(mode: LogMode, augment: nn.Module | None = None) -> InputPipeline:
    pipeline = InputPipeline(augment, _log(mode), None, None)
    n = pipeline.out_channels // 3
    pipeline.set_normalisation(MEAN * n, STD * n)
    return pipeline


@pytest.mark.parametrize("mode", get_args(LogMode))
def test_equals_its_stages_by_hand(mode: LogMode) -> None:
    images = _bytes()
    result = _pipeline(mode)(images, CELL, 0, 0, augment=False)
    filtered = _log(mode)(torch.from_numpy(np.ascontiguousarray(images.numpy()).astype(np.float32) / 255))
    n = filtered.shape[1] // 3
    expected = (filtered - torch.tensor(MEAN * n).view(-1, 1, 1)) / torch.tensor(STD * n).view(-1, 1, 1)
    torch.testing.assert_close(result, expected, atol=2e-5, rtol=1e-5)
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_identity_without_log_and_normalisation() -> None:
    images = _bytes()
    result = InputPipeline(None, _log("none"), None, None)(images, CELL, 0, 0, augment=True)
    assert torch.equal(result, images.float() / 255)


def test_augments_only_when_told_and_by_seed_epoch_and_cell() -> None:
    pipeline, images = _pipeline("append", Dihedral()), _bytes()
    plain = pipeline(images, CELL, 3, 1, augment=False)
    moved = pipeline(images, CELL, 3, 1, augment=True)
    expected = pipeline(Dihedral()(images, CELL, 3, 1), CELL, 0, 0, augment=False)
    assert torch.equal(moved, expected)
    assert not torch.equal(moved, plain)
    assert not torch.equal(moved, pipeline(images, CELL, 3, 2, augment=True))
    assert torch.equal(moved[2:4], pipeline(images[2:4], CELL[2:4], 3, 1, augment=True))


def test_augmentation_may_return_float_grey_levels() -> None:
    class Darker(nn.Module):
        def forward(self, images: Tensor, cell: Tensor, seed: int, epoch: int) -> Tensor:
            return images.to(torch.float64) / 2

    result = InputPipeline(Darker(), _log("none"), None, None)(_bytes(), CELL, 0, 0, augment=True)
    torch.testing.assert_close(result, _bytes().float() / 510)


@pytest.mark.parametrize("mode", get_args(LogMode))
def test_float32_under_autocast_conversion_and_default_dtype(mode: LogMode) -> None:
    images = _bytes()
    expected = _pipeline(mode, Dihedral())(images, CELL, 0, 0, augment=True)
    converted = nn.ModuleList([_pipeline(mode, Dihedral()), nn.Linear(2, 2)]).to(torch.bfloat16).half()
    assert converted[1].weight.dtype == torch.float16
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(converted[0](images, CELL, 0, 0, augment=True), expected)
    torch.set_default_dtype(torch.bfloat16)
    try:
        result = _pipeline(mode, Dihedral())(images, CELL, 0, 0, augment=True)
    finally:
        torch.set_default_dtype(torch.float32)
    assert result.dtype == torch.float32
    assert torch.equal(result, expected)


def test_state_dict_carries_the_normalisation() -> None:
    trained, fresh = _pipeline("append"), InputPipeline(None, _log("append"), None, None)
    assert list(trained.state_dict()) == ["mean", "std"]
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(
        fresh(_bytes(), CELL, 0, 0, augment=False), trained(_bytes(), CELL, 0, 0, augment=False)
    )


def test_input_is_not_changed_and_needs_no_gradient() -> None:
    images = _bytes()
    before = images.clone()
    assert not _pipeline("sharpen", Dihedral())(images, CELL, 0, 0, augment=True).requires_grad
    assert torch.equal(images, before)


def test_stages() -> None:
    images = _bytes()
    stages = _pipeline("append", Dihedral()).stages(images, CELL, 0, 4)
    assert list(stages) == ["raw", "filtered", "augmented"]
    assert all(stage.shape == images.shape and stage.dtype == torch.float32 for stage in stages.values())
    assert torch.equal(stages["raw"], images.float() / 255)
    assert torch.equal(stages["augmented"], Dihedral()(images, CELL, 0, 4).float() / 255)
    log = _log("replace")(images.float() / 255)
    for picture, cell_log in zip(stages["filtered"], log, strict=True):
        torch.testing.assert_close(picture, 0.5 + 0.5 * cell_log / cell_log.abs().max(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", get_args(LogMode))
def test_stages_stay_in_range(mode: LogMode) -> None:
    images = _bytes()
    images[0] = 0  # a LoG without any response must not divide by zero
    stages = _pipeline(mode).stages(images, CELL, 0, 0)
    for stage in stages.values():
        assert 0 <= stage.min() <= stage.max() <= 1
    assert torch.equal(stages["augmented"], stages["raw"])
    if mode == "none":
        assert torch.equal(stages["filtered"], stages["raw"])


def test_statistics_equal_numpy_and_normalise() -> None:
    pipeline = InputPipeline(Dihedral(), _log("append"), None, None)
    batches = [_bytes(5), _bytes(6)[:2], _bytes(1)]
    mean, std = channel_statistics(pipeline, batches)
    values = _log("append")(torch.cat(batches).float() / 255).numpy().astype(np.float64)
    np.testing.assert_allclose(mean, values.mean(axis=(0, 2, 3)), atol=1e-7)
    np.testing.assert_allclose(std, values.std(axis=(0, 2, 3)), rtol=1e-6)
    pipeline.set_normalisation(mean, std)
    assert channel_statistics(pipeline, batches) == (mean, std)  # of the values before normalisation
    result = pipeline(torch.cat(batches), torch.arange(8), 0, 0, augment=False)
    torch.testing.assert_close(result.mean(dim=(0, 2, 3)), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(result.std(dim=(0, 2, 3), correction=0), torch.ones(6), atol=1e-4, rtol=0)


def test_statistics_need_images_that_differ() -> None:
    pipeline = InputPipeline(None, _log("none"), None, None)
    with pytest.raises(DataError, match="training part is empty"):
        channel_statistics(pipeline, [])
    images = _bytes()
    images[:, 1] = 9
    with pytest.raises(DataError, match=r"channels \[1\] .* constant.*pipeline\.normalise=none"):
        channel_statistics(pipeline, [images])


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        (MEAN, None, "mean and std or neither"),
        (None, STD, "mean and std or neither"),
        (MEAN, STD, r"3 means and 3 .*mode=append gives 6 channels.*pipeline\.normalise=train"),
        (MEAN * 2, [*STD, 0.1, 0.0, 0.1], "above 0"),
        (MEAN * 2, [*STD, 0.1, float("nan"), 0.1], "above 0"),
    ],
)
def test_bad_normalisation(mean: Any, std: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        InputPipeline(None, _log("append"), mean, std)


@pytest.mark.parametrize("images", [_bytes().float(), _bytes()[:, :1], _bytes()[0]])
def test_other_batches_are_refused(images: Tensor) -> None:
    pipeline = _pipeline("none")
    with pytest.raises(DataError, match=r"uint8 images \[B, 3, H, W\]; got torch\."):
        pipeline(images, CELL, 0, 0, augment=False)
    with pytest.raises(DataError, match="uint8 images"):
        pipeline.stages(images, CELL, 0, 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_without_synchronising() -> None:
    pipeline, images = _pipeline("append", Dihedral()), _bytes()
    expected = pipeline(images, CELL, 2, 3, augment=True)
    pipeline, images, cell = pipeline.cuda(), images.cuda(), CELL.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = pipeline(images, cell, 2, 3, augment=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(result.cpu(), expected, atol=1e-4, rtol=1e-4)
