"""How far copies and different cells lie apart, which is what the thresholds of data/copies.py rest on.

Prints one Markdown table for each set of cells: drawn ones, and real ones where they are at hand. Of copies it shows
the worst, of different cells the pair most alike.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.spatial.distance import pdist

from leukemia_lab.data.copies import correlation
from leukemia_lab.data.images import FINGERPRINT, GRID_STEPS_PER_SD, content_fingerprint, read_rgb
from leukemia_lab.data.synthetic_cells import SubjectLook, draw_cell

ImageArray = npt.NDArray[np.uint8]
SHARED = Path(os.environ.get("LEUKEMIA_LAB_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
NEAREST = 200  # pairs of different cells whose pixels are compared
SAME_CELL = 0.05  # by distance: the real sample holds three near copies, which are no different cells


def shifted(image: ImageArray) -> ImageArray:
    """By 3 px down and right; what comes in repeats the edge."""
    framed = np.pad(image, ((3, 0), (3, 0), (0, 0)), mode="edge")
    return framed[: image.shape[0], : image.shape[1]]


def offset(image: ImageArray, levels: int | npt.NDArray[np.int64]) -> ImageArray:
    return (image + np.int64(levels)).clip(0, 255).astype(np.uint8)


def jpeg(image: ImageArray, quality: int) -> ImageArray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


COPIES: dict[str, Callable[[ImageArray], ImageArray]] = {
    "shift 3 px": shifted,
    "2 levels brighter": lambda image: offset(image, 2),
    "2 levels darker": lambda image: offset(image, -2),
    "noise of 2 levels": lambda image: offset(image, np.random.default_rng(0).integers(-2, 3, image.shape)),
    "JPEG 90": lambda image: jpeg(image, 90),
    "JPEG 75": lambda image: jpeg(image, 75),
    "JPEG 50": lambda image: jpeg(image, 50),
    "shift and JPEG 75": lambda image: jpeg(shifted(image), 75),
}


def prints_of(images: Sequence[ImageArray]) -> npt.NDArray[np.void]:
    return np.frombuffer(b"".join(map(content_fingerprint, images)), FINGERPRINT)


def grids(prints: npt.NDArray[np.void]) -> npt.NDArray[np.float64]:
    return prints["grid"].reshape(len(prints), -1) / GRID_STEPS_PER_SD


def report(name: str, images: Sequence[ImageArray]) -> None:
    print(f"\n| {name}, {len(images)} cells | distance | silhouette, px | correlation |\n|---|---|---|---|")
    known = prints_of(images)
    for kind, copy in COPIES.items():
        copies = [copy(image) for image in images]
        found = prints_of(copies)
        distance = np.abs(grids(found) - grids(known)).mean(axis=1).max()
        px = max(int(np.abs(found[side].astype(int) - known[side]).max()) for side in ("width", "height"))
        alike = min(map(correlation, images, copies))
        print(f"| {kind} | {distance:.3f} | {px} | {alike:.3f} |")
    distances = pdist(grids(known), "cityblock") / grids(known).shape[1]
    first, second = np.triu_indices(len(images), 1)
    different = np.flatnonzero(distances > SAME_CELL)
    nearest = different[np.argsort(distances[different])[:NEAREST]]
    alike = max(correlation(images[first[i]], images[second[i]]) for i in nearest)
    print(f"| different cells | {distances[nearest[0]]:.3f} | | {alike:.3f} |")


def main() -> None:
    rng = np.random.default_rng(0)
    looks = [SubjectLook(*rng.standard_normal(7)) for _ in range(12)]
    report(
        "drawn", [draw_cell(label, look, rng) for look in looks for label in ("all", "hem") for _ in range(5)]
    )
    for name, folder, step in (("C-NMC 2019", "cnmc_sample", 1), ("bright background", "pbc_sample", 4)):
        files = sorted(file for file in (SHARED / folder).rglob("*.*") if file.suffix in (".bmp", ".jpg"))
        if files:
            report(name, [read_rgb(file) for file in files[::step]])


if __name__ == "__main__":
    main()
