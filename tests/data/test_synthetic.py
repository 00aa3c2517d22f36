"""The synthetic tree: layout, pixels, statistics, twins, and that it is written once, wholly and repeatably."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from leukemia_lab.data import synthetic, synthetic_cells
from leukemia_lab.data.synthetic import SyntheticSpec, encode_bmp, tree_name, twin_pairs, write_tree
from leukemia_lab.data.synthetic_cells import SubjectLook, draw_cell
from leukemia_lab.data.synthetic_plan import plan_subjects, subject_looks
from leukemia_lab.errors import DataError

SMALL = SyntheticSpec(n_cells=60, n_subjects=10, seed=0, n_twins=2, subject_effect=1.0)
TINY = SyntheticSpec(n_cells=8, n_subjects=8, seed=5, n_twins=0, subject_effect=1.0)
DEFAULT = SyntheticSpec(n_cells=1000, n_subjects=40, seed=0, n_twins=2, subject_effect=1.0)
PRELIM = "C-NMC_test_prelim_phase_data"
AVERAGE = SubjectLook(side=0, brightness=0, hue=0, blur=0, contrast=0, grain=0, lace=0)


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


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


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


def test_default_plan_has_the_shares_of_the_real_data() -> None:
    cells = pd.DataFrame([vars(s) for s in plan_subjects(DEFAULT)])
    preliminary = cells["part"] == "preliminary"
    assert cells["n_cells"].sum() == 1000
    assert cells.loc[preliminary, "n_cells"].sum() == 150
    assert preliminary.sum() == 11
    assert cells.loc[~preliminary & (cells["label"] == "all"), "n_cells"].sum() == 0.68 * 850
    assert cells["n_cells"].max() > 5 * cells["n_cells"].median()
    folds = cells[~preliminary].groupby(["part", "label"])["n_cells"].sum().unstack()
    assert (folds.max() < 1.1 * folds.min()).all()
    assert cells[~preliminary].groupby(["part", "label"]).size().min() >= 3


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 6), st.integers(0, 40), st.integers(0, 400), st.integers(0, 10**9), st.floats(0, 2))
def test_every_allowed_spec_has_a_sound_plan(
    n_twins: int, more_subjects: int, more_cells: int, seed: int, subject_effect: float
) -> None:
    n_subjects = 8 + n_twins + more_subjects
    spec = SyntheticSpec(n_subjects + more_cells, n_subjects, seed, n_twins, subject_effect)
    subjects = {s.name: s for s in plan_subjects(spec)}
    assert len(subjects) == n_subjects
    assert sum(s.n_cells for s in subjects.values()) == spec.n_cells
    assert min(s.n_cells for s in subjects.values()) >= 1
    strata = {(s.part, s.label) for s in subjects.values() if s.source is None}
    assert len(strata) == 8  # each class in three folds and the preliminary part
    pairs = twin_pairs(spec)
    assert len(pairs) == n_twins
    for twin, source in ((subjects[a], subjects[b]) for a, b in pairs):
        assert source.source is None
        assert twin.label == source.label
        assert twin.part != source.part
        assert {twin.part, source.part} <= {"fold_0", "fold_1", "fold_2"}
        assert twin.n_cells <= source.n_cells
    looks = subject_looks(spec, list(subjects.values()))
    assert all(np.isfinite(list(vars(look).values())).all() for look in looks.values())


def test_subject_looks_have_the_asked_spread_over_the_cells() -> None:
    subjects = [s for s in plan_subjects(DEFAULT) if s.source is None and s.label == "hem"]
    weights = [s.n_cells for s in subjects]
    for effect in (0.0, 1.0, 1.5):
        looks = subject_looks(replace(DEFAULT, subject_effect=effect), plan_subjects(DEFAULT))
        sides = np.array([looks[s.name].side for s in subjects])
        assert np.average(sides, weights=weights) == pytest.approx(0, abs=1e-12)
        assert np.average(sides**2, weights=weights) == pytest.approx(effect**2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed is -1: give 0 or more"),
        ({"n_twins": -2}, "n_twins is -2: give 0 or more"),
        ({"subject_effect": -0.1}, "subject_effect is -0.1: give 0.0"),
        ({"subject_effect": float("nan")}, "subject_effect is nan"),
        ({"n_subjects": 9}, r"n_subjects is 9: give at least 10, which is 8 .* plus n_twins=2"),
        ({"n_cells": 9}, "n_cells is 9: give at least n_subjects=10"),
        ({"n_cells": 3, "n_subjects": 4}, "n_subjects is 4.*; n_cells is 3"),
    ],
)
def test_impossible_specs_are_refused(tmp_path: Path, change: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_tree(tmp_path / "tree", replace(SMALL, **change))
    assert list(tmp_path.iterdir()) == []


# --- pixels ---------------------------------------------------------------------------------------------------


def assert_one_solid_cell(image: np.ndarray) -> None:
    foreground = image.max(axis=2) > 0
    assert image.shape == (450, 450, 3)
    assert image[foreground].min() >= 1
    assert ndimage.label(foreground)[1] == 1
    np.testing.assert_array_equal(foreground, ndimage.binary_fill_holes(foreground))


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


def test_smears_leave_one_solid_cell_and_some_reach_the_border(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic_cells, "SMEAR_RATE", 1.0)
    images = [draw_cell(("all", "hem")[i % 2], AVERAGE, np.random.default_rng(i)) for i in range(60)]
    for image in images:
        assert_one_solid_cell(image)
    at_border = [image[[0, -1]].any() or image[:, [0, -1]].any() for image in images]
    assert 1 <= sum(at_border) <= 20


def test_largest_piece_is_kept_and_its_holes_are_filled() -> None:
    mask = np.zeros((12, 12), np.uint8)
    mask[1:8, 1:8] = 1
    mask[3, 3] = 0  # a hole
    mask[8:11, 8:11] = 1  # meets the large piece at a corner only
    expected = np.zeros_like(mask)
    expected[1:8, 1:8] = 1
    np.testing.assert_array_equal(synthetic_cells._one_solid_piece(mask), expected)


def test_noise_has_unit_variance_and_the_asked_scale() -> None:
    field = synthetic_cells._noise(8.0, (400, 300), np.random.default_rng(0))
    assert field.shape == (400, 300)
    assert field.mean() == pytest.approx(0, abs=1e-3)
    assert field.std() == pytest.approx(1, abs=1e-3)
    # White noise blurred with sd s is correlated as exp(-d^2 / 4 s^2): exp(-1/4) at d = s.
    assert np.corrcoef(field[8:].ravel(), field[:-8].ravel())[0, 1] == pytest.approx(np.exp(-0.25), abs=0.06)


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


# --- statistics -----------------------------------------------------------------------------------------------


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

    cells = cell_table(root)
    with ThreadPoolExecutor(2) as pool:
        return cells.join(pd.DataFrame(list(pool.map(of_cell, cells["path"]))))


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
    assert len(cells) == 1000
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


# --- writing --------------------------------------------------------------------------------------------------


def test_same_seed_gives_the_same_bytes_in_another_process(tmp_path: Path, small_tree: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from leukemia_lab.data import synthetic\n"
        "synthetic.ThreadPoolExecutor = lambda: ThreadPoolExecutor(1)\n"
        f"synthetic.write_tree(pathlib.Path(sys.argv[1]), synthetic.{SMALL!r})\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "again")], check=True, timeout=120)
    assert digests(tmp_path / "again") == digests(small_tree)


def test_another_seed_gives_other_cells(tmp_path: Path) -> None:
    trees = {}
    for seed in (5, 6):
        write_tree(tmp_path / str(seed), replace(TINY, seed=seed))
        trees[seed] = {h for name, h in digests(tmp_path / str(seed)).items() if name.endswith(".bmp")}
    assert len(trees[5]) == TINY.n_cells
    assert trees[5].isdisjoint(trees[6])


def test_tree_name_depends_on_every_value_and_on_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[dict[str, float]] = [
        {},
        {"n_cells": 61},
        {"n_subjects": 11},
        {"seed": 1},
        {"n_twins": 1},
        {"subject_effect": 0.0},
    ]
    names = [tree_name(replace(SMALL, **change)) for change in changes]
    assert tree_name(replace(SMALL)) == names[0]
    monkeypatch.setattr(synthetic, "GENERATOR_VERSION", synthetic.GENERATOR_VERSION + 1)
    names.append(tree_name(SMALL))
    assert len(set(names)) == 7


def test_manifest_tells_stamp_spec_files_and_twins(small_tree: Path) -> None:
    manifest = json.loads((small_tree / "synthetic.json").read_text())
    assert manifest["stamp"] == "SYNTHETIC"
    assert manifest["complete"] is True
    assert SyntheticSpec(**manifest["spec"]) == SMALL
    assert [tuple(pair) for pair in manifest["twins"]] == twin_pairs(SMALL)
    on_disk = {
        p.relative_to(small_tree).as_posix(): p.stat().st_size for p in small_tree.rglob("*.*") if p.is_file()
    }
    del on_disk["synthetic.json"]
    assert manifest["files"] == on_disk


def test_whole_tree_is_left_alone_and_a_damaged_one_repaired(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    assert write_tree(root, TINY)
    before = digests(root)
    assert not write_tree(root, TINY)
    lost, cut, kept = sorted(root.rglob("*.bmp"))[:3]
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:1000])
    (root / PRELIM / f"{PRELIM}_labels.csv").unlink()
    written_at = kept.stat().st_mtime_ns
    assert write_tree(root, TINY)
    assert digests(root) == before
    assert kept.stat().st_mtime_ns == written_at


def interrupt_after(n_cells: int) -> Callable[..., np.ndarray]:
    drawn = iter(range(n_cells))

    def draw(*args: object) -> np.ndarray:
        if next(drawn, None) is None:
            raise KeyboardInterrupt
        return draw_cell(*args)  # type: ignore[arg-type]

    return draw


def test_interrupted_tree_is_completed(tmp_path: Path) -> None:
    write_tree(tmp_path / "whole", TINY)
    root = tmp_path / "tree"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "draw_cell", interrupt_after(3))
        with pytest.raises(KeyboardInterrupt):
            write_tree(root, TINY)
    assert json.loads((root / "synthetic.json").read_text())["complete"] is False
    assert len(list(root.rglob("*.bmp"))) == 3
    assert write_tree(root, TINY)
    assert digests(root) == digests(tmp_path / "whole")


def test_death_before_the_first_manifest_is_no_obstacle(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    (root / ".synthetic.json.partial").write_text("{")
    assert write_tree(root, TINY)
    assert not (root / ".synthetic.json.partial").exists()


def test_two_writers_at_once_write_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        wrote = list(pool.map(lambda _: write_tree(tmp_path / "tree", TINY), range(2)))
    assert sorted(wrote) == [False, True]


@pytest.mark.parametrize("content", ["holiday", '{"spec": {}}', "[]"])
def test_other_peoples_files_are_never_touched(tmp_path: Path, content: str) -> None:
    name = "notes.txt" if content == "holiday" else "synthetic.json"
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / name).write_text(content)
    with pytest.raises(DataError, match=r"is not our synthetic data\. Nothing was written\. Give a new"):
        write_tree(tmp_path / "tree", TINY)
    assert [path.name for path in (tmp_path / "tree").iterdir()] == [name]


def test_a_tree_of_another_spec_is_refused(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", TINY)
    before = digests(tmp_path / "tree")
    with pytest.raises(DataError, match=r"'seed': 5.*asked for was.*'seed': 6.*delete this one"):
        write_tree(tmp_path / "tree", replace(TINY, seed=6))
    assert digests(tmp_path / "tree") == before


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DataError, match=r"Cannot write synthetic data to .*tree: .*Give a folder with 5 MB free"
    ):
        write_tree(tmp_path / "file" / "tree", TINY)


def test_size_on_disk_is_told_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tree(tmp_path / "tree", TINY)
    assert "SYNTHETIC data: 8 of 8 cells, 5 MB" in capsys.readouterr().err
