"""Classical baselines and exported features through the real commands, on cells of 32 px."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import kornia
import numpy as np
import pandas as pd
import pytest
import torch
from small_runs import BAD_INPUT, DATA, DONE, MORE_DATA, composed, record_of

from leukemia_lab import evaluate, export_features, train
from leukemia_lab.cells import prepare_cells
from leukemia_lab.data.images import fit_square, read_rgb
from leukemia_lab.estimators.classical import ClassicalFit, Part, fit_classical
from leukemia_lab.evaluation.predictions import read_predictions
from leukemia_lab.experiment import resolve_auto
from leukemia_lab.features.table import read_features
from leukemia_lab.runs import record


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


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
    settings = composed(*DATA)
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
    assert len(table) == 1
    assert len([path for path in (tmp_path / "sweep").iterdir() if path.name.startswith("rf-")]) == 1


@pytest.mark.parametrize("model", ["knn", "svm"])
def test_pixel_baselines_train_and_evaluate(model: str) -> None:
    overrides = [f"model={model}", "model.features.size=8", "model.classifier.pca=10"]
    assert train.main([*DATA, *overrides, "hydra.run.dir=run"]) == DONE
    assert evaluate.main(["run=run"]) == DONE
    assert "input pipeline's output at 8 px" in record_of(Path("run"))["features"]


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
