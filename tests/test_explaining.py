from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from small_runs import DATA, DONE, NET
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from leukemia_lab import evaluate, explaining, train
from leukemia_lab.cells import read_cells
from leukemia_lab.data.datamodule import CellDataModule
from leukemia_lab.estimators.attribution import NoSpatialMapError
from leukemia_lab.estimators.fit import load_model
from leukemia_lab.estimators.neural import CellClassifier
from leukemia_lab.evaluating import trained_cells, trained_settings
from leukemia_lab.evaluation.pictures import LARGEST_BYTES, SIDE_PX
from leukemia_lab.evaluation.predictions import read_predictions
from leukemia_lab.experiment import data_module
from leukemia_lab.explaining import explain
from leukemia_lab.runs import record
from leukemia_lab.runs.record import RunFolder
from leukemia_lab.runs.tensorboard import logging_to

SCHEMA = {"method", "library", "layer", "reason", "mass_on_cell", "area_share", "mass_reason", "n_errors"}
CELL = {"cell_id", "subject", "group", "label", "predicted", "prob_predicted", "prob_true", "mass_on_cell"}


@dataclass
class Explained:
    """A finished run with what `explain` takes."""

    folder: RunFolder
    predictions: pd.DataFrame
    data: CellDataModule
    model: CellClassifier

    def again(self, model: CellClassifier | None) -> dict[str, Any]:
        with logging_to(self.folder.path) as logger:
            explain(self.folder, "val", self.predictions, self.data, model, logger, 0)
        return document(self.folder.path, "val")


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Explained:
    shutil.copytree(finished_run, tmp_path / "run")
    folder = RunFolder.existing(tmp_path / "run")
    settings = trained_settings(folder, None)
    cells = trained_cells(settings, folder, read_cells(settings))
    data = data_module(settings, cells, torch.device("cpu"), 16)
    predictions = read_predictions(folder.path / record.PREDICTIONS)
    return Explained(folder, predictions, data, load_model(folder.path / folder.record["best_checkpoint"]))


def document(folder: Path, part: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "explained" / part / "cells.json").read_text("utf-8"))
    return content


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def wrong(predictions: pd.DataFrame, part: str) -> pd.DataFrame:
    """The errors of a two-class run, by the definition."""
    rows = predictions[predictions["part"] == part]
    predicted = np.where(rows["prob_ALL"] >= rows["prob_HEM"], "ALL", "HEM")
    rows = rows.assign(predicted=predicted, sure=rows[["prob_ALL", "prob_HEM"]].max(axis=1))
    rows = rows[rows["label"] != rows["predicted"]]
    return rows.sort_values(["sure", "cell_id"], ascending=[False, True])


def check(folder: Path, part: str, stages: set[str]) -> dict[str, Any]:
    found = document(folder, part)
    expected = wrong(read_predictions(folder / record.PREDICTIONS), part)
    assert set(found) == SCHEMA | {"cells", "sample"}
    assert found["n_errors"] == len(expected)
    assert [cell["cell_id"] for cell in found["cells"]] == list(expected["cell_id"].head(16))
    np.testing.assert_allclose(
        [cell["prob_predicted"] for cell in found["cells"]], expected["sure"].head(16), atol=1e-6
    )
    files = {"cells.json"}
    for cell in found["cells"]:
        assert set(cell) == CELL | {"area_share", "files"}
        assert {stage for stage, file in cell["files"].items() if file is not None} == stages
        files |= {file for file in cell["files"].values() if file is not None}
    assert set(contents(folder / "explained" / part)) == files
    for file in files - {"cells.json"}:
        path = folder / "explained" / part / file
        assert path.stat().st_size <= LARGEST_BYTES
        assert Image.open(path).size == (SIDE_PX, SIDE_PX)
    assert (folder / "figures" / f"errors_{part}.png").exists() == bool(found["cells"])
    return found


def test_train_shows_val_and_evaluate_the_test_part(finished_run: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    folder = tmp_path / "run"
    assert not (folder / "explained" / "test").exists()
    assert evaluate.main([f"run={folder}"]) == DONE
    for part in ("val", "test"):
        found = check(folder, part, {"cell", "attribution"})
        assert found["layer"] == "features.11"
        assert found["library"].startswith("captum ")
        assert found["reason"] is None
        assert found["mass_on_cell"]["n_cells"] == found["area_share"]["n_cells"] <= len(found["sample"])
        known = [cell for cell in found["sample"] if cell["mass_on_cell"] is not None]
        for name in ("mass_on_cell", "area_share"):
            values = [cell[name] for cell in known]
            assert found[name]["median"] == pytest.approx(np.median(values), abs=1e-5)
            assert found[name]["mean"] == pytest.approx(np.mean(values), abs=1e-5)
            assert all(0 <= value <= 1 for value in values)
        assert {cell["label"] for cell in found["sample"]} == {"ALL", "HEM"}
    board = EventAccumulator(str(folder / "tensorboard")).Reload()
    tags = set(board.Tags()["images"])
    assert {"errors/val", "errors/test", "attribution/val", "attribution/test"} <= tags


@pytest.mark.parametrize("mode", ["replace", "append", "sharpen"])
def test_a_filtered_input_is_shown_too(mode: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    given = (*DATA, *NET, "trainer.max_epochs=1", f"pipeline.log.mode={mode}", f"hydra.run.dir={folder}")
    assert train.main(given) == DONE
    found = check(folder, "val", {"cell", "input", "attribution"})
    assert found["cells"], "a net of one epoch makes errors"
    files = contents(folder / "explained" / "val")
    assert files["00_input.jpg"] != files["00_cell.jpg"]


def test_a_classical_run_shows_its_errors_without_maps(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert train.main([*DATA, "model=knn", f"hydra.run.dir={folder}"]) == DONE
    found = check(folder, "val", {"cell"})
    assert found["reason"] == "knn is no neural net: it has no layer to look into"
    assert (found["layer"], found["mass_on_cell"], found["mass_reason"]) == (None, None, None)


def test_the_pictures_are_of_the_cells_that_they_name(run: Explained) -> None:
    found = run.again(run.model)
    settings = trained_settings(run.folder, None)
    index = read_cells(settings).index
    of_cell = {cell_id: row for row, cell_id in enumerate(index.table["cell_id"])}
    for cell in found["cells"]:
        image = np.asarray(run.data.cells.images[of_cell[cell["cell_id"]]])
        expected = Image.fromarray(image).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
        shown = Image.open(run.folder.path / "explained" / "val" / cell["files"]["cell"])
        assert np.abs(np.asarray(shown).astype(int) - np.asarray(expected)).mean() < 4
        assert cell["area_share"] == pytest.approx((image.max(axis=2) > 2).mean(), abs=1e-6)


def test_is_the_same_every_time_and_replaces_the_whole_folder(run: Explained) -> None:
    where = run.folder.path / "explained" / "val"
    before = contents(where)
    (where / "99_cell.jpg").write_bytes(b"of an earlier look")
    run.again(run.model)
    assert contents(where) == before
    assert [entry.name for entry in where.parent.iterdir()] == ["val"]


def test_no_errors_leave_an_empty_list_and_no_figure(run: Explained) -> None:
    sure = (run.predictions["label"] == "ALL").astype(float)
    run.predictions = run.predictions.assign(prob_ALL=sure, prob_HEM=1 - sure)
    found = run.again(run.model)
    assert (found["cells"], found["n_errors"]) == ([], 0)
    assert found["sample"]
    assert set(contents(run.folder.path / "explained" / "val")) == {"cells.json"}
    assert not (run.folder.path / "figures" / "errors_val.png").exists()


def test_without_a_black_background_the_mass_has_a_reason(run: Explained) -> None:
    run.data.cells.images = np.maximum(np.asarray(run.data.cells.images), 40)
    found = run.again(run.model)
    assert found["mass_on_cell"] is None
    assert "no black background" in found["mass_reason"]
    assert all(cell["mass_on_cell"] is None for cell in found["cells"])
    assert all(cell["files"]["attribution"] is not None for cell in found["cells"])


def test_a_net_without_a_map_keeps_its_result_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*given: Any) -> None:
        raise NoSpatialMapError("this net goes on with tokens")

    monkeypatch.setattr(explaining, "grad_cam", refuse)
    folder = tmp_path / "run"
    assert train.main([*DATA, *NET, "trainer.max_epochs=1", f"hydra.run.dir={folder}"]) == DONE
    assert check(folder, "val", {"cell"})["reason"] == "NoSpatialMapError: this net goes on with tokens"
    said = capsys.readouterr()
    assert "note: no Grad-CAM of part val" in said.out + said.err
    assert record.read_json(folder / record.RECORD)["status"] == "finished"


def test_what_cannot_be_written_is_said_and_breaks_nothing(
    run: Explained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*given: Any) -> bytes:
        raise OSError("No space left on device")

    before = contents(run.folder.path / "explained" / "val")
    monkeypatch.setattr(explaining, "jpeg", full)
    run.again(run.model)
    said = capsys.readouterr()
    assert "are not shown: OSError: No space left on device" in said.out + said.err
    assert contents(run.folder.path / "explained" / "val") == before
    assert [entry.name for entry in (run.folder.path / "explained").iterdir()] == ["val"]


def test_the_model_stays_where_and_as_it_was(run: Explained) -> None:
    state = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.again(run.model)
    assert run.model.device.type == "cpu"
    assert all(torch.equal(value, state[name]) for name, value in run.model.state_dict().items())
