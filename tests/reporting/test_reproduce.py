"""A run is repeated by the command that its record gives: tried through the real commands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_runs import DATA, DONE, MORE_DATA, NET, composed, record_of

from leukemia_lab import evaluate, train
from leukemia_lab.config import Composer, plain
from leukemia_lab.experiment import resolve_auto
from leukemia_lab.multirun import ABOUT_SWEEPS
from leukemia_lab.reporting.reproduce import rebuilt_overrides, recipe
from leukemia_lab.runs import record
from leukemia_lab.schema import TrainCommandSettings

COMPOSER = Composer("train", TrainCommandSettings, None)
KNN = ("model=knn", "model.features.size=8", "model.classifier.grid.n_neighbors=[3]")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def compose(overrides: Sequence[str]) -> dict[str, Any]:
    return {
        key: value for key, value in plain(COMPOSER.compose(overrides)).items() if key not in ABOUT_SWEEPS
    }


def config_of(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((folder / record.CONFIG).read_text(encoding="utf-8"))
    return config


def words(command: str | None) -> list[str]:
    assert command is not None
    return shlex.split(command)


def trained(*overrides: str) -> Path:
    assert train.main([*overrides, "hydra.run.dir=first"]) == DONE
    return Path("first")


def repeated(command: str | None) -> Path:
    """The run folder that the command makes, which is the only one under runs/."""
    assert words(command)[:3] == ["python", "-m", "leukemia_lab.train"]
    assert train.main(words(command)[3:]) == DONE
    (folder,) = Path("runs").iterdir()
    return folder


@pytest.mark.parametrize(
    "overrides",
    [
        (*DATA, *NET, "force=true", "seed=3"),
        (*DATA, *KNN),
        (*DATA, *NET, "trainer.accelerator=auto", "augment=none"),
    ],
)
def test_the_recorded_command_makes_the_same_run(overrides: tuple[str, ...]) -> None:
    first = trained(*overrides)
    assert record_of(first)["overrides"] == list(overrides)
    command = recipe(record_of(first), config_of(first)).train
    assert "force" not in words(command)
    assert "hydra" not in str(command)
    second = repeated(command)
    assert record_of(second)["identity"] == record_of(first)["identity"]
    assert record_of(second)["split_hash"] == record_of(first)["split_hash"]


def test_evaluating_is_repeated_where_the_test_part_was_opened() -> None:
    first = trained(*DATA, *NET)
    assert recipe(record_of(first), config_of(first)).evaluate is None
    assert evaluate.main([f"run={first}", "test_time=dihedral"]) == DONE
    found = recipe(record_of(first), config_of(first))
    folder = repeated(found.train)
    assert words(found.evaluate) == [
        "python",
        "-m",
        "leukemia_lab.evaluate",
        f"run={folder}",
        "test_time=dihedral",
    ]
    assert evaluate.main(words(found.evaluate)[3:]) == DONE
    assert record_of(folder)["test_time"] == "dihedral"


def test_the_jobs_of_a_sweep_record_single_values() -> None:
    sweep = [*DATA, *KNN, "seed=0,1", "protocol.seed=5", "hydra.sweep.dir=sweep"]
    assert train.main(["-m", *sweep]) == DONE
    folders = sorted(Path("sweep").glob("knn-*"))
    typed = [set(record_of(folder)["overrides"]) for folder in folders]
    assert sorted(seed for words in typed for seed in words if seed.startswith("seed=")) == [
        "seed=0",
        "seed=1",
    ]
    assert all({"protocol.seed=5", "model.classifier.grid.n_neighbors=[3]"} <= words for words in typed)
    found = recipe(record_of(folders[0]), config_of(folders[0]))
    assert repeated(found.train).name == folders[0].name


def test_a_cross_validation_and_each_of_its_folds_can_be_repeated() -> None:
    folder = trained(*MORE_DATA, *KNN, "protocol=subject_kfold", "protocol.n_folds=2", "protocol.fold=all")
    whole = recipe(record_of(folder), config_of(folder))
    assert "protocol.fold=all" in words(whole.train)
    assert sum("split hash" in need for need in whole.needs) == 2
    fold = folder / "fold_1"
    assert record_of(fold)["overrides"] is None
    one = recipe(record_of(fold), config_of(fold), compose)
    assert repeated(one.train).name == f"knn-{record_of(fold)['identity']}"


def test_a_folder_of_configs_of_ones_own_is_part_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "own" / "optim").mkdir(parents=True)
    (tmp_path / "own" / "optim" / "slow.yaml").write_text("defaults: [adamw, _self_]\nlr: 1e-5\n")
    first = trained(*DATA, *NET, "--config-dir=own", "optim=slow")
    assert record_of(first)["overrides"][0] == "--config-dir=own"
    command = recipe(record_of(first), config_of(first)).train
    assert record_of(repeated(command))["identity"] == record_of(first)["identity"]


def test_what_is_typed_is_quoted_for_the_shell() -> None:
    pattern = r"data.subject_pattern='UID (?P<subject>[^_]+)_$HOME'"
    about = {"overrides": ["data=folder", pattern, "hydra.run.dir=x", "hydra/launcher=y", "force=true"]}
    command = recipe(about, {"data": {"name": "folder"}, "trainer": {"accelerator": "cpu"}}).train
    expected = ["data=folder", pattern, "trainer.accelerator=cpu"]
    assert words(command) == ["python", "-m", "leukemia_lab.train", *expected]


CHOICES = [
    ("model=simple_cnn", "data=synthetic_small", "seed=4", "model.net.width=7"),
    ("model=knn", "model/features=morphology"),
    ("model=vgg16_rf", "model.features.weights=null", "model.pretrained=false"),
    ("model=timm", "model.net.name=resnet18", "model.pretrained=false"),
    ("experiment=smoke", "augment=strong", "optim=sgd_paper", "balance=focal", "trainer.patience=null"),
    (
        "data=folder",
        r"data.subject_pattern='a\\\'b(?P<subject>\d+)_'",
        "data.positive_class='1.5'",
        "data.root='a b'",
    ),
    (
        "data=folder",
        "data.positive_class='null'",
        r"data.subject_pattern='(?P<subject>.)\\'",
        "protocol=random_cells",
    ),
    (
        "data=combined",
        "data.trees={a:{layout:cnmc,root:/x},b:{layout:folder,root:'y z',classes:{p:ALL,q:null}}}",
    ),
    (
        "optim.optimizer.betas=[0.5,0.9]",
        "pipeline.log.sigma_px=1e-7",
        "protocol=subject_kfold",
        "protocol.fold=3",
    ),
]


@pytest.mark.parametrize("overrides", CHOICES, ids=" ".join)
def test_overrides_are_rebuilt_from_a_config(overrides: tuple[str, ...]) -> None:
    config = resolve_auto(composed(*overrides)).model_dump(mode="json")
    found = rebuilt_overrides(config, compose)
    assert found is not None
    again = resolve_auto(composed(*found)).model_dump(mode="json")
    assert again == config


def test_a_config_from_before_a_key_was_there_is_rebuilt() -> None:
    config = resolve_auto(composed("seed=4")).model_dump(mode="json")
    del config["permute_labels"]
    found = rebuilt_overrides(config, compose)
    assert found is not None
    assert composed(*found).permute_labels is None


def broken(_: Sequence[str]) -> Mapping[str, Any]:
    raise ValueError("no such choice")


@pytest.mark.parametrize("composer", [None, broken, lambda _: {"model": {}}])
def test_no_command_is_made_up(composer: Any) -> None:
    config = compose(["model=simple_cnn"])
    found = recipe({"identity": "0"}, config, composer)
    assert found.train is None
    assert "config.yaml" in str(found.reason)


def test_a_config_of_another_version_is_not_rebuilt() -> None:
    config = compose(["model=simple_cnn"])
    del config["pipeline"]["normalise"]
    config["optim"]["a_key_of_old"] = 3

    def strict(overrides: Sequence[str]) -> Mapping[str, Any]:
        return composed(*overrides).model_dump(mode="json")

    assert rebuilt_overrides(config, strict) is None


def test_needs_name_code_data_and_split() -> None:
    about = {"commit": "abc+changes", "data_fingerprint": "f00", "data_root": "/data", "split_hash": "5417"}
    needed = recipe(about | {"overrides": []}, {"data": {"name": "cnmc", "root": "/data"}}).needs
    text = "\n".join(needed)
    assert "commit abc with changes that were never committed" in text
    assert "fingerprint f00; they were at /data" in text
    assert "hash 5417" in text
    drawn = recipe(about, {"data": {"name": "synthetic", "root": None}, "model": {"name": "x"}}).needs
    assert "which the command draws itself: fingerprint f00" in "\n".join(drawn)
    assert json.dumps(drawn)


def test_numbers_made_in_another_way_are_made_so_again() -> None:
    first = trained(*DATA, *KNN)
    chosen = ["level=0.9", "interval=bootstrap", "calibration=isotonic", "min_sensitivity=0.75"]
    overrides = [f"evaluation.{word}" for word in chosen]
    assert evaluate.main([f"run={first}", *overrides]) == DONE
    metrics = json.loads((first / "metrics.json").read_text())
    found = recipe(record_of(first), config_of(first), metrics=metrics)
    assert words(found.evaluate)[4:] == overrides
    assert evaluate.main([f"run={first}"]) == DONE
    metrics = json.loads((first / "metrics.json").read_text())
    assert words(recipe(record_of(first), config_of(first), metrics=metrics).evaluate)[4:] == []
