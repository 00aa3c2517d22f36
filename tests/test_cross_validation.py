"""All folds as one experiment, through the real commands on a tiny synthetic tree."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from small_runs import BAD_INPUT, DONE, INTERRUPTED, MORE_DATA, NET, composed, record_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from leukemia_lab import evaluate, export_features, train
from leukemia_lab.cells import fold_settings, read_cells
from leukemia_lab.classical_runs import train_classical
from leukemia_lab.data.split_files import read_split
from leukemia_lab.errors import HeldRunError, TrainingError
from leukemia_lab.evaluation.metrics import METRICS
from leukemia_lab.evaluation.predictions import read_predictions
from leukemia_lab.runs import record
from leukemia_lab.schema import TrainSettings

pytestmark = pytest.mark.xdist_group("cross_validation")  # one process, so that its runs are made once

KNN = (*MORE_DATA, "model=knn", "model.features.size=8", "model.classifier.grid.n_neighbors=[5]")
FOLDS = (*KNN, "protocol=subject_kfold", "protocol.fold=all")
N_FOLDS = 5


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "cv"
    assert train.main([*FOLDS, f"hydra.run.dir={folder}"]) == DONE
    return folder


@pytest.fixture(scope="module")
def evaluated(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("evaluated") / "cv"))
    assert evaluate.main([f"run={folder}"]) == DONE
    return folder


@pytest.fixture
def run(evaluated: Path, tmp_path: Path) -> Path:
    """A copy of the evaluated cross-validation that a test may change."""
    return Path(shutil.copytree(evaluated, tmp_path / "cv"))


def metrics_of(folder: Path) -> dict[str, Any]:
    return record.read_json(folder / record.METRICS)


def folds_of(folder: Path) -> list[Path]:
    return [folder / f"fold_{k}" for k in range(N_FOLDS)]


def change_record(folder: Path, **fields: Any) -> None:
    (folder / record.RECORD).write_text(json.dumps(record_of(folder) | fields))


def settings(*overrides: str) -> TrainSettings:
    return composed(*overrides)


def test_every_cell_is_predicted_once_by_the_model_that_never_saw_its_group(evaluated: Path) -> None:
    table = read_predictions(evaluated / record.PREDICTIONS)
    assert set(table["part"]) == {"test"}
    assert table["cell_id"].is_unique
    for k, fold in enumerate(folds_of(evaluated)):
        split = read_split(fold / record.SPLIT).table
        assert sorted(table["cell_id"]) == sorted(split["cell_id"])
        tested = table[table["fold"] == k].reset_index(drop=True)
        assert set(tested["group"]).isdisjoint(split.loc[split["part"] != "test", "group"])
        own = read_predictions(fold / record.PREDICTIONS).query("part == 'test'").reset_index(drop=True)
        pd.testing.assert_frame_equal(tested, own)
        assert set(tested["run_id"]) == {record_of(fold)["identity"]}


def test_pooled_metrics_are_scikit_learns_on_the_pooled_table(evaluated: Path) -> None:
    table = read_predictions(evaluated / record.PREDICTIONS)
    document = metrics_of(evaluated)
    test = {name: metric["value"] for name, metric in document["test"].items()}
    truth, score = (table["label"] == "ALL").to_numpy(), table["prob_ALL"].to_numpy()
    said = score >= 0.5
    expected = {
        "accuracy": sklearn.metrics.accuracy_score(truth, said),
        "balanced_accuracy": sklearn.metrics.balanced_accuracy_score(truth, said),
        "sensitivity": sklearn.metrics.recall_score(truth, said),
        "specificity": sklearn.metrics.recall_score(~truth, ~said),
        "precision": sklearn.metrics.precision_score(truth, said),
        "f1": sklearn.metrics.f1_score(truth, said),
        "weighted_f1": sklearn.metrics.f1_score(truth, said, average="weighted"),
        "auroc": sklearn.metrics.roc_auc_score(truth, score),
        "auprc": sklearn.metrics.average_precision_score(truth, score),
        "mcc": sklearn.metrics.matthews_corrcoef(truth, said),
        "brier": sklearn.metrics.brier_score_loss(truth, score),
    }
    assert {name: test[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert document["test"]["auroc"]["n_cells"] == len(table)
    assert sum(about["n_cells"] for about in document["per_subject"]["test"].values()) == len(table)
    aurocs = [metrics_of(fold)["test"]["auroc"]["value"] for fold in folds_of(evaluated)]
    assert [fold["test"]["auroc"] for fold in document["per_fold"]] == aurocs
    assert [fold["fold"] for fold in document["per_fold"]] == list(range(N_FOLDS))
    assert document["test_mean"]["auroc"]["value"] == pytest.approx(np.mean(aurocs), abs=1e-12)
    assert document["test_mean"]["auroc"]["value"] != pytest.approx(test["auroc"], abs=1e-4)
    assert (evaluated / record.FIGURES / "confusion_test.png").exists()


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


def test_looks_are_counted_in_each_fold_and_outlast_force(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert metrics_of(run)["stamps"] == ["SYNTHETIC"]
    assert evaluate.main([f"run={run}/fold_3"]) == DONE  # one fold alone
    assert evaluate.main([f"run={run}"]) == DONE
    printed = capsys.readouterr().out
    assert "scores of different models" in " ".join(printed.split())
    assert "opened 3 time(s)" in printed
    assert [record_of(fold)["test_looks"] for fold in folds_of(run)] == [2, 2, 2, 3, 2]
    assert metrics_of(run)["stamps"] == record_of(run)["stamps"] == ["SYNTHETIC", "TEST SEEN 3 TIMES"]
    assert train.main([*FOLDS, "force=true", f"hydra.run.dir={run}"]) == DONE
    assert "test" not in metrics_of(run)
    assert not (run / record.PREDICTIONS).exists()
    assert record_of(run)["test_looks"] == 3
    assert [record_of(fold)["test_looks"] for fold in folds_of(run)] == [2, 2, 2, 3, 2]


def test_predictions_that_do_not_test_each_cell_once_are_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = metrics_of(run)
    tables = {fold: read_predictions(fold / record.PREDICTIONS) for fold in folds_of(run)}
    first = tables[folds_of(run)[0]]
    n_cells = sum((table["part"] == "test").sum() for table in tables.values())
    lost = first.loc[first["part"] == "test", "cell_id"].iloc[0]
    tables[folds_of(run)[0]] = first[first["cell_id"] != lost]
    monkeypatch.setattr("leukemia_lab.cross_evaluation.read_predictions", lambda path: tables[path.parent])
    assert evaluate.main([f"run={run}"]) == BAD_INPUT
    said = f"1 of {n_cells} cells are not tested once over its 5 folds ({lost}: 0 times)"
    assert said in capsys.readouterr().err
    tables[folds_of(run)[0]], second = first, folds_of(run)[1]
    tables[second] = pd.concat([tables[second], first[first["cell_id"] == lost]])
    assert evaluate.main([f"run={run}"]) == BAD_INPUT
    assert f"({lost}: 2 times)" in capsys.readouterr().err
    assert metrics_of(run) == before


def test_a_fold_that_was_replaced_is_refused_before_any_test_part_is_opened(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_record(run / "fold_4", identity="0123456789ab")
    assert evaluate.main([f"run={run}"]) == BAD_INPUT
    assert "holds another run (0123456789ab)" in capsys.readouterr().err
    assert [record_of(fold)["test_looks"] for fold in folds_of(run)] == [1] * N_FOLDS


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


def test_a_net_on_the_official_folds(tmp_path: Path) -> None:
    given = [*MORE_DATA, *NET, "trainer.max_epochs=1", "protocol=official_folds", "protocol.fold=all"]
    assert train.main([*given, "hydra.run.dir=cv"]) == DONE
    assert evaluate.main(["run=cv", "test_time=dihedral"]) == DONE
    folder = tmp_path / "cv"
    table = read_predictions(folder / record.PREDICTIONS)
    split = read_split(folder / "fold_0" / record.SPLIT).table
    homes = table.set_index("cell_id")["fold"].loc[split["cell_id"]]
    assert homes.tolist() == split["fold"].tolist()
    assert set(homes) == {0, 1, 2}
    document = metrics_of(folder)
    assert document["stamps"] == ["SYNTHETIC", "DIHEDRAL AVERAGING"]
    values = [metrics_of(folder / f"fold_{k}")["val"]["auroc"]["value"] for k in range(3)]
    assert document["val"]["auroc"]["folds"] == values  # as they are after averaging
    assert document["objective"] == record_of(folder)["objective"]


def test_the_dashboard_has_one_row_for_the_whole(evaluated: Path) -> None:
    found: dict[str, list[float]] = {}
    pictures: set[str] = set()
    for file in (evaluated / "tensorboard").glob("events*"):
        events = EventAccumulator(str(file)).Reload()
        for tag in events.Tags()["scalars"]:
            found.setdefault(tag, []).extend(event.value for event in events.Scalars(tag))
        pictures.update(events.Tags()["images"])
    assert "confusion/test" in pictures
    document = metrics_of(evaluated)
    assert found["hp/test/auroc"] == [pytest.approx(document["test"]["auroc"]["value"], abs=1e-6)]
    assert found["hp/val/auroc"][-1] == pytest.approx(document["objective"], abs=1e-6)


def test_random_cells_too_tests_each_cell_once_under_its_stamp(tmp_path: Path) -> None:
    folder = tmp_path / "random"
    protocol = ("protocol=random_cells", "protocol.n_folds=2", "protocol.fold=all")
    assert train.main([*KNN, *protocol, f"hydra.run.dir={folder}"]) == DONE
    assert evaluate.main([f"run={folder}"]) == DONE
    table = read_predictions(folder / record.PREDICTIONS)
    assert sorted(table["cell_id"]) == sorted(read_split(folder / "fold_0" / record.SPLIT).table["cell_id"])
    assert table.groupby("subject")["fold"].nunique().max() == 2
    assert "LEAKY" in metrics_of(folder)["stamps"]
