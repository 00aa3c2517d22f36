"""The command compare, on tiny runs made by the real commands: pairs, many, seeds, ensembles, folds, and refusals."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from small_runs import BAD_INPUT, DONE, MORE_DATA, record_of

from leukemia_lab import compare, evaluate, train
from leukemia_lab.comparing import SELECTION_PART
from leukemia_lab.evaluation.metrics import METRICS
from leukemia_lab.evaluation.predictions import read_predictions
from leukemia_lab.runs import record

pytestmark = pytest.mark.xdist_group("compare")  # one process, so that its runs are made once

KNN = (*MORE_DATA, "model=knn", "model.features.size=8")
FOLDS = ("protocol=subject_kfold", "protocol.fold=all", "protocol.n_folds=3")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of evaluated runs: three of one split, of which two differ in the seed alone; one of another split."""
    folder = tmp_path_factory.mktemp("made")
    for name, own in {
        "runs/k1": ("model.classifier.grid.n_neighbors=[1]",),
        "runs/k5": ("model.classifier.grid.n_neighbors=[5]",),
        "runs/k5-again": ("model.classifier.grid.n_neighbors=[5]", "seed=1"),
        "other/k5": ("model.classifier.grid.n_neighbors=[5]", "protocol.seed=5"),
    }.items():
        assert train.main([*KNN, *own, f"hydra.run.dir={folder / name}"]) == DONE
        assert evaluate.main([f"run={folder / name}"]) == DONE
    return folder


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two evaluated cross-validations of the same cells on different splits, with twins merged and apart."""
    folder = tmp_path_factory.mktemp("folds")
    for name, own in {"a": (), "b": ("protocol.seed=3", "protocol.twins=ignore")}.items():
        grid = f"model.classifier.grid.n_neighbors=[{5 if name == 'a' else 1}]"
        assert train.main([*KNN, *FOLDS, grid, *own, f"hydra.run.dir={folder / name}"]) == DONE
        assert evaluate.main([f"run={folder / name}"]) == DONE
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may change."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(made, tmp_path / "made"))


def document_of(*overrides: str, output: Path) -> dict[str, Any]:
    assert compare.main([*overrides, f"output={output}"]) == DONE
    document: dict[str, Any] = json.loads((output / "comparison.json").read_text())
    return document


def refusal(capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    assert compare.main([*overrides]) == BAD_INPUT
    return capsys.readouterr().err


def test_two_runs(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    document = document_of(f"a={runs}/runs/k1", f"b={runs}/runs/k5", output=tmp_path / "out")
    printed = capsys.readouterr().out
    assert "a = k1" in printed
    assert "McNemar (exact)" in printed
    assert "take every cell for independent" in " ".join(printed.split())
    assert "[SYNTHETIC]" in printed
    tables = [read_predictions(runs / "runs" / name / record.PREDICTIONS) for name in ("k1", "k5")]
    tested = [table[table["part"] == "test"].sort_values("cell_id") for table in tables]
    areas = [sklearn.metrics.roc_auc_score(table["label"] == "ALL", table["prob_ALL"]) for table in tested]
    (pair,) = document["pairs"]
    assert (pair["a"], pair["b"], document["part"]) == ("k1", "k5", "test")
    assert list(pair["metrics"]) == list(METRICS)
    assert pair["metrics"]["auroc"]["difference"] == pytest.approx(areas[0] - areas[1], abs=1e-9)
    right = [(t["prob_ALL"] >= 0.5).to_numpy() == (t["label"] == "ALL").to_numpy() for t in tested]
    assert pair["mcnemar"]["only_a_right"] == int((right[0] & ~right[1]).sum())
    assert pair["mcnemar"]["ignores_clustering"] is pair["delong"]["ignores_clustering"] is True
    assert document["stamps"] == ["SYNTHETIC"]
    with (tmp_path / "out" / "comparison.csv").open() as file:
        rows = {row["metric"]: row for row in csv.DictReader(file)}
    assert float(rows["auroc"]["difference"]) == pair["metrics"]["auroc"]["difference"]
    assert {row["stamps"] for row in rows.values()} == {"SYNTHETIC"}
    assert float(rows["auroc"]["value_a"]) == pytest.approx(areas[0])
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before


def test_a_folder_of_runs_with_seeds_and_an_ensemble(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ensemble = f"ensemble=[{runs}/runs/k1,{runs}/runs/k5]"
    document = document_of(f"runs={runs}/runs", ensemble, "metric=brier", output=tmp_path / "out")
    printed = " ".join(capsys.readouterr().out.split())
    assert "letters" in printed
    assert "brier over seeds [SYNTHETIC]" in printed
    rows = document["runs"]
    assert {row["name"] for row in rows} == {"k1", "k5", "k5-again", "ensemble of 2"}
    assert len(document["pairs"]) == 6
    values = [row["metrics"]["brier"]["value"] for row in rows]
    assert values == sorted(values)  # the least is the best
    assert rows[0]["rank"] == 1
    assert "a" in rows[0]["letters"]
    by_name = {row["name"]: row for row in rows}
    assert by_name["k5"]["letters"] == by_name["k5-again"]["letters"]
    assert len(by_name["ensemble of 2"]["members"]) == 2
    (seeds,) = document["seeds"]
    assert sorted(seeds["runs"]) == ["k5", "k5-again"]
    assert sorted(seeds["seeds"]) == [0, 1]
    assert seeds["metrics"]["auroc"]["sd"] == 0  # nearest neighbours know no seed


def test_without_test_predictions_everywhere_the_validation_part_is_compared(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = runs / "runs" / "k1" / record.PREDICTIONS
    table = read_predictions(path)
    table[table["part"] != "test"].to_parquet(path)
    pair = (f"a={runs}/runs/k1", f"b={runs}/runs/k5")
    document = document_of(*pair, output=tmp_path / "out")
    assert document["part"] == "val"
    assert SELECTION_PART in document["notes"]
    said = refusal(capsys, *pair, "part=test")
    assert "Only `evaluate` opens the test part" in said
    assert record_of(runs / "runs" / "k1")["test_looks"] == 1


def test_different_splits_are_refused_and_both_hashes_named(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(capsys, f"a={runs}/runs/k5", f"b={runs}/other/k5")
    for name in ("runs/k5", "other/k5"):
        assert record_of(runs / name)["split_hash"] in said
        assert name in said
    assert "protocol=manifest" in said
    assert "different splits" in refusal(capsys, f"runs={runs}")
    pair = (f"a={runs}/runs/k1", f"b={runs}/runs/k5")
    assert "different splits" in refusal(capsys, *pair, f"ensemble=[{runs}/runs/k1,{runs}/other/k5]")


def test_permuted_labels_are_named_where_they_are_what_differs(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    permuted, plain = tmp_path / "permuted", made / "runs" / "k5"
    assert train.main([*KNN, "permute_labels=0", f"hydra.run.dir={permuted}"]) == DONE
    said = refusal(capsys, f"runs=[{permuted},{plain}]")
    assert f"labels of {permuted} were permuted (permute_labels=0), those of {plain} were not" in said
    assert "different splits" not in said


def change_record(folder: Path, **fields: Any) -> None:
    (folder / record.RECORD).write_text(json.dumps(record_of(folder) | fields))


def test_other_data_or_classes_are_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = (f"a={runs}/runs/k1", f"b={runs}/runs/k5")
    change_record(runs / "runs/k1", class_names=["ALL", "AML"])
    assert "ALL, AML" in refusal(capsys, *pair)
    change_record(runs / "runs/k1", data_fingerprint="f" * 64)
    said = refusal(capsys, *pair)
    assert "f" * 64 in said
    assert record_of(runs / "runs/k5")["data_fingerprint"] in said


def test_other_cells_or_labels_are_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = (f"a={runs}/runs/k1", f"b={runs}/runs/k5")
    path = runs / "runs/k1" / record.PREDICTIONS
    table = read_predictions(path)
    cell = table.loc[table["part"] == "test", "cell_id"].iloc[0]
    table[table["cell_id"] != cell].to_parquet(path)
    assert cell in refusal(capsys, *pair)
    table.assign(
        label=table["label"].where(
            table["cell_id"] != cell,
            {"ALL": "HEM", "HEM": "ALL"}[table.set_index("cell_id").loc[cell, "label"]],
        )
    ).to_parquet(path)
    assert "other labels" in refusal(capsys, *pair)


def test_an_unfinished_run_is_refused_by_name_and_left_out_of_a_folder(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_record(runs / "runs/k5", status="interrupted")
    assert "k5: interrupted, not finished" in refusal(capsys, f"a={runs}/runs/k5", f"b={runs}/runs/k1")
    document = document_of(f"runs={runs}/runs", output=tmp_path / "out")
    (left_out,) = document["left_out"]
    assert left_out["where"] == f"{runs}/runs/k5"
    assert left_out["reason"].startswith("interrupted")
    change_record(runs / "runs/k1", status="failed")
    assert "two or more are needed" in refusal(capsys, f"runs={runs}/runs")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ((), "nothing to compare"),
        (("a=x",), "one of them is missing"),
        (("a=x", "b=./x"), "same folder"),
        (("a=x", "b=y", "runs=z"), "not both"),
        (("a=x", "b=y", "ensemble=[x]"), "two runs or more"),
        (("a=x", "b=y", "metric=auc"), "metric"),
        (("a=x", "b=y", "level=1"), "level"),
        (("a=x", "b=y"), "no such folder"),
        (("runs=x",), "no such folder"),
    ],
)
def test_bad_overrides(overrides: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in refusal(capsys, *overrides)


def test_out_of_fold_predictions_are_paired_across_splits_with_merged_groups(
    folds: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = (f"a={folds}/a", f"b={folds}/b")
    ensemble = f"ensemble=[{folds}/a,{folds}/b]"
    document = document_of(*pair, ensemble, output=tmp_path / "out")
    tables = [
        read_predictions(folds / name / record.PREDICTIONS).set_index("cell_id").sort_index() for name in "ab"
    ]
    assert tables[0]["group"].nunique() < tables[1]["group"].nunique()
    assert (document["n_cells"], document["n_groups"]) == (len(tables[0]), tables[0]["group"].nunique())
    areas = [sklearn.metrics.roc_auc_score(table["label"] == "ALL", table["prob_ALL"]) for table in tables]
    found = next(one for one in document["pairs"] if (one["a"], one["b"]) == ("a", "b"))
    assert found["metrics"]["auroc"]["difference"] == pytest.approx(areas[0] - areas[1], abs=1e-9)
    assert any("out-of-fold" in note for note in document["notes"])
    assert "test" in refusal(capsys, *pair, "part=val")
    assert "different splits" in refusal(capsys, f"a={folds}/a", f"b={runs}/runs/k5")


def test_groups_merge_along_chains() -> None:
    from leukemia_lab.evaluation.comparison import merged_groups

    first = pd.Series(["1", "1", "2", "3", "4", "4"])
    second = pd.Series(["x", "y", "y", "z", "w", "w"])
    assert merged_groups([first, second]).tolist() == ["1+2", "1+2", "1+2", "3", "4", "4"]
    assert merged_groups([first, first]).tolist() == first.tolist()
    rng = np.random.default_rng(0)
    columns = [pd.Series(rng.integers(0, 12, size=20).astype(str)) for _ in range(3)]
    merged = merged_groups(columns)
    for column in columns:
        assert (merged.groupby(column).nunique() == 1).all()
    assert merged_groups([first, second.where(second != "z")]).isna().all()
