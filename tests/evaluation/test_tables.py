from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from rich.table import Table

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.metrics import METRICS
from leukemia_lab.evaluation.tables import (
    SweepRow,
    metrics_table,
    sweep_table,
    write_sweep_csv,
)


def rendered(table: Table, width: int = 160) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    return out.getvalue()


def metric(value: float | None, **changes: Any) -> dict[str, Any]:
    return {"value": value, "low": None, "high": None, "n_cells": 1587, "n_groups": 3, **changes}


def document(**changes: Any) -> dict[str, Any]:
    val = {name: metric(0.5) for name in METRICS} | {"accuracy": metric(0.87654)} | changes
    subjects: dict[str, Any] = {"H3": {}, "20": {}}
    return {"val": val, "stamps": ["SYNTHETIC", "NO SUBJECTS"], "per_subject": {"val": subjects}}


def row(**changes: Any) -> SweepRow:
    values: dict[str, Any] = {
        "model": "vgg13",
        "protocol": "subject_holdout",
        "job": "0a",
        "run": "vgg13-1f",
        "status": "finished",
        "epochs": None,
        "overrides": ["model=vgg13", "optim.lr=1e-3"],
        "objective": 0.1 + 0.2,
        "stamps": ["SYNTHETIC", "LEAKY"],
        "error": None,
        "metrics": document()["val"],
    }
    return SweepRow(**(values | changes))


FAILED = row(
    status="failed",
    overrides=["model=vgg13", "optim.lr=1e-2"],
    objective=None,
    error="RunError: [/bold] no",
    metrics=None,
    stamps=[],
)


def test_metrics_table_shows_stamps_sizes_and_that_there_are_no_intervals() -> None:
    text = rendered(metrics_table(document(), ["val"]))
    assert "Metrics [SYNTHETIC] [NO SUBJECTS]" in text
    assert "1,587 cells" in text
    assert "2 subjects" in text
    assert "0.8765" in text
    assert text.count("0.5000") == len(METRICS) - 1
    assert "point estimates without intervals" in text
    nobody = document() | {"per_subject": {"val": {}}}
    assert "no subjects" in rendered(metrics_table(nobody, ["val"]))


def test_metrics_table_shows_zero_as_a_value_and_null_with_its_reason() -> None:
    values = document(mcc=metric(0.0), auroc=metric(None, reason="no cell is ALL"))
    text = rendered(metrics_table(values, ["val"]))
    assert "0.0000" in text
    assert text.count("n/a") == 2
    assert "val auroc n/a: no cell is ALL" in text


def test_metrics_table_shows_intervals_where_there_are_any() -> None:
    text = rendered(metrics_table(document(accuracy=metric(0.9, low=0.8, high=0.95)), ["val"]))
    assert "0.9000 (0.800–0.950)" in text
    assert "without intervals" not in text


def test_metrics_table_does_not_invent_a_part() -> None:
    with pytest.raises(RunError, match="no metrics of part test"):
        metrics_table(document(), ["val", "test"])


def test_sweep_table_has_a_row_a_job_and_lists_errors_as_they_are() -> None:
    slow = row(overrides=["model=vgg13", "optim.lr=1e-4"])
    text = rendered(sweep_table([row(), slow, FAILED]), width=100)
    assert "3 runs, validation [SYNTHETIC]" in text
    assert "in all runs: model=vgg13" in text
    assert "1e-3" in text
    assert "1e-4" in text
    assert "model=vgg13 optim.lr=1e-2: RunError: [/bold] no" in text
    assert "point estimates without intervals" in text
    assert "sensitivity" in text


def test_sweep_table_gives_each_row_its_stamps_where_they_differ() -> None:
    leaky = row(stamps=["LEAKY"], overrides=["model=vgg13", "protocol=random_cells"])
    text = rendered(sweep_table([row(stamps=["SYNTHETIC"]), leaky]))
    assert text.splitlines()[0].strip() == "2 runs, validation"
    assert text.count("[SYNTHETIC]") == text.count("[LEAKY]") == 1


def test_sweep_table_says_how_far_a_run_came_and_shortens_what_a_search_proposed() -> None:
    running = row(
        metrics=None, status="running", epochs=3, objective=0.8123, overrides=["optim.lr=0.000212199585"]
    )
    text = rendered(sweep_table([row(), running]))
    assert "running" in text
    assert "(epoch 3, 0.8123)" in text
    assert "0.0002122" in text
    assert "0.000212199585" not in text


def test_sweep_csv_is_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_sweep_csv([row(stamps=["A, B", "C"]), FAILED], path)
    table = pd.read_csv(path)
    metric_columns = [f"{name}{bound}" for name in METRICS for bound in ("", "_low", "_high")]
    job_columns = ["run", "status", "epochs", "overrides", "objective", "stamps", "error", "job", "optim.lr"]
    assert list(table) == ["model", "protocol", *metric_columns, *job_columns]
    assert table.loc[0, ["objective", "accuracy", "stamps"]].tolist() == [0.1 + 0.2, 0.87654, "A, B;C"]
    assert table.loc[1, metric_columns].isna().all()
    assert table.loc[0, ["accuracy_low", "error"]].isna().all()
    assert table["error"][1] == "RunError: [/bold] no"
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]


def test_a_csv_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_sweep_csv([row()], path)
    before = path.read_bytes()
    with pytest.raises(KeyError):
        write_sweep_csv([row(metrics={})], path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]
