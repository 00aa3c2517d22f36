"""The command line's faults: each is named with key, value given, values allowed; all are reported together."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from pydantic import BaseModel
from small_runs import composed

from leukemia_lab import evaluate, train
from leukemia_lab.config import Composer, checked, conf_dir
from leukemia_lab.hashing import content_hash
from leukemia_lab.initial_weights import pretrained_constants
from leukemia_lab.preflight import build_faults
from leukemia_lab.schema import (
    AuditSettings,
    CheckClaimsSettings,
    CompareSettings,
    DownloadSettings,
    EvaluateSettings,
    ExportSettings,
    ReportSettings,
    SplitSettings,
    TrainCommandSettings,
    TrainSettings,
)

BAD_INPUT = 2


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["model=vgg61"],
            ["model: 'vgg61' is no choice", "allowed: alexnet, border_only", "Did you mean vgg19?"],
        ),
        (["optim.lrr=1"], ["optim.lrr: no such key (given '1')", "Did you mean optim.lr?"]),
        (["model.net.widht=3"], ["model.net.widht: no such key", "Did you mean model.net.width?"]),
        (["+model.net.widht=3"], ["takes no such argument (given 3)", "Did you mean model.net.width?"]),
        (
            ["trainer.devices=two"],
            ["trainer.devices: 'two' cannot be used", "allowed: auto or a valid integer"],
        ),
        (["trainer.devices=0"], ["trainer.devices: 0 cannot be used"]),
        (["lr=1e-3"], ["lr: no such key", "Did you mean model.lr or optim.lr?"]),
        (["modell=vgg13"], ["modell: no such key", "Did you mean model?"]),
        (["protocol=subject_kfold", "protocol.fold=9"], ["fold 9 does not exist: the 5 folds are 0 to 4"]),
        (
            ["protocol=official_folds", "protocol.fold=9"],
            ["protocol.fold: 9 cannot be used", "less than or equal to 2"],
        ),
        (["protocol.fold=9"], ["protocol.fold: no such key", "allowed in protocol: name, val_share"]),
        (["model.net.width=abc"], ["model.net.width: 'abc' cannot be used", "valid integer"]),
        (["trainer.precision=bf17"], ["trainer.precision: 'bf17'", "bf16-mixed, 16-mixed, bf16-true"]),
        (["pipeline.log.gaussian_size=4"], ["4 is even", "use 3 or 5"]),
        (["trainer.deterministic=1"], ["trainer.deterministic: 1 cannot be used"]),
        (["seed=-1"], ["seed: -1 cannot be used"]),
        (
            ["optim.optimizer._target_=torch.optim.Adamm"],
            ["torch.optim has no 'Adamm'", "Did you mean Adam?"],
        ),
        (["model.net._target_=my_net.Net"], ["no module 'my_net'", "PYTHONPATH"]),
        (["~model.net.dropout"], ["model.net.dropout: missing; leukemia_lab.nets.small.simple_cnn needs it"]),
        (["model=own"], ["model.net._target_: not set; give model.net._target_=…"]),
        (["model.thaw=2"], ["Did you mean model.thaw_every?"]),
        (["model=svm", "model.features.size=256"], ["model.features.size: 256 cannot be used"]),
        (
            ["model=vgg16", "pipeline.image_size=16"],
            ["needs images of 32 px or more: got 16"],
        ),
        (["foo"], ["foo: not understood", "write key=value"]),
        (["model=simple_cnn,vgg13"], ["several values make a sweep: add -m"]),
        (["-m", "model=simple_cnn,vgg61"], ["model: 'vgg61' is no choice"]),
        (["-m", "optim.lr=1e-3,fast"], ["optim.lr: 'fast' cannot be used"]),
        (["-m", "model=simple_cnn,vgg13", "model.net.width=8"], ["model.net.width: no such key", "hidden"]),
        (["--config-dir", "/no/such/folder"], ["--config-dir /no/such/folder: no such folder"]),
        (["protocol.val_share=0.6", "protocol.test_share=0.4"], ["leave nothing to train on"]),
        (["protocol=random_cells", "protocol.fold=1"], ["fold 1 of no folds: give n_folds too"]),
        (["protocol=random_cells", "protocol.n_folds=5"], ["5 folds: give fold too, 0 to 4 or all"]),
        (["protocol=random_cells", "protocol.n_folds=5", "protocol.fold=5"], ["fold 5 does not exist"]),
        (["model.net.dropout=1.5"], ["model.net.dropout: 1.5 cannot be used"]),
        (["model.net.width=0"], ["model.net.width: 0 cannot be used"]),
        (["model.net.width=16.0"], ["model.net.width: 16.0 cannot be used"]),
        (["model=vgg13", "model.net.batch_norm=no"], ["model.net.batch_norm: 'no' cannot be used"]),
        (["optim.optimizer.betas=[2,3]"], ["torch.optim.AdamW cannot be built", "beta"]),
        (["optim.lr=inf"], ["optim.lr: inf cannot be used"]),
        (
            ["pipeline.log.mode=replace", "pipeline.log.gaussian_size=255"],
            ["too small for a LoG kernel of 257 px", "gaussian_size"],
        ),
        (["-m", "model=vgg13", "pipeline.image_size=128,100"], ["image_size", "96", "128"]),
        (["data=cnmc", "data.root="], ["data.root: empty: give a path"]),
        (["hydra.run.dir=/proc/run"], ["hydra.run.dir=/proc/run cannot be made"]),
        (["-m", "optim.lr=interval(0,1)"], ["takes lists of values, e.g. optim.lr=1,2,3"]),
        (["=3"], ["no such key (given '3')"]),
        (["pipeline.log.mode=append", "pipeline.log.sigma_px=60"], ["are too small for a LoG kernel"]),
        (["--config-name", "other"], ["put your own YAML under --config-dir"]),
        (["data=cnmc"], ["data.root: not set", "CNMC_ROOT"]),
        (["data=folder"], ["data.root: not set", "data.root=/path/to/a/tree/of/class/folders"]),
        (["data=folder", "data.root=.", "data.metadata="], ["data.metadata", "empty: give a path"]),
        (["data=folder", "data.root=.", "data.metadata=3"], ["data.metadata", "3 cannot be used"]),
        (
            ["data=folder", "data.root=.", "data.metadata=gone.csv"],
            ["data.metadata=gone.csv: there is no file"],
        ),
        (["data=cnmc", "data.root=.", "data.metadata=auto"], ["data.metadata: no such key"]),
    ],
)
def test_a_fault_names_key_value_and_what_is_allowed(
    overrides: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(overrides) == BAD_INPUT
    printed = capsys.readouterr().err
    for text in expected:
        assert text in printed
    assert "Traceback" not in printed
    assert not GlobalHydra.instance().is_initialized()


def test_all_faults_are_reported_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        train.main(["model=vgg61", "optim.lrr=1", "trainer.devices=two", "+model.net.depth=2"]) == BAD_INPUT
    )
    printed = capsys.readouterr().err
    assert "4 faults" in printed
    for key in ("model: 'vgg61'", "optim.lrr", "trainer.devices", "model.net.depth"):
        assert key in printed


def test_evaluate_names_the_missing_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert evaluate.main([]) == BAD_INPUT
    assert "run: not set; give run=runs/<name>, or sweep=" in capsys.readouterr().err
    assert evaluate.main([f"run={tmp_path / 'absent'}"]) == BAD_INPUT
    assert "no such folder" in capsys.readouterr().err
    assert evaluate.main(["-m", "run=a,b"]) == BAD_INPUT
    assert "one run at a time" in capsys.readouterr().err


def test_the_traceback_is_there_for_who_asks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LEUKEMIA_LAB_DEBUG", "1")
    assert train.main(["optim.lrr=1"]) == BAD_INPUT
    assert "Traceback" in capsys.readouterr().err


NEEDED_BY = {
    "model": ["model=svm"],  # by model/features=… and model/classifier=…
    "search": ["search=tpe"],  # by search/pruner=…
    "data=manifest": ["data.file=cells.csv"],
    "data=combined": ["data.trees={a:{layout:cnmc,root:x},b:{layout:cnmc,root:y}}"],
    "protocol=manifest": [f"protocol.file={__file__}"],  # any file that is there
    "protocol=leave_one_source_out": ["protocol.source=a"],
    "model=own": ["model.net._target_=leukemia_lab.nets.torchvision_nets.vgg16_extractor"],
}


def with_needed(choice: str) -> list[str]:
    return [choice, *NEEDED_BY.get(choice.partition("/")[0], NEEDED_BY.get(choice, []))]


def choices() -> list[str]:
    """Every choice of every group of `train`."""
    files = [file.relative_to(conf_dir()) for file in conf_dir().glob("*/**/*.yaml")]
    files = [file for file in files if file.parts[0] != "evaluation"]  # no group of train's
    return sorted(f"{file.parent.as_posix()}={file.stem}" for file in files)


def test_there_are_as_many_choices_as_expected() -> None:
    assert len(choices()) == 85


@pytest.mark.parametrize("choice", choices())
def test_every_yaml_composes_binds_and_builds(choice: str) -> None:
    composer = Composer("train", TrainCommandSettings, None)
    config = composer.compose(with_needed(choice))
    assert composer.settings_faults(config) == []
    settings = checked(TrainCommandSettings, config).as_training()
    random_weights = settings.model.model_copy(update={"pretrained": False})  # no download in a test
    refused = ["data: a manifest has no pixels to train on"] if choice == "data=manifest" else []
    faults = build_faults(settings.model_copy(update={"model": random_weights}))
    assert [fault.partition(";")[0] for fault in faults] == refused


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("train", TrainCommandSettings),
        ("evaluate", EvaluateSettings),
        ("export_features", ExportSettings),
        ("download", DownloadSettings),
        ("audit", AuditSettings),
        ("split", SplitSettings),
        ("compare", CompareSettings),
        ("check_claims", CheckClaimsSettings),
        ("report", ReportSettings),
    ],
)
def test_every_primary_config_composes(name: str, settings: type[BaseModel]) -> None:
    composer = Composer(name, settings, None)
    needed = {
        "evaluate": ["run=somewhere"],
        "report": ["runs=somewhere"],
        "check_claims": ["table=somewhere"],
    }
    config = composer.compose(needed.get(name, []))
    assert composer.settings_faults(config) == []
    assert len(list(conf_dir().glob("*.yaml"))) == 9


@pytest.mark.parametrize("choice", [choice for choice in choices() if choice.startswith("model")])
def test_every_source_of_weights_is_there_with_its_constants(choice: str) -> None:
    model = composed(*with_needed(choice)).model
    constants = pretrained_constants(model)
    assert (constants is None) == (model.weights_node is None)
    assert constants is None or (len(constants.mean) == 3 and min(constants.std) > 0)


def test_an_experiment_overrules_the_primary_config_and_the_command_line_overrules_it() -> None:
    composer = Composer("train", TrainSettings, None)
    assert composer.compose(["experiment=demo"]).trainer.max_epochs == 30
    assert composer.compose(["experiment=demo", "trainer.max_epochs=3"]).trainer.max_epochs == 3


def test_a_config_dir_of_the_user_comes_first(tmp_path: Path) -> None:
    (tmp_path / "optim").mkdir()
    shipped = (conf_dir() / "optim" / "adamw.yaml").read_text(encoding="utf-8")
    (tmp_path / "optim" / "mine.yaml").write_text(shipped.replace("lr: auto", "lr: 0.5"), encoding="utf-8")
    composer = Composer("train", TrainSettings, str(tmp_path))
    assert composer.compose(["optim=mine"]).optim.lr == 0.5


def test_the_content_hash_ignores_the_order_of_keys_alone() -> None:
    assert content_hash({"a": 1, "b": 0}) == content_hash({"b": 0, "a": 1})
    assert content_hash({"a": 1, "b": 0}) != content_hash({"a": 1, "b": None})
