from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from leukemia_lab.errors import RunError, TrainingError
from leukemia_lab.evaluation.predictions import (
    class_names_of,
    predictions_table,
    read_predictions,
    write_predictions,
)

CLASSES = ("ALL", "HEM")


def split_rows(n: int, part: str = "val", **columns: Any) -> pd.DataFrame:
    """Rows of a split manifest, with a column that predictions do not keep and an index of another table."""
    rows: dict[str, Any] = {
        "cell_id": [f"{part}/{i}.bmp" for i in range(n)],
        "subject": None,
        "group": "G",
        "label": [CLASSES[i % 2] for i in range(n)],
        "part": part,
        "fold": pd.array([pd.NA] * n, dtype="Int64"),
        "width": 450,
    }
    return pd.DataFrame(rows | columns, index=range(100, 100 + n))


def predictions(n: int = 4, part: str = "val", run_id: str = "run", seed: int = 0) -> pd.DataFrame:
    logits = np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32)
    return predictions_table(split_rows(n, part), logits, CLASSES, run_id)


def test_columns_and_order_are_the_contract() -> None:
    table = predictions()
    assert list(table) == [
        *("cell_id", "subject", "group", "part", "fold", "label"),
        *("logit_ALL", "logit_HEM", "prob_ALL", "prob_HEM", "run_id"),
    ]
    assert class_names_of(table) == CLASSES
    assert table["fold"].dtype == "Int64"


def test_probabilities_are_the_softmax_in_float64() -> None:
    logits = np.array([[0, np.log(3)], [1e4, -1e4], [-700, 0]], dtype=np.float32)
    table = predictions_table(split_rows(3), logits, CLASSES, "run")
    expected = [[0.25, 0.75], [1, 0], [np.exp(-700.0), 1]]
    np.testing.assert_allclose(table[["prob_ALL", "prob_HEM"]], expected, rtol=1e-7)
    np.testing.assert_array_equal(table[["logit_ALL", "logit_HEM"]], logits)


def test_what_does_not_fit_the_cells_is_refused() -> None:
    with pytest.raises(RunError, match=r"shape \(4, 3\); 4 cells of 2 classes need \(4, 2\)"):
        predictions_table(split_rows(4), np.zeros((4, 3)), CLASSES, "run")
    with pytest.raises(RunError, match="label 'ig' is none of the classes ALL, HEM"):
        predictions_table(split_rows(4, label="ig"), np.zeros((4, 2)), CLASSES, "run")
    with pytest.raises(TrainingError, match=r"1 of 4 cells .* \(first: val/2.bmp\): training diverged"):
        predictions_table(split_rows(4), [[0, 0], [0, 0], [0, np.nan], [0, 0]], CLASSES, "run")


def test_a_part_is_appended_and_then_replaced(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    train, val, new_val = predictions(6, "train"), predictions(4, "val"), predictions(3, "val", seed=1)
    write_predictions(train, path)
    write_predictions(val, path)
    pd.testing.assert_frame_equal(read_predictions(path), pd.concat([train, val], ignore_index=True))
    write_predictions(new_val, path)
    pd.testing.assert_frame_equal(read_predictions(path), pd.concat([train, new_val], ignore_index=True))
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.parquet"]


def test_another_run_or_other_classes_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    write_predictions(predictions(part="train"), path)
    before = path.read_bytes()
    with pytest.raises(RunError, match="holds predictions of run run for the classes ALL, HEM"):
        write_predictions(predictions(run_id="other"), path)
    other = predictions_table(split_rows(2), np.zeros((2, 3)), ("ALL", "HEM", "ig"), "run")
    with pytest.raises(RunError, match="not of this run"):
        write_predictions(other, path)
    same_cells = predictions(part="train").assign(part="val")
    with pytest.raises(RunError, match=r"cell train/0.bmp has more than one row"):
        write_predictions(same_cells, path)
    assert path.read_bytes() == before


def test_a_file_whose_every_part_is_replaced_may_change_its_classes(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    write_predictions(predictions(run_id="before"), path)
    again = predictions_table(split_rows(2), np.zeros((2, 3)), ("ALL", "HEM", "ig"), "run")
    write_predictions(again, path)
    pd.testing.assert_frame_equal(read_predictions(path), again)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda table: table.drop(columns=["group", "prob_HEM"]), "columns group, prob_HEM are missing"),
        (lambda table: table.drop(columns=["logit_ALL"]), "two or more columns logit_<class>"),
        (lambda table: table.assign(prob_HEM=0.7), "the probabilities of cell val/0.bmp do not sum to 1"),
        (lambda table: table.assign(prob_HEM=np.nan), "the probabilities of cell val/0.bmp do not sum"),
    ],
)
def test_a_file_that_is_no_predictions_table_is_refused(damage: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    damage(predictions()).to_parquet(path)
    with pytest.raises(RunError, match=message) as fault:
        read_predictions(path)
    assert str(path) in str(fault.value)


def test_an_absent_or_foreign_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"there are no predictions at .*\. Finish the run first"):
        read_predictions(tmp_path / "predictions.parquet")
    (tmp_path / "predictions.parquet").write_text("cell_id")
    with pytest.raises(RunError, match="cannot be read as a predictions table"):
        read_predictions(tmp_path / "predictions.parquet")
