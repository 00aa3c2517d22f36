"""`evaluate` through its real entry point: the test part is opened for the right run alone, and each look counts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_runs import BAD_INPUT, DONE, SOME_FAILED, metrics_of, record_of

from leukemia_lab import evaluate
from leukemia_lab.data.split_files import read_split
from leukemia_lab.evaluation.predictions import read_predictions

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_evaluate_opens_the_test_part_and_counts_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    validation = metrics_of(run)["val"]
    assert evaluate.main([f"run={run}"]) == DONE
    printed = capsys.readouterr().out
    assert "test" in printed
    assert "[SYNTHETIC]" in printed
    assert str(run) in printed.replace("\n", "")
    document = metrics_of(run)
    assert record_of(run)["test_looks"] == 1
    assert document["stamps"] == ["SYNTHETIC"]
    assert document["val"] == validation
    table = read_predictions(run / "predictions.parquet")
    split = read_split(run / "split.parquet").table
    test = table[table["part"] == "test"]
    assert sorted(test["cell_id"]) == sorted(split.loc[split["part"] == "test", "cell_id"])
    assert document["test"]["accuracy"]["n_cells"] == len(test)
    predicted = test["prob_ALL"] >= 0.5
    assert document["test"]["accuracy"]["value"] == pytest.approx(
        (predicted == (test["label"] == "ALL")).mean()
    )

    assert evaluate.main([f"run={run}"]) == DONE
    assert record_of(run)["test_looks"] == 2
    assert metrics_of(run)["stamps"] == record_of(run)["stamps"] == ["SYNTHETIC", "TEST SEEN 2 TIMES"]
    assert metrics_of(run)["test"] == document["test"]


def test_evaluate_refuses_an_unfinished_run_and_changed_data(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    about = record_of(run)
    (run / "record.json").write_text(json.dumps(about | {"data_fingerprint": "0" * 64}))
    assert evaluate.main([f"run={run}"]) == BAD_INPUT
    assert "are not those that it was trained on" in capsys.readouterr().err
    (run / "record.json").write_text(json.dumps(about | {"split_hash": "0" * 64}))
    assert evaluate.main([f"run={run}"]) == BAD_INPUT
    assert "split.parquet is not the one" in capsys.readouterr().err
    (run / "record.json").write_text(json.dumps(about | {"status": "interrupted"}))
    assert evaluate.main([f"run={run}"]) == BAD_INPUT
    assert "repeat its train command" in capsys.readouterr().err
    (run / "record.json").write_text(json.dumps(about))
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("image_size: 32", "image_size: 64"))
    assert evaluate.main([f"run={run}"]) == BAD_INPUT
    assert "config.yaml is not the one it was trained with" in capsys.readouterr().err
    (run / "config.yaml").write_text(config)
    assert evaluate.main([f"run={run}", "data_root=/no/such/folder"]) == BAD_INPUT
    assert "data_root=/no/such/folder does not exist" in capsys.readouterr().err
    (run / "predictions.parquet").rename(run / "away")
    assert evaluate.main([f"run={run}"]) == BAD_INPUT
    assert "predictions.parquet is missing" in capsys.readouterr().err
    (run / "config.yaml").write_text("model: [")
    assert evaluate.main([f"run={run}"]) == BAD_INPUT
    assert "config.yaml cannot be read" in capsys.readouterr().err
    assert record_of(run)["test_looks"] == 0


def test_evaluate_finds_data_that_moved(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = shutil.copytree(record_of(run)["data_root"], tmp_path / "moved")
    assert evaluate.main([f"run={run}", f"data_root={moved}"]) == DONE
    assert metrics_of(run)["stamps"] == ["SYNTHETIC"]


def test_a_look_counts_also_where_evaluating_fails(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug after the test part was opened")

    monkeypatch.setattr("leukemia_lab.net_runs.predict", broken)
    assert evaluate.main([f"run={run}"]) == SOME_FAILED
    assert record_of(run)["test_looks"] == 1


def test_a_renamed_run_is_still_the_same_run(run: Path, tmp_path: Path) -> None:
    assert evaluate.main([f"run={run.rename(tmp_path / 'renamed')}"]) == DONE


def test_a_least_sensitivity_without_a_positive_class_is_refused_before_the_look(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    about = record_of(run)
    (run / "record.json").write_text(json.dumps(about | {"positive": None}))
    assert evaluate.main([f"run={run}", "evaluation.min_sensitivity=0.95"]) == BAD_INPUT
    assert "none is the positive one" in capsys.readouterr().err
    assert record_of(run)["test_looks"] == about["test_looks"]


def test_a_folder_of_runs_is_no_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main([f"run={run.parent}"]) == BAD_INPUT
    assert f"is a folder of 1 runs: give one of them, run={run}" in capsys.readouterr().err
