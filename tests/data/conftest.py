"""Small trees of drawn cells in the layouts that the index reads."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

ImageArray = npt.NDArray[np.uint8]
CSV_NAME = "C-NMC_test_prelim_phase_data_labels.csv"
TRAINING_FILES = (
    "fold_0/all/UID_1_1_1_all.bmp",
    "fold_0/all/UID_1_1_2_all.bmp",
    "fold_0/hem/UID_H1_1_1_hem.bmp",
    "fold_1/all/UID_2_1_1_all.bmp",
    "fold_1/hem/UID_H2_12_3_hem.bmp",
    "fold_2/all/UID_10_1_1_all.bmp",
    "fold_2/hem/UID_h3_1_1_hem.bmp",
)
CSV_ROWS = (
    "Patient_ID,new_names,labels",
    "UID_57_29_1_all.bmp,1.bmp,1",
    "UID_H49_35_1_hem.bmp,2.bmp,0",
    "UID_57_22_2_all.bmp,3.bmp,1",  # has no file
)


def _draw_cell(seed: int, side: int = 450, shift: tuple[int, int] = (0, 0)) -> ImageArray:
    """A textured ellipse on black, moved by `shift` rows and columns; the seed sets size and texture."""
    rng = np.random.default_rng(seed)
    radii = rng.uniform(0.15, 0.3, 2) * side
    rows, columns = np.mgrid[:side, :side]
    centre = side / 2 + np.array(shift)
    inside = ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 < 1
    grain = Image.fromarray(rng.integers(30, 200, (9, 9, 3), dtype=np.uint8))
    texture = np.roll(np.asarray(grain.resize((side, side), Image.Resampling.BILINEAR)), shift, axis=(0, 1))
    return np.where(inside[:, :, np.newaxis], texture, 0).astype(np.uint8)


def _write_v5_bmp(path: Path, image: ImageArray) -> None:
    """A 24-bit BMP with the 124-byte header of C-NMC's preliminary files, which Pillow does not write."""
    height, width = image.shape[:2]
    rows = np.zeros((height, -(-width * 3 // 4) * 4), np.uint8)
    rows[:, : width * 3] = image[::-1, :, ::-1].reshape(height, -1)
    header = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 24, 0, rows.size, 2835, 2835, 0, 0)
    file_header = struct.pack("<2sIHHI", b"BM", 138 + rows.size, 0, 0, 138)
    path.write_bytes(file_header + header.ljust(124, b"\0") + rows.tobytes())


def save(path: Path, image: ImageArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture
def draw_cell() -> Callable[..., ImageArray]:
    return _draw_cell


@pytest.fixture
def write_v5_bmp() -> Callable[[Path, ImageArray], None]:
    return _write_v5_bmp


@pytest.fixture
def cnmc_tree(tmp_path: Path) -> Callable[..., Path]:
    """Write 7 training, 2 preliminary (of 3 rows) and 1 final-phase images; returns the top folder."""

    def write(mirror: bool = False) -> Path:
        top = tmp_path / ("C-NMC_Leukemia" if mirror else "C-NMC")
        training = top / ("training_data" if mirror else "C-NMC_training_data")
        outer = top / ("validation_data" if mirror else "C-NMC_test_prelim_phase_data")
        final = top / ("testing_data" if mirror else "C-NMC_test_final_phase_data")
        prelim = outer / "C-NMC_test_prelim_phase_data"
        for seed, file in enumerate(TRAINING_FILES):
            save(training / file, _draw_cell(seed))
        prelim.mkdir(parents=True)
        _write_v5_bmp(prelim / "1.bmp", _draw_cell(20))
        _write_v5_bmp(prelim / "2.bmp", _draw_cell(21))
        (outer / CSV_NAME).write_text("\n".join(CSV_ROWS) + "\n")
        save(final / "C-NMC_test_final_phase_data" / "1.bmp", _draw_cell(22, side=600))
        return top

    return write


@pytest.fixture
def class_tree(tmp_path: Path) -> Callable[..., Path]:
    """Write `cells` drawn images a class, named `<class>/<subject>/<subject>_<n>.png`, two a subject."""

    def write(classes: tuple[str, ...] = ("blast", "normal"), cells: int = 4, side: int = 64) -> Path:
        root = tmp_path / "classes"
        for class_number, name in enumerate(classes):
            for cell in range(cells):
                subject = f"{name[0]}{cell // 2}"
                seed = 100 * class_number + cell
                save(root / name / subject / f"{subject}_{cell}.png", _draw_cell(seed, side))
        return root

    return write
