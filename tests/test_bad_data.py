"""Bad trees through `train`: exit status 2, no traceback, what and where and what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from leukemia_lab import train
from leukemia_lab.data.synthetic import SyntheticSpec, write_tree

BAD_INPUT = 2
TRAINING, PRELIM = "C-NMC_training_data", "C-NMC_test_prelim_phase_data"
CSV = f"{PRELIM}/{PRELIM}_labels.csv"


@pytest.fixture(scope="module")
def whole_tree(tmp_path_factory: pytest.TempPathFactory, cache_of_its_own: Path) -> Path:
    root = tmp_path_factory.mktemp("trees") / "whole"
    write_tree(root, SyntheticSpec(n_cells=64, n_subjects=10, seed=0, n_twins=1, subject_effect=1.0))
    return root


@pytest.fixture
def tree(whole_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(whole_tree, tmp_path / "tree"))


def command(root: Path, *more: str) -> list[str]:
    quick = ["model.net.width=4", "pipeline.image_size=32", "trainer.max_epochs=1"]
    return ["data=cnmc", f"data.root={root}", *quick, *more]


def first(root: Path, folder: str) -> Path:
    return min((root / TRAINING).glob(f"fold_0/{folder}/*.bmp"))


def fails_with(capsys: pytest.CaptureFixture[str], arguments: list[str], *expected: str) -> None:
    assert train.main(arguments) == BAD_INPUT
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    for text in expected:
        assert text in printed


def test_a_missing_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails_with(capsys, command(tmp_path / "absent"), "absent does not exist", "Set data.root")


def test_an_empty_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    fails_with(capsys, command(tmp_path / "empty"), "it is empty", "Set data.root or CNMC_ROOT", TRAINING)


def damage_truncated(root: Path) -> Path:
    file = first(root, "all")
    file.write_bytes(file.read_bytes()[:100_000])
    return file


def damage_text(root: Path) -> Path:
    file = first(root, "hem")
    file.write_text("this is no image")
    return file


def damage_class(root: Path) -> Path:
    file = first(root, "all")
    return file.rename(file.with_name(file.name.replace("_all", "_hem")))


@pytest.mark.parametrize(
    ("damage", "fault"),
    [(damage_truncated, "truncated"), (damage_text, "not an image"), (damage_class, "class contradiction")],
)
def test_a_bad_file_stops_training_until_it_is_left_out(
    tree: Path, damage, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = damage(tree)
    fails_with(capsys, command(tree), file.name, fault, "data.bad_files=skip")
    assert train.main(command(tree, "data.bad_files=skip")) == 0
    printed = capsys.readouterr().err
    assert "left out: " in printed
    assert f"{file.name}: {fault}" in printed


def test_a_csv_with_a_missing_column(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tree / CSV
    table.write_text(table.read_text().replace("new_names", "names"))
    fails_with(capsys, command(tree), "new_names", CSV, "Patient_ID, names, labels")


def test_a_fold_that_does_not_exist(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails_with(capsys, command(tree, "protocol=subject_kfold", "protocol.fold=9"), "0 to 4")


def test_a_class_with_fewer_subjects_than_folds(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = command(tree, "protocol=subject_kfold", "protocol.n_folds=9")
    fails_with(capsys, arguments, "SplitError", "class ALL has", "subjects", "9 folds")


def test_an_image_size_that_vgg13_cannot_take(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data=cnmc", f"data.root={tree}", "model=vgg13", "pipeline.image_size=100"]
    fails_with(capsys, arguments, "image_size", "96", "128")


def test_imagenet_constants_do_not_fit_the_log(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = command(tree, "pipeline.log.mode=replace", "pipeline.normalise=imagenet")
    fails_with(capsys, arguments, "pipeline.normalise=imagenet holds for RGB", "pipeline.normalise=train")


@pytest.mark.parametrize("mode", ["replace", "append", "sharpen"])
def test_every_log_mode_trains(tree: Path, mode: str) -> None:
    assert train.main(command(tree, f"pipeline.log.mode={mode}", "pipeline.log.stencil=sampled")) == 0
