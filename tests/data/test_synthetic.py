"""The synthetic tree: layout, files and twins."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_synthetic_cells import assert_one_solid_cell

from leukemia_lab.data import synthetic
from leukemia_lab.data.synthetic import SyntheticSpec, encode_bmp, tree_name, twin_pairs, write_tree

SMALL = SyntheticSpec(n_cells=60, n_subjects=10, seed=0, n_twins=2, subject_effect=1.0)
PRELIM = "C-NMC_test_prelim_phase_data"


@pytest.fixture(scope="module")
def small_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic") / tree_name(SMALL)
    assert write_tree(root, SMALL)
    return root


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def cell_table(root: Path) -> pd.DataFrame:
    """One row a file, from nothing but the files and the label table, as a reader of the archive sees them."""
    labels = pd.read_csv(root / PRELIM / f"{PRELIM}_labels.csv")
    original = dict(zip(labels["new_names"], labels["Patient_ID"], strict=True))
    rows = []
    for path in sorted(root.rglob("*.bmp")):
        name = original[path.name] if PRELIM in path.parts else path.name
        _, subject, image, cell, label = name.removesuffix(".bmp").split("_")
        part = PRELIM if PRELIM in path.parts else path.parts[-3]
        rows.append((path, name, subject, int(image), int(cell), label, part))
    return pd.DataFrame(rows, columns=["path", "name", "subject", "image", "cell", "label", "part"])


# --- layout ---------------------------------------------------------------------------------------------------


def test_tree_has_the_archives_layout(small_tree: Path) -> None:
    training = list(small_tree.glob("C-NMC_training_data/fold_[012]/*/UID_*.bmp"))
    preliminary = list(small_tree.glob(f"{PRELIM}/{PRELIM}/*.bmp"))
    assert len(list(small_tree.rglob("*.bmp"))) == len(training) + len(preliminary) == SMALL.n_cells
    assert len(preliminary) == 9
    assert sorted(int(path.stem) for path in preliminary) == list(range(1, 10))
    assert {path.parent.name for path in training} == {"all", "hem"}
    assert all(path.stem.endswith(f"_{path.parent.name}") for path in training)


def test_label_table_names_every_preliminary_file(small_tree: Path) -> None:
    labels = pd.read_csv(small_tree / PRELIM / f"{PRELIM}_labels.csv")
    assert list(labels.columns) == ["Patient_ID", "new_names", "labels"]
    assert set(labels["new_names"]) == {p.name for p in small_tree.glob(f"{PRELIM}/{PRELIM}/*.bmp")}
    assert (labels["labels"] == labels["Patient_ID"].str.endswith("_all.bmp")).all()
    assert set(labels["labels"]) == {0, 1}


def test_names_follow_the_archives_rules(small_tree: Path) -> None:
    cells = cell_table(small_tree)
    assert cells["name"].str.fullmatch(r"UID_H?\d+_\d+_\d+_(all|hem)\.bmp").all()
    assert cells["name"].is_unique
    assert (cells["subject"].str.startswith("H") == (cells["label"] == "hem")).all()
    assert cells["subject"].nunique() == SMALL.n_subjects
    assert (cells.groupby("subject")["part"].nunique() == 1).all()
    for _, numbers in cells.groupby(["subject", "image"])["cell"]:
        assert sorted(numbers) == list(range(1, len(numbers) + 1))


# --- pixels ---------------------------------------------------------------------------------------------------


def test_every_file_is_one_solid_cell_on_black(small_tree: Path) -> None:
    for path in small_tree.rglob("*.bmp"):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("BMP", "RGB", (450, 450))
        assert_one_solid_cell(pixels(path))


def test_files_have_the_real_sizes(small_tree: Path) -> None:
    cells = cell_table(small_tree)
    sizes = cells["path"].map(lambda path: path.stat().st_size)
    assert set(sizes[cells["part"] == PRELIM]) == {608_538}
    twins = cells["subject"].isin([twin for twin, _ in twin_pairs(SMALL)])
    assert set(sizes[(cells["part"] != PRELIM) & ~twins]) == {608_454}
    assert set(sizes[twins]) == {608_454, 608_538}  # some are saved again with another header


@pytest.mark.parametrize("dib_bytes", [40, 124])
@pytest.mark.parametrize("width", [5, 8])
def test_bmp_is_read_back_by_other_programs(dib_bytes: int, width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, width, 3), np.uint8)
    content = encode_bmp(image, dib_bytes)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), image)
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded[..., ::-1], image)
    assert int.from_bytes(content[2:6], "little") == len(content)


def test_headers_equal_those_of_the_real_files(shared_data: Path, small_tree: Path) -> None:
    sample = shared_data / "cnmc_sample"
    for pattern, n_bytes in (("C-NMC_training_data/*/*/*.bmp", 54), (f"{PRELIM}/{PRELIM}/*.bmp", 70)):
        real, ours = (next(root.glob(pattern)).read_bytes()[:n_bytes] for root in (sample, small_tree))
        assert ours == real


# --- twins ----------------------------------------------------------------------------------------------------


def kind_of_copy(twin: Path, source: Path) -> str | None:
    """How `twin` repeats `source`, by comparing files; None if it does not."""
    if twin.read_bytes() == source.read_bytes():
        return "identical"
    a, b = (pixels(path).astype(int) for path in (twin, source))
    if (a == b).all():
        return "header"
    masks = [image.max(axis=2) > 0 for image in (a, b)]
    if (masks[0] == masks[1]).all() and np.abs(a - b).max() <= 2:
        return "grey"
    (ya, xa), (yb, xb) = (np.argwhere(mask).min(axis=0) for mask in masks)
    step = (ya - yb, xa - xb)
    if max(map(abs, step)) <= 3 and (np.roll(b, step, axis=(0, 1)) == a).all():
        return "shift"
    return None


def test_each_twin_cell_is_a_near_copy_of_a_cell_of_its_source(small_tree: Path) -> None:
    paths = cell_table(small_tree).groupby("subject")["path"].apply(list)
    kinds = Counter(
        max(filter(None, (kind_of_copy(twin, source) for source in paths[of])), default=None)
        for name, of in twin_pairs(SMALL)
        for twin in paths[name]
    )
    assert set(kinds) == {"identical", "header", "grey", "shift"}
    assert sum(kinds.values()) >= 10


def test_other_subjects_share_no_pixels(small_tree: Path) -> None:
    twins = {twin for twin, _ in twin_pairs(SMALL)}
    cells = cell_table(small_tree)
    content = [pixels(path).tobytes() for path in cells.loc[~cells["subject"].isin(twins), "path"]]
    assert len(set(content)) == len(content)


def test_shift_never_cuts_a_cell_at_the_border() -> None:
    image = np.zeros((450, 450, 3), np.uint8)
    image[0:260, 200:450] = 9
    for seed in range(10):
        moved = synthetic._near_copy(image, "shift", np.random.default_rng(seed))
        rows, columns = np.nonzero(moved.max(axis=2))
        assert 1 <= rows.min() <= 3
        assert 446 <= columns.max() <= 448
        assert np.ptp(rows) == 259
        assert np.ptp(columns) == 249
