"""`train` of all folds as one experiment, through the real commands on a tiny synthetic tree."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_folds import FOLDS, KNN, N_FOLDS, folds_of
from small_runs import BAD_INPUT, DONE, INTERRUPTED, composed, metrics_of, record_of

from leukemia_lab import evaluate, export_features, train
from leukemia_lab.cells import fold_settings, read_cells
from leukemia_lab.classical_runs import train_classical
from leukemia_lab.data.split_files import read_split
from leukemia_lab.errors import HeldRunError, TrainingError
from leukemia_lab.evaluation.metrics import METRICS
from leukemia_lab.runs import record
from leukemia_lab.schema import TrainSettings

pytestmark = pytest.mark.xdist_group("cross_validation")  # one process, so that its runs are made once


def settings(*overrides: str) -> TrainSettings:
    return composed(*overrides)


def test_validation_is_the_mean_of_the_folds_and_the_test_part_stays_closed(finished: Path) -> None:
    document, about = metrics_of(finished), record_of(finished)
    assert "test" not in document
    assert set(document["val"]) == set(METRICS)
    for name in METRICS:
        values = [metrics_of(fold)["val"][name]["value"] for fold in folds_of(finished)]
        assert document["val"][name]["folds"] == values
        assert document["val"][name]["value"] == pytest.approx(np.mean(values), abs=1e-12)
        assert document["val"][name]["sd_over_folds"] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    assert document["objective"] == about["objective"] == document["val"]["auroc"]["value"]
    assert (about["kind"], about["status"], about["stamps"]) == (
        "cross_validation",
        "finished",
        ["SYNTHETIC"],
    )
    assert about["seconds"] > 0
    assert [fold["run"] for fold in about["folds"]] == [path.name for path in folds_of(finished)]
    for fold, path in zip(about["folds"], folds_of(finished), strict=True):
        own = record_of(path)
        assert (own["split_hash"], own["identity"]) == (fold["split_hash"], fold["identity"])
        assert (own["status"], own["test_looks"]) == ("finished", 0)
    assert len({fold["split_hash"] for fold in about["folds"]}) == N_FOLDS


def test_the_balance_of_the_folds_is_recorded_and_shown(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = read_split(folds_of(finished)[0] / record.SPLIT).table
    for k, fold in enumerate(record_of(finished)["balance"]):
        for label, counts in fold["classes"].items():
            rows = table[(table["fold"] == k) & (table["label"] == label)]
            assert counts["cells"] == len(rows)
            assert counts["cells_share"] == pytest.approx(len(rows) / (table["label"] == label).sum())
            assert counts["subjects"] == len(set(rows["subject"]))
            assert counts["groups"] == len(set(rows["group"]))
    assert train.main([*FOLDS, f"hydra.run.dir={finished}"]) == DONE
    printed = capsys.readouterr()
    assert "finished before" in printed.err
    assert "Features of part" not in printed.err  # nothing is trained again
    assert "Test part of each fold" in printed.out
    assert "mean of 5 folds" in printed.out


def test_each_fold_is_the_run_that_it_would_be_alone(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(finished, tmp_path / "cv")
    assert train.main([*FOLDS[:-1], "protocol.fold=1", f"hydra.run.dir={folder}/fold_1"]) == DONE
    assert "finished before" in capsys.readouterr().err
    index = read_cells(settings(*KNN)).index
    alone = settings("protocol=subject_kfold", "protocol.fold=1")
    assert fold_settings(alone, index) == [alone]
    assert fold_settings(settings(), index) == [settings()]
    assert fold_settings(settings("protocol=subject_kfold", "protocol.fold=all"), index)[1] == alone


def test_the_folder_depends_on_what_changes_a_result_alone(finished: Path, tmp_path: Path) -> None:
    identity = record_of(finished)["identity"]
    shutil.copytree(finished, tmp_path / "runs" / f"knn-{identity}")
    assert train.main([*FOLDS, "trainer.num_workers=1", "data.bad_files=skip"]) == DONE
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [f"knn-{identity}"]


def test_another_experiment_in_the_folder_is_refused(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = record_of(finished)
    for other in ("protocol.n_folds=4", "protocol.fold=0"):
        assert train.main([*FOLDS, other, f"hydra.run.dir={finished}"]) == BAD_INPUT
        assert "holds another run" in capsys.readouterr().err
    assert record_of(finished) == before


def test_an_interrupted_cross_validation_goes_on_where_it_was(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained: list[int] = []

    def stopped(given: TrainSettings, *rest: Any) -> Any:
        fold = getattr(given.protocol, "fold")  # noqa: B009
        if fold == 2 and fold not in trained:
            trained.append(fold)
            raise KeyboardInterrupt
        trained.append(fold)
        return train_classical(given, *rest)

    monkeypatch.setattr("leukemia_lab.training.train_classical", stopped)
    command = [*FOLDS, "hydra.run.dir=cv"]
    assert train.main(command) == INTERRUPTED
    folder = tmp_path / "cv"
    assert record_of(folder)["status"] == record_of(folder / "fold_2")["status"] == "interrupted"
    assert not (folder / "fold_3").exists()
    assert evaluate.main(["run=cv"]) == BAD_INPUT
    assert "repeat its train command" in capsys.readouterr().err
    assert train.main(command) == DONE
    assert trained == [0, 1, 2, 2, 3, 4]
    assert metrics_of(folder) == metrics_of(finished)


def test_a_fold_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(given: TrainSettings, *rest: Any) -> Any:
        if given.protocol.model_dump()["fold"] == 1:
            raise TrainingError("training diverged. Lower optim.lr.", nan_step=3)
        return train_classical(given, *rest)

    monkeypatch.setattr("leukemia_lab.training.train_classical", broken)
    assert train.main([*FOLDS, "hydra.run.dir=cv"]) == TrainingError.exit_status
    said = "TrainingError: fold 1 of 5 (cv/fold_1): training diverged."
    assert said in capsys.readouterr().err
    about = record_of(tmp_path / "cv")
    assert about["status"] == record_of(tmp_path / "cv" / "fold_1")["status"] == "failed"
    assert about["error"].startswith(said)
    assert about["nan_step"] == 3


def test_a_fold_that_another_process_has_does_not_fail_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(*_: Any) -> None:
        raise HeldRunError("another process is at work on this run")

    monkeypatch.setattr("leukemia_lab.training.train_classical", held)
    assert train.main([*FOLDS, "hydra.run.dir=cv"]) == HeldRunError.exit_status
    assert record_of(tmp_path / "cv")["status"] == "interrupted"


def test_one_run_is_asked_for_where_one_is_needed(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export_features.main([f"run={finished}"]) == BAD_INPUT
    printed = capsys.readouterr().err
    assert f"is a cross-validation of 5 runs, here one is needed: give run={finished}/fold_0" in printed
    assert export_features.main(["protocol=subject_kfold", "protocol.fold=all"]) == BAD_INPUT
    assert "protocol.fold=all stands for several splits, here one is needed" in capsys.readouterr().err


def test_folds_that_are_not_there_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["protocol=subject_kfold", "protocol.fold=5"]) == BAD_INPUT
    assert "the 5 folds are 0 to 4" in capsys.readouterr().err
    assert train.main(["protocol=official_folds", "protocol.fold=every"]) == BAD_INPUT
    assert "protocol.fold: 'every' cannot be used; allowed: a valid integer or all" in capsys.readouterr().err


def test_a_sweep_has_one_row_a_cross_validation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = [*FOLDS, "protocol.n_folds=2", "model.features.size=4,8", "hydra.sweep.dir=sweep"]
    assert train.main(["-m", *sweep]) == DONE
    printed = capsys.readouterr().out
    assert "mean ± SD of 2 folds" in printed
    assert "Test part of each fold" not in printed
    table = pd.read_csv(tmp_path / "sweep" / "table.csv")
    assert table["status"].tolist() == ["finished", "finished"]
    for run, auroc, objective in zip(table["run"], table["auroc"], table["objective"], strict=True):
        folds = [metrics_of(tmp_path / "sweep" / run / f"fold_{k}")["val"]["auroc"]["value"] for k in (0, 1)]
        assert auroc == objective == pytest.approx(np.mean(folds))
