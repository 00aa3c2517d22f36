from __future__ import annotations

from typing import Literal, get_args

import kornia
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, gaussian_laplace
from torch import Tensor, nn

from leukemia_lab.errors import ConfigError
from leukemia_lab.ops.log_filter import LogFilter, LogMode, log_filter, log_kernel

STENCILS: list[Literal["kornia", "sampled"]] = ["kornia", "sampled"]


def _images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def _filter(
    mode: LogMode, stencil: Literal["kornia", "sampled"] = "kornia", strength: float = 0.5
) -> LogFilter:
    return LogFilter(mode, stencil, sigma_px=1.0, gaussian_size=7, laplacian_size=3, strength=strength)


@pytest.mark.parametrize("gaussian_size", [3, 5, 9, 15])
@pytest.mark.parametrize("laplacian_size", [3, 5, 7])
@pytest.mark.parametrize("sigma_px", [0.5, 1.0, 2.5])
def test_equals_kornias_two_steps_with_borders(
    gaussian_size: int, laplacian_size: int, sigma_px: float
) -> None:
    images = _images(2, 3, 33, 40)
    blurred = kornia.filters.gaussian_blur2d(images, (gaussian_size,) * 2, (sigma_px,) * 2)
    expected = kornia.filters.laplacian(blurred, laplacian_size)
    result = log_filter(images, log_kernel("kornia", sigma_px, gaussian_size, laplacian_size))
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)
    assert expected.abs().max() > 5e-3  # the tolerance is far below the signal


@pytest.mark.parametrize(("sigma_px", "tolerance"), [(1.0, 1.5e-4), (1.5, 2e-4), (2.0, 2e-4), (3.0, 1.3e-4)])
def test_true_log_equals_scipy_but_for_its_response_to_a_constant(sigma_px: float, tolerance: float) -> None:
    image = _images(1, 1, 48, 41).double()
    scipy = gaussian_laplace(image[0, 0].numpy(), sigma_px, mode="mirror")
    constant = gaussian_laplace(np.ones((48, 41)), sigma_px, mode="mirror")
    mean = gaussian_filter(image[0, 0].numpy(), sigma_px, mode="mirror")
    result = log_filter(image, log_kernel("sampled", sigma_px, None, 3))[0, 0].numpy()
    np.testing.assert_allclose(result, scipy - constant * mean, atol=1e-7, rtol=0)
    np.testing.assert_allclose(result, scipy, atol=tolerance, rtol=0)


def test_true_log_finds_the_size_of_a_blob() -> None:
    # Closed form: the LoG of width s at the centre of a Gaussian blob of width t is -2 t^2 / (s^2 + t^2)^2.
    blob_px, sigma_px = 4.0, 2.0
    offset = torch.arange(-32, 33, dtype=torch.float64)
    blob = torch.exp(-(offset[:, None] ** 2 + offset**2) / (2 * blob_px**2))
    result = log_filter(blob[None, None], log_kernel("sampled", sigma_px, None, 3))[0, 0, 32, 32]
    assert result == pytest.approx(-2 * blob_px**2 / (sigma_px**2 + blob_px**2) ** 2, rel=2e-3)


def test_kernel_sizes() -> None:
    assert log_kernel("kornia", 1.0, 7, 3).shape == (9, 9)
    assert log_kernel("kornia", 1.2, None, 5).shape == (13, 13)  # 2 * ceil(3.6) + 1 = 9, then 9 + 5 - 1
    assert log_kernel("sampled", 1.2, None, 3).shape == (11, 11)  # int(4 * 1.2 + 0.5) = 5 on each side
    assert log_kernel("sampled", 1.2, 7, 3).shape == (7, 7)
    assert log_kernel("sampled", 0.1, None, 3).shape == (3, 3)


@pytest.mark.parametrize("stencil", STENCILS)
@pytest.mark.parametrize("sigma_px", [0.4, 1.0, 3.0])
def test_zero_on_a_constant_image(stencil: Literal["kornia", "sampled"], sigma_px: float) -> None:
    result = log_filter(torch.full((1, 3, 32, 32), 0.7), log_kernel(stencil, sigma_px, None, 3))
    assert result.abs().max() < 2e-6


@pytest.mark.parametrize("stencil", STENCILS)
def test_commutes_with_the_symmetries_of_the_square(stencil: Literal["kornia", "sampled"]) -> None:
    images, kernel = _images(1, 3, 24, 24), log_kernel(stencil, 1.0, 7, 3)
    for moved in (lambda x: x.flip(-1), lambda x: torch.rot90(x, 1, (-2, -1))):
        torch.testing.assert_close(
            log_filter(moved(images), kernel), moved(log_filter(images, kernel)), atol=1e-6, rtol=0
        )


@pytest.mark.parametrize("mode", get_args(LogMode))
def test_gradcheck(mode: LogMode) -> None:
    images = _images(2, 2, 8, 7).double().requires_grad_()
    assert torch.autograd.gradcheck(_filter(mode), images)


def test_modes() -> None:
    images = _images(2, 3, 20, 20)
    log = log_filter(images, log_kernel("kornia", 1.0, 7, 3))
    assert torch.equal(_filter("none")(images), images)
    assert torch.equal(_filter("replace")(images), log)
    assert torch.equal(_filter("append")(images), torch.cat([images, log], 1))
    torch.testing.assert_close(_filter("sharpen", strength=0.3)(images), images - 0.3 * log)
    assert torch.equal(_filter("sharpen", strength=0.0)(images), images)


def test_sharpen_steepens_an_edge() -> None:
    edge = torch.zeros(1, 1, 32, 32)
    edge[..., 16:] = 1.0
    sharp = _filter("sharpen", strength=1.0)(edge)
    assert sharp.max() > 1.03
    assert sharp.min() < -0.03


@pytest.mark.parametrize("mode", get_args(LogMode))
def test_out_channels_is_what_comes_out(mode: LogMode) -> None:
    log = _filter(mode)
    for channels in (1, 3):
        assert log(_images(1, channels, 16, 16)).shape[1] == log.out_channels(channels)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_stays_float32_under_autocast_and_conversion(dtype: torch.dtype) -> None:
    images = _images(2, 3, 32, 32)
    expected = _filter("replace")(images)
    log = nn.Sequential(_filter("replace"), nn.BatchNorm2d(3)).to(dtype)
    assert log[1].weight.dtype == dtype
    for convert in (lambda m: m.to(dtype), nn.Module.half, nn.Module.bfloat16, nn.Module.double):
        kept = convert(log)[0]
        assert kept.kernel.dtype == torch.float32
        with torch.autocast("cpu", dtype):
            result = kept(images)
        assert result.dtype == torch.float32
        assert torch.equal(result, expected)


def test_float32_protection_matters() -> None:
    # On a smooth image bf16 destroys the two-step filter; if it did not, the test above would prove nothing.
    ramp = torch.linspace(0.2, 0.8, 64).expand(1, 3, 64, 64)
    smooth = ramp + 0.1 * torch.sin(6 * ramp * ramp.mT)
    exact = _filter("replace")(smooth)
    with torch.autocast("cpu", torch.bfloat16):
        protected = _filter("replace")(smooth)
    kernel = log_kernel("kornia", 1.0, 7, 3).expand(3, 1, 9, 9)
    low = nn.functional.conv2d(smooth.bfloat16(), kernel.bfloat16(), groups=3).float()
    inner = exact[..., 4:-4, 4:-4]
    assert torch.equal(protected, exact)
    assert (low - inner).norm() / inner.norm() > 0.1


def test_bf16_default_dtype_leaves_the_kernel_exact() -> None:
    expected = [log_kernel(stencil, 1.0, 7, 3) for stencil in STENCILS]
    torch.set_default_dtype(torch.bfloat16)
    try:
        kernels = [log_kernel(stencil, 1.0, 7, 3) for stencil in STENCILS]
    finally:
        torch.set_default_dtype(torch.float32)
    for kernel, reference in zip(kernels, expected, strict=True):
        assert kernel.dtype == torch.float32
        assert torch.equal(kernel, reference)


def test_low_precision_images_are_raised_and_strides_do_not_matter() -> None:
    images = _images(2, 20, 20, 3).permute(0, 3, 1, 2)
    log = _filter("replace")
    assert log(images.bfloat16()).dtype == torch.float32
    torch.testing.assert_close(log(images), log(images.contiguous()), atol=1e-6, rtol=0)


def test_kernel_is_no_part_of_the_state_dict() -> None:
    log = _filter("append")
    assert log.state_dict() == {}
    assert repr(log) == "LogFilter(mode=append, kernel=(9, 9), strength=0.5)"


def test_too_small_image_says_what_to_set() -> None:
    kernel = log_kernel("kornia", 1.0, 7, 3)  # 9 px, border 4
    assert log_filter(_images(1, 1, 5, 5), kernel).shape == (1, 1, 5, 5)
    with pytest.raises(
        ConfigError, match=r"images of 9x4 px .* kernel of 9 px.*pipeline\.image_size to 5 or more"
    ):
        log_filter(_images(1, 1, 9, 4), kernel)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma_px": 0.0}, r"pipeline\.log\.sigma_px=0\.0"),
        ({"sigma_px": -1.0}, r"pipeline\.log\.sigma_px=-1\.0"),
        ({"sigma_px": float("nan")}, r"pipeline\.log\.sigma_px=nan"),
        ({"gaussian_size": 6}, r"pipeline\.log\.gaussian_size=6 .*odd"),
        ({"gaussian_size": 1}, r"pipeline\.log\.gaussian_size=1 .*3 or more"),
        ({"laplacian_size": 4}, r"pipeline\.log\.laplacian_size=4 .*odd"),
        ({"laplacian_size": -3}, r"pipeline\.log\.laplacian_size=-3"),
        ({"stencil": "scipy"}, r"pipeline\.log\.stencil=scipy .*kornia, sampled"),
        ({"mode": "edges"}, r"pipeline\.log\.mode=edges .*none, replace, append, sharpen"),
    ],
)
def test_bad_arguments(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "mode": "replace", "stencil": "kornia", "sigma_px": 1.0,
        "gaussian_size": 7, "laplacian_size": 3, "strength": 1.0,
    }  # fmt: skip
    with pytest.raises(ConfigError, match=message):
        LogFilter(**(arguments | change))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_does_not_round_to_tf32() -> None:
    images = _images(4, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    result = _filter("replace").cuda()(images.cuda())
    torch.testing.assert_close(result.cpu(), _filter("replace")(images), atol=1e-6, rtol=0)
