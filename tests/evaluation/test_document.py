from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, recall_score

from leukemia_lab.config import standard_evaluation
from leukemia_lab.evaluation.document import (
    RATES,
    metrics_document,
    part_metrics,
    part_sections,
    tables_by_part,
    tuned_sections,
)
from leukemia_lab.evaluation.predictions import predictions_table
from leukemia_lab.evaluation.tuning import tune

STANDARD = standard_evaluation()
ALL_HEM = ("ALL", "HEM")


def predictions(
    seed: int, parts: tuple[str, ...] = ("val", "test"), temperature: float = 1.0
) -> pd.DataFrame:
    """Twelve subjects of 20 cells a part; the logits are `temperature` times what they should be."""
    rng = np.random.default_rng(seed)
    tables = []
    for part in parts:
        subjects = np.repeat([f"{part}{k}" for k in range(12)], 20)
        label = np.repeat(["ALL"] * 7 + ["HEM"] * 5, 20)
        score = np.where(label == "ALL", 1.0, -1.0) + rng.normal(0, 1.4, len(label))
        cells = {"cell_id": [f"{part}/{i}.bmp" for i in range(len(label))], "subject": subjects}
        cells |= {"group": subjects, "part": part, "fold": pd.NA, "label": label}
        logits = temperature * np.stack([score, np.zeros_like(score)], axis=1)
        tables.append(predictions_table(pd.DataFrame(cells), logits, ALL_HEM, "run"))
    return pd.concat(tables, ignore_index=True)


def document(table: pd.DataFrame, **changes: object) -> dict[str, object]:
    evaluation = STANDARD.model_copy(update=changes)
    return metrics_document(table, ALL_HEM, "ALL", [], "val/auroc", evaluation)


def test_the_operating_point_is_chosen_on_validation_cells_and_applied_to_test_cells() -> None:
    table = predictions(0)
    point = document(table)["operating_point"]
    assert isinstance(point, dict)
    assert (point["chosen_on"], point["rule"]) == ("val", "balanced_accuracy")
    for part, rows in tables_by_part(table).items():
        decided = np.where(rows["prob_ALL"] >= point["threshold"], "ALL", "HEM")
        assert set(point[part]) == set(RATES)
        balanced = balanced_accuracy_score(rows["label"], decided)
        assert point[part]["balanced_accuracy"]["value"] == pytest.approx(balanced, abs=1e-12)
        sensitivity = recall_score(rows["label"] == "ALL", decided == "ALL")
        assert point[part]["sensitivity"]["value"] == pytest.approx(sensitivity, abs=1e-12)
        assert point[part]["sensitivity"]["low"] < sensitivity
    val = table[table["part"] == "val"]
    truth, prob = val["label"] == "ALL", val["prob_ALL"]
    cuts = [balanced_accuracy_score(truth, prob >= threshold) for threshold in prob]
    assert point["val"]["balanced_accuracy"]["value"] == pytest.approx(max(cuts))


def test_test_cells_change_nothing_that_is_chosen() -> None:
    table = predictions(1)
    altered = table.copy()
    is_test = altered["part"] == "test"
    columns = ["logit_ALL", "logit_HEM", "prob_ALL", "prob_HEM"]
    altered.loc[is_test, columns] = altered.loc[is_test, columns].to_numpy()[::-1]
    first, second = document(table), document(altered)
    for section, keys in {
        "operating_point": ("threshold", "val"),
        "calibration": ("temperature", "val"),
    }.items():
        for key in keys:
            assert first[section][key] == second[section][key]  # type: ignore[index]
    assert first["operating_point"]["test"] != second["operating_point"]["test"]  # type: ignore[index]


def test_a_least_sensitivity_is_met_on_validation_cells() -> None:
    point = document(predictions(2), min_sensitivity=0.95)["operating_point"]
    assert point["rule"] == "min_sensitivity=0.95"  # type: ignore[index]
    assert point["val"]["sensitivity"]["value"] >= 0.95  # type: ignore[index]


def test_logits_that_are_three_times_too_large_are_calibrated() -> None:
    honest, loud = (document(predictions(3, temperature=t))["calibration"] for t in (1.0, 3.0))
    assert isinstance(honest, dict)
    assert isinstance(loud, dict)
    assert loud["temperature"] == pytest.approx(3 * honest["temperature"], rel=1e-6)
    assert loud["test"]["after"] == pytest.approx(honest["test"]["after"], abs=1e-6)
    assert loud["test"]["after"]["log_loss"] < loud["test"]["before"]["log_loss"]
    assert document(predictions(3), calibration="none")["calibration"]["method"] == "none"  # type: ignore[index]


def test_the_document_says_how_its_intervals_came_about_and_is_strict_json() -> None:
    found = document(predictions(4), level=0.8, interval="bootstrap")
    assert found["intervals"] == {"method": "bootstrap", "level": 0.8, "unit": "group"}
    wide = document(predictions(4), level=0.99, interval="bootstrap")
    for name in ("accuracy", "auroc"):
        assert wide["test"][name]["low"] < found["test"][name]["low"]  # type: ignore[index]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["subjects"]["test"]["n_subjects"] == 12  # type: ignore[index]


def test_each_fold_applies_what_it_chose_itself() -> None:
    """Two folds on scales ten times apart: one calibration and one threshold for both would spoil the second."""
    folds = [tables_by_part(predictions(seed, temperature=t)) for seed, t in ((5, 1.0), (6, 10.0))]
    members = [(tune(tables["val"], ALL_HEM, "ALL", STANDARD), {"test": tables["test"]}) for tables in folds]
    sections = tuned_sections(members, ALL_HEM, "ALL", STANDARD)
    assert [one["temperature"] for one in sections["calibration"]["per_fold"]] == [
        tuning.calibration.parameters["temperature"] for tuning, _ in members
    ]
    decided = [tuning.decided(tables["test"]) for tuning, tables in members]
    pooled = part_metrics(pd.concat(decided), ALL_HEM, "ALL", STANDARD)
    assert sections["operating_point"]["test"]["accuracy"] == pooled["accuracy"]
    assert (
        sections["calibration"]["test"]["after"]["log_loss"]
        < sections["calibration"]["test"]["before"]["log_loss"]
    )


def test_three_classes_have_a_calibration_but_no_operating_point() -> None:
    rng = np.random.default_rng(7)
    names = ("a", "b", "c")
    label = np.tile(names, 30)
    cells = {"cell_id": [str(i) for i in range(90)], "subject": label, "group": label, "part": "val"}
    logits = 3 * rng.normal(size=(90, 3)) + np.eye(3)[np.tile([0, 1, 2], 30)]
    table = predictions_table(pd.DataFrame(cells | {"fold": pd.NA, "label": label}), logits, names, "run")
    found = metrics_document(table, names, None, [], "val/auroc", STANDARD)
    assert "operating_point" not in found
    calibrated = softmax(logits / found["calibration"]["temperature"], axis=1)
    log_loss = -np.log(calibrated[np.arange(90), np.tile([0, 1, 2], 30)]).mean()
    assert found["calibration"]["val"]["after"]["log_loss"] == pytest.approx(log_loss)


def test_sections_of_no_validation_cells_choose_nothing() -> None:
    table = predictions(8, parts=("test",))
    found = metrics_document(table, ALL_HEM, "ALL", [], "test/auroc", STANDARD)
    assert "calibration" not in found
    assert set(part_sections({"test": table}, ALL_HEM, "ALL", STANDARD)) <= set(found)
