"""The main job on real files; skipped, with the reason, where they are absent."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from leukemia_lab import evaluate, train
from leukemia_lab.data.split_files import read_split
from leukemia_lab.runs import record

QUICK = ("model.net.width=4", "pipeline.image_size=32", "trainer.max_epochs=2")
CSV = "C-NMC_test_prelim_phase_data_labels.csv"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def mirror(shared_data: Path, tmp_path: Path) -> Path:
    """The same cells in the common mirror's layout."""
    root = tmp_path / "mirror"
    inside = root / "C-NMC_Leukemia"
    archive = shared_data / "cnmc_sample"
    prelim = archive / "C-NMC_test_prelim_phase_data"
    shutil.copytree(archive / "C-NMC_training_data", inside / "training_data")
    shutil.copytree(prelim / prelim.name, inside / "validation_data" / prelim.name)
    shutil.copy(prelim / CSV, inside / "validation_data" / CSV)
    return root


def cells_of(folder: Path) -> pd.DataFrame:
    return read_split(folder / record.SPLIT).table


def test_the_sample_in_the_archives_layout_trains(
    shared_data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root = shared_data / "cnmc_sample"
    command = ["data=cnmc", f"data.root={root}", "model=simple_cnn", *QUICK, "hydra.run.dir=run"]
    assert train.main(command) == 0
    printed = capsys.readouterr().err
    assert "1863 of 1867 rows" in printed
    assert "have no file" in printed
    assert "tied: H2 and H6 share 2 cell(s)" in printed
    assert "tied: H3 and H10 share 1 cell(s)" in printed
    table = cells_of(tmp_path / "run")
    assert len(table) == 58
    assert table["subject"].nunique() == 26
    assert "H3" in set(table["subject"])
    assert (
        table["group"].tolist() == table["subject"].tolist()
    )  # single copies merge nothing, but tie names to one part
    for tied in (["H2", "H6"], ["H3", "H10"]):
        assert table.loc[table["subject"].isin(tied), "part"].nunique() == 1
    assert record.read_json(tmp_path / "run" / record.METRICS)["stamps"] == []
    assert evaluate.main(["run=run"]) == 0


def test_the_mirrors_layout_gives_the_same_cells(
    shared_data: Path, mirror: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    archive = shared_data / "cnmc_sample"
    for name, root in (("a", archive), ("b", mirror), ("c", mirror / "C-NMC_Leukemia")):
        command = ["data=cnmc", f"data.root={root}", *QUICK, f"hydra.run.dir={name}", "trainer.max_epochs=1"]
        assert train.main(command) == 0
        assert "1863 of 1867 rows" in capsys.readouterr().err
    names = [[Path(cell).name for cell in cells_of(tmp_path / run)["cell_id"]] for run in "abc"]
    assert sorted(names[0]) == sorted(names[1]) == sorted(names[2])


def test_the_root_comes_from_the_environment_too(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNMC_ROOT", str(shared_data / "cnmc_sample"))
    assert train.main(["data=cnmc", *QUICK, "trainer.max_epochs=1"]) == 0


def test_the_challenge_protocol_tests_on_the_preliminary_part(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "cnmc_sample"
    command = ["data=cnmc", f"data.root={root}", "protocol=challenge", *QUICK, "hydra.run.dir=run"]
    assert train.main(command) == 0
    table = cells_of(tmp_path / "run")
    assert len(table) == 62
    assert table.loc[table["part"] == "test", "cell_id"].str.contains("prelim").all()
    assert (table["part"] == "test").sum() == 4


def test_class_folders_without_subjects_train_under_random_cells_alone(
    shared_data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = ["data=folder", f"data.root={shared_data / 'pbc_sample'}", *QUICK, "hydra.run.dir=run"]
    assert train.main(data) == 2
    assert "data.subject_pattern" in capsys.readouterr().err
    assert train.main([*data, "protocol=random_cells"]) == 0
    document = record.read_json(tmp_path / "run" / record.METRICS)
    assert document["stamps"] == ["LEAKY", "NO SUBJECTS"]
    assert set(document["per_class"]["val"]) == {"erythroblast", "ig", "lymphocyte"}


def test_class_folders_with_a_pattern_have_subjects(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "cnmc_sample" / "C-NMC_training_data"
    for file in source.rglob("*.bmp"):
        target = tmp_path / "tree" / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    command = ["data=folder", "data.root=tree", "data.subject_pattern='UID_(?P<subject>[^_]+)_'"]
    assert train.main([*command, "data.positive_class=all", *QUICK, "hydra.run.dir=run"]) == 0
    assert cells_of(tmp_path / "run")["subject"].nunique() == 26


@pytest.mark.slow
def test_three_classes_of_real_cells_are_told_apart(shared_data: Path, tmp_path: Path) -> None:
    """The command of the README, with its figure."""
    data = ["data=folder", f"data.root={shared_data / 'pbc_sample'}", "protocol=random_cells"]
    assert train.main([*data, "experiment=blood_cells_small", "hydra.run.dir=run"]) == 0
    document = record.read_json(tmp_path / "run" / record.METRICS)
    assert document["val"]["balanced_accuracy"]["value"] >= 0.85
