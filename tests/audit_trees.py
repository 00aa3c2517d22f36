"""Small trees of drawn cells in the layouts that the audit reads, and their tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from leukemia_lab.data.synthetic import PRELIMINARY_DIB, TRAINING_DIB, encode_bmp

Pixels = npt.NDArray[np.uint8]
SUBJECTS = {"1": "all", "2": "all", "3": "all", "H1": "hem", "h2": "hem", "H4": "hem"}
PRELIMINARY = "C-NMC_test_prelim_phase_data"
TRAINING = "C-NMC_training_data"


def disc(rng: np.random.Generator, side: int) -> Pixels:
    """A purple disc with coarse grain on black, uint8 [side, side, 3]: cheap, and unlike every other."""
    rows, columns = np.ogrid[:side, :side]
    middle = side / 2 + rng.uniform(-0.02, 0.02, 2) * side
    inside = np.hypot(rows - middle[0], columns - middle[1]) < side * rng.uniform(0.2, 0.3)
    grain = rng.normal(0, 15, (9, 9)).repeat(side // 9 + 1, 0).repeat(side // 9 + 1, 1)[:side, :side]
    colour = rng.normal((70, 30, 80), 6)
    pixels: Pixels = (inside[..., None] * np.clip(colour + grain[..., None], 3, 255)).astype(np.uint8)
    return pixels


def write_cnmc(root: Path, seed: int = 0) -> None:
    """Twelve training cells of six subjects in two folds, one of them twice, and four preliminary ones."""
    rng = np.random.default_rng(seed)
    for at, (subject, label) in enumerate(SUBJECTS.items()):
        folder = root / TRAINING / f"fold_{at % 2}" / label
        folder.mkdir(parents=True, exist_ok=True)
        for cell in (1, 2):
            pixels = encode_bmp(disc(rng, 450), TRAINING_DIB)
            (folder / f"UID_{subject}_1_{cell}_{label}.bmp").write_bytes(pixels)
    (root / PRELIMINARY / PRELIMINARY).mkdir(parents=True)
    rows = []
    for number, (subject, label) in enumerate(
        {"11": "all", "12": "all", "H13": "hem", "H14": "hem"}.items(), 1
    ):
        pixels = encode_bmp(disc(rng, 450), PRELIMINARY_DIB)
        (root / PRELIMINARY / PRELIMINARY / f"{number}.bmp").write_bytes(pixels)
        rows.append([f"UID_{subject}_1_1_{label}.bmp", f"{number}.bmp", str(int(label == "all"))])
    write_rows(
        root / PRELIMINARY / f"{PRELIMINARY}_labels.csv", [["Patient_ID", "new_names", "labels"], *rows]
    )


def write_folders(root: Path, seed: int = 0) -> None:
    """Eighteen cells of three classes and nine subjects, as BMP, PNG, JPEG and TIFF."""
    rng = np.random.default_rng(seed)
    for at in range(18):
        folder = root / ("blast", "lymphocyte", "debris")[at % 3]
        folder.mkdir(parents=True, exist_ok=True)
        suffix = ("bmp", "png", "jpg", "tif")[at % 4]
        Image.fromarray(disc(rng, 60)).save(folder / f"S{at % 9}_{at}.{suffix}")


def write_described(root: Path, seed: int = 0) -> None:
    """Sixteen cells in two folders by day, and a metadata.csv that says their class and subject."""
    rng = np.random.default_rng(seed)
    rows = []
    for at in range(16):
        file = root / f"day {at % 2}" / f"ü{at}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(disc(rng, 60)).save(file)
        rows.append([file.relative_to(root).as_posix(), ("ALL", "HEM")[at % 2], f"p{at // 2}", "10x"])
    write_rows(root / "metadata.csv", [["cell", "class", "subject", "lens"], *rows])


def write_rows(file: Path, rows: list[list[str]], encoding: str = "utf-8", end: str = "\n") -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator=end).writerows(rows)
    file.write_bytes(out.getvalue().encode(encoding, "replace"))


def save(root: Path, file: str, image: Pixels) -> None:
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(root / file)


def write_discs(root: Path, files: Sequence[str]) -> None:
    rng = np.random.default_rng(0)
    for file in files:
        save(root, file, disc(rng, 60))
