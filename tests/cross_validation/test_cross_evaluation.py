"""`evaluate` of all folds as one experiment: pooled predictions, looks that are counted, folds that were changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from small_folds import FOLDS, KNN, N_FOLDS, folds_of
from small_runs import BAD_INPUT, DONE, MORE_DATA, NET, metrics_of, record_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from leukemia_lab import evaluate, train
from leukemia_lab.data.split_files import read_split
from leukemia_lab.evaluation.predictions import read_predictions
from leukemia_lab.runs import record

pytestmark = pytest.mark.xdist_group("cross_validation")  # one process, so that its runs are made once


def change_record(folder: Path, **fields: Any) -> None:
    (folder / record.RECORD).write_text(json.dumps(record_of(folder) | fields))


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
