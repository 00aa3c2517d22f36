from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from leukemia_lab.data.images import (
    FINGERPRINT,
    ImageFileError,
    cell_box,
    centre_crop,
    content_fingerprint,
    decode_rgb,
    fit_square,
    read_rgb,
)

ImageArray = npt.NDArray[np.uint8]
COLOURS = np.random.default_rng(0).integers(0, 256, (23, 31, 3), dtype=np.uint8)


def encode(image: Image.Image, format_name: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_name)
    return buffer.getvalue()


def encode_16_bits(pixels: npt.NDArray[np.uint16], suffix: str) -> bytes:
    written, data = cv2.imencode(suffix, pixels)
    assert written
    return data.tobytes()


@pytest.mark.parametrize("format_name", ["BMP", "PNG", "TIFF"])
def test_lossless_formats_give_back_the_pixels(format_name: str) -> None:
    np.testing.assert_array_equal(decode_rgb(encode(Image.fromarray(COLOURS), format_name), "x"), COLOURS)


def test_bmp_with_a_longer_header(tmp_path: Path, write_v5_bmp: Callable[[Path, ImageArray], None]) -> None:
    write_v5_bmp(tmp_path / "1.bmp", COLOURS)
    np.testing.assert_array_equal(read_rgb(tmp_path / "1.bmp"), COLOURS)


def test_grey_and_palette_become_three_equal_channels_and_colours() -> None:
    grey = COLOURS[:, :, 0]
    decoded = decode_rgb(encode(Image.fromarray(grey), "PNG"), "x")
    np.testing.assert_array_equal(decoded, np.stack([grey] * 3, axis=2))
    palette = Image.fromarray(COLOURS).quantize(7)
    np.testing.assert_array_equal(decode_rgb(encode(palette, "PNG"), "x"), np.asarray(palette.convert("RGB")))


def test_transparency_is_laid_on_black() -> None:
    alpha = np.random.default_rng(1).integers(0, 256, (23, 31, 1), dtype=np.uint8)
    decoded = decode_rgb(encode(Image.fromarray(np.concatenate([COLOURS, alpha], axis=2)), "PNG"), "x")
    np.testing.assert_array_equal(decoded, np.rint(COLOURS * (alpha / 255.0)).astype(np.uint8))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_scaled_by_257(suffix: str, channels: int) -> None:
    pixels = np.random.default_rng(2).integers(0, 65536, (9, 12, channels), dtype=np.uint16)
    expected = np.rint(pixels / 257.0).astype(np.uint8)
    decoded = decode_rgb(encode_16_bits(pixels[:, :, ::-1], suffix), "x")
    np.testing.assert_array_equal(decoded, np.broadcast_to(expected, (9, 12, 3)))


def test_16_bits_with_transparency() -> None:
    pixels = np.full((2, 2, 4), (0, 257 * 100, 257 * 200, 0), np.uint16)  # BGRA
    pixels[0, :, 3] = 65535
    decoded = decode_rgb(encode_16_bits(pixels, ".png"), "x")
    assert decoded[0, 0].tolist() == [200, 100, 0]
    assert decoded[1, 0].tolist() == [0, 0, 0]


FAULTY: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty file"),
    "text": (b"hello, this is not an image at all", "not an image"),
    "half a bmp": (encode(Image.fromarray(COLOURS), "BMP")[:1000], "truncated"),
    "half a png": (encode(Image.fromarray(COLOURS), "PNG")[:1000], "truncated"),
    "half a jpeg": (encode(Image.fromarray(COLOURS), "JPEG")[:900], "truncated"),
    "half a 16-bit png": (encode_16_bits(COLOURS.astype(np.uint16) * 257, ".png")[:1000], "truncated"),
    "float tiff": (encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "unsupported pixels"),
}


@pytest.mark.parametrize("case", FAULTY)
def test_faulty_files_are_named_with_their_fault(case: str) -> None:
    data, fault = FAULTY[case]
    with pytest.raises(ImageFileError, match=rf"a/b\.bmp: {fault} \(") as caught:
        decode_rgb(data, "a/b.bmp")
    assert caught.value.fault == fault


def test_damaged_and_huge_files(monkeypatch: pytest.MonkeyPatch) -> None:
    png = bytearray(encode(Image.fromarray(COLOURS), "PNG"))
    png[60] ^= 0xFF  # inside the compressed pixels
    with pytest.raises(ImageFileError, match="damaged"):
        decode_rgb(bytes(png), "x")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ImageFileError, match="too large"):
        decode_rgb(encode(Image.fromarray(COLOURS), "PNG"), "x")


def test_missing_file_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match=r"gone\.bmp: unreadable \(No such file"):
        read_rgb(tmp_path / "gone.bmp")


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(["BMP", "PNG", "JPEG"]), st.integers(0, 10**6), st.integers(0, 255), st.booleans())
def test_any_damage_is_our_error_or_an_image(kind: str, position: int, value: int, cut: bool) -> None:
    data = bytearray(encode(Image.fromarray(COLOURS), kind))
    position %= len(data)
    data[position] = value
    try:
        image = decode_rgb(bytes(data[:position] if cut else data), "x")
    except ImageFileError:
        return
    assert image.dtype == np.uint8
    assert image.shape[2] == 3


def test_fit_square_halves_a_smooth_image_like_its_triangle_filter() -> None:
    """Reducing by 2 weights 4 pixels by (1, 3, 3, 1)/8, away from the borders."""
    ramp = np.arange(64, dtype=np.float64)
    wave = np.rint(128 + 100 * np.sin(ramp / 5))
    image = np.broadcast_to(wave[np.newaxis, :, np.newaxis], (64, 64, 3)).astype(np.uint8)
    expected = np.convolve(wave, [1 / 8, 3 / 8, 3 / 8, 1 / 8], mode="valid")[1::2]
    np.testing.assert_allclose(fit_square(image, 32)[5, 1:-1, 0], expected, atol=1.0)


def test_fit_square_lets_little_aliasing_through() -> None:
    columns = np.arange(450)
    wave = np.rint(127.5 + 100 * np.cos(2 * np.pi * 0.4 * columns)).astype(np.uint8)
    image = np.broadcast_to(wave[np.newaxis, :, np.newaxis], (450, 450, 3))
    assert fit_square(np.ascontiguousarray(image), 128)[20:-20, 20:-20].std() < 5
    plain = cv2.resize(np.ascontiguousarray(image), (128, 128), interpolation=cv2.INTER_LINEAR)
    assert plain[20:-20, 20:-20].std() > 30  # what the filter is there to prevent


def test_fit_square_pads_by_repeating_the_edge() -> None:
    image = np.zeros((2, 4, 3), np.uint8)
    image[0], image[1] = 10, 200
    assert fit_square(image, 4)[:, 0, 0].tolist() == [10, 10, 200, 200]
    assert fit_square(image.transpose(1, 0, 2), 4)[0, :, 0].tolist() == [10, 10, 200, 200]


def test_centre_crop_of_a_final_phase_image() -> None:
    image = np.zeros((600, 600, 3), np.uint8)
    image[75:525, 75:525] = 1
    assert centre_crop(image, 450).shape == (450, 450, 3)
    assert centre_crop(image, 450).min() == 1


def test_cell_box_is_the_non_black_extent() -> None:
    image = np.full((40, 50, 3), 2, np.uint8)  # a re-saved black may be off by two
    image[7:12, 20:29, 1] = 3
    assert cell_box(image) == (20, 7, 9, 5)
    assert cell_box(np.zeros((40, 50, 3), np.uint8)) == (0, 0, 50, 40)
    assert cell_box(np.full((40, 50, 3), 200, np.uint8)) == (0, 0, 50, 40)


def test_fingerprint_is_the_grid_of_standard_scores() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[16:48, 16:48] = np.kron(np.random.default_rng(3).integers(50, 250, (16, 16)), np.ones((2, 2)))[
        ..., None
    ]
    record = np.frombuffer(content_fingerprint(image), FINGERPRINT)[0]
    blocks = image[16:48:2, 16:48:2, 0].astype(float)
    assert (record["width"], record["height"]) == (32, 32)
    np.testing.assert_allclose(record["grid"] / 32, (blocks - blocks.mean()) / blocks.std(), atol=1 / 32)


def test_fingerprint_of_a_flat_image_is_zero() -> None:
    record = np.frombuffer(content_fingerprint(np.full((30, 30, 3), 90, np.uint8)), FINGERPRINT)[0]
    assert not record["grid"].any()


def test_real_boxes_equal_the_published_manifest(shared_data: Path) -> None:
    import pandas as pd

    manifest = pd.read_csv(shared_data / "cnmc_meta" / "train_manifest.csv").set_index("file")
    files = sorted((shared_data / "cnmc_sample" / "C-NMC_training_data").rglob("*.bmp"))
    assert len(files) == 58
    for file in files:
        x, y, w, h = manifest.loc[file.name, ["x", "y", "w", "h"]]
        # the manifest's width is last column minus first, one less than the number of columns
        assert cell_box(read_rgb(file)) == (x, y, w + 1, h + 1)
