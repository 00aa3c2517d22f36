from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from sklearn import metrics as sk
from torchmetrics.functional import classification as tm

from leukemia_lab.config import standard_evaluation
from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.document import metrics_document, part_metrics
from leukemia_lab.evaluation.metrics import (
    METRICS,
    class_metrics,
    confusion,
    expected_calibration_error,
    metric_values,
    positive_index,
    subject_metrics,
)
from leukemia_lab.evaluation.predictions import predictions_table

STANDARD = standard_evaluation()
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def table_of(truth: npt.ArrayLike, probs: npt.ArrayLike, part: str = "val", **columns: Any) -> pd.DataFrame:
    """Predictions of classes c0, c1, … with these probabilities [n, K]."""
    truth, probs = np.asarray(truth), np.asarray(probs, dtype=float)
    rows: dict[str, Any] = {
        "cell_id": [f"{part}{i}" for i in range(len(truth))],
        "subject": [f"S{i % 7}" for i in range(len(truth))],
        "group": [f"G{i % 5}" for i in range(len(truth))],
        "part": part,
        "fold": pd.array([pd.NA] * len(truth), dtype="Int64"),
        "label": [f"c{k}" for k in truth],
    }
    names = [f"c{k}" for k in range(probs.shape[1])]
    return predictions_table(pd.DataFrame(rows | columns), np.log(np.maximum(probs, 1e-300)), names, "run")


def random_case(n_classes: int, seed: int, ties: bool) -> tuple[Ints, Floats]:
    """A classifier better than chance; every class is among the true and the predicted ones."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(60, 200))
    truth = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n)])
    logits = rng.normal(size=(len(truth), n_classes)) + 1.5 * np.eye(n_classes)[truth]
    logits[:n_classes] = 3 * np.eye(n_classes)
    if ties:
        logits = np.round(logits)
    probs = np.exp(logits)
    return truth, probs / probs.sum(axis=1, keepdims=True)


CASES = [(k, seed, ties) for k in (2, 3, 5) for seed in range(12) for ties in (False, True)]


@pytest.mark.parametrize(("n_classes", "seed", "ties"), CASES)
def test_values_agree_with_scikit_learn_and_torchmetrics(n_classes: int, seed: int, ties: bool) -> None:
    truth, probs = random_case(n_classes, seed, ties)
    positive = seed % 2 if n_classes == 2 else None
    values = metric_values(truth, probs, positive)
    references = (
        [binary_scikit_learn(truth, probs, positive), binary_torchmetrics(truth, probs, positive)]
        if positive is not None
        else [macro_scikit_learn(truth, probs), macro_torchmetrics(truth, probs)]
    )
    for reference in references:
        for name, expected in reference.items():
            assert values[name] == pytest.approx(float(expected), abs=2e-6), name
    if not ties:
        args = torch.tensor(probs), torch.tensor(truth)
        ece = tm.multiclass_calibration_error(*args, num_classes=n_classes, n_bins=15, norm="l1")
        assert values["ece"] == pytest.approx(float(ece), abs=2e-6)
    assert set(values) == set(METRICS)


def binary_scikit_learn(truth: Ints, probs: Floats, positive: int) -> dict[str, float]:
    y, score, said = truth == positive, probs[:, positive], probs.argmax(axis=1) == positive
    return {
        "accuracy": sk.accuracy_score(y, said),
        "balanced_accuracy": sk.balanced_accuracy_score(y, said),
        "sensitivity": sk.recall_score(y, said),
        "specificity": sk.recall_score(~y, ~said),
        "precision": sk.precision_score(y, said),
        "f1": sk.f1_score(y, said),
        "auroc": sk.roc_auc_score(y, score),
        "auprc": sk.average_precision_score(y, score),
        "brier": sk.brier_score_loss(y, score),
    }


def binary_torchmetrics(truth: Ints, probs: Floats, positive: int) -> dict[str, torch.Tensor]:
    score, y = torch.tensor(probs[:, positive]), torch.tensor(truth == positive).long()
    said = torch.tensor(probs.argmax(axis=1) == positive).long()
    labels, classes = torch.tensor(truth), torch.tensor(probs.argmax(axis=1))
    return {
        "specificity": tm.binary_specificity(said, y),
        "f1": tm.binary_f1_score(said, y),
        "weighted_f1": tm.multiclass_f1_score(classes, labels, num_classes=2, average="weighted"),
        "auroc": tm.binary_auroc(score, y),
        "auprc": tm.binary_average_precision(score, y),
        "mcc": tm.binary_matthews_corrcoef(said, y),
    }


def macro_scikit_learn(truth: Ints, probs: Floats) -> dict[str, float]:
    said = probs.argmax(axis=1)
    one_hot = np.eye(probs.shape[1])[truth]
    return {
        "accuracy": sk.accuracy_score(truth, said),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, said),
        "sensitivity": sk.recall_score(truth, said, average="macro"),
        "precision": sk.precision_score(truth, said, average="macro"),
        "f1": sk.f1_score(truth, said, average="macro"),
        "auroc": sk.roc_auc_score(truth, probs, multi_class="ovr", average="macro"),
        "auprc": sk.average_precision_score(one_hot, probs, average="macro"),
        "brier": sk.brier_score_loss(truth, probs, scale_by_half=False),
    }


def macro_torchmetrics(truth: Ints, probs: Floats) -> dict[str, torch.Tensor]:
    score, y, n = torch.tensor(probs), torch.tensor(truth), probs.shape[1]
    said = torch.tensor(probs.argmax(axis=1))
    return {
        "specificity": tm.multiclass_specificity(said, y, num_classes=n, average="macro"),
        "f1": tm.multiclass_f1_score(said, y, num_classes=n, average="macro"),
        "weighted_f1": tm.multiclass_f1_score(said, y, num_classes=n, average="weighted"),
        "auroc": tm.multiclass_auroc(score, y, num_classes=n, average="macro"),
        "auprc": tm.multiclass_average_precision(score, y, num_classes=n, average="macro"),
        "mcc": tm.multiclass_matthews_corrcoef(said, y, num_classes=n),
    }


def test_ece_by_hand() -> None:
    """Bin of 0.9: accuracy 1/2, gap 0.4, 2 of 4 cells; bin of 0.65: gap 0.35, 1 of 4; bin of 1: no gap."""
    correct = np.array([True, False, True, True])
    ece = expected_calibration_error(correct, np.array([0.9, 0.9, 0.65, 1.0]))
    assert ece == pytest.approx(0.4 * 2 / 4 + 0.35 / 4)


@pytest.mark.parametrize("noise", [-1e-12, 0, 1e-12])
def test_ece_bins_hold_their_upper_edge(noise: float) -> None:
    """0.55 and 0.6 = 9/15 share the bin (8/15, 9/15]; 0.61 stands in the next one."""
    correct = np.array([False, True, True])
    ece = expected_calibration_error(correct, np.array([0.55, 0.6 + noise, 0.61]))
    assert ece == pytest.approx((abs(1 - 0.55 - 0.6) + abs(1 - 0.61)) / 3)


def test_equal_probabilities_go_to_the_first_class() -> None:
    table = table_of([0, 1], [[0.5, 0.5], [0.5, 0.5]])
    assert confusion(table, ["c0", "c1"]).tolist() == [[1, 0], [1, 0]]
    assert confusion(table, ["c1", "c0"]).tolist() == [[1, 0], [1, 0]]
    metrics = part_metrics(table, ["c0", "c1"], "c0", STANDARD)
    assert (metrics["sensitivity"]["value"], metrics["specificity"]["value"]) == (1, 0)
    assert metrics["mcc"]["value"] == 0


def test_metrics_follow_the_names_and_not_the_order_of_the_classes() -> None:
    truth, probs = random_case(3, 0, ties=False)
    table = table_of(truth, probs)
    straight, turned = (
        part_metrics(table, names, None, STANDARD) for names in (["c0", "c1", "c2"], ["c2", "c0", "c1"])
    )
    for name in METRICS:
        assert straight[name]["value"] == pytest.approx(turned[name]["value"]), name
        assert straight[name]["low"] == pytest.approx(turned[name]["low"]), name
        assert straight[name]["low"] < straight[name]["value"] < straight[name]["high"], name
    assert straight["auroc"]["n_cells"] == len(truth)
    assert straight["auroc"]["n_groups"] == 5
    assert "reason" not in straight["auroc"]


def test_two_classes_without_a_positive_one_are_averaged() -> None:
    truth, probs = random_case(2, 1, ties=False)
    table = table_of(truth, probs)
    of_c0, of_c1, macro = (
        part_metrics(table, ["c0", "c1"], positive, STANDARD) for positive in ("c0", "c1", None)
    )
    assert of_c0["sensitivity"]["value"] == of_c1["specificity"]["value"]
    for name in ("sensitivity", "precision", "f1", "auroc", "auprc"):
        assert macro[name]["value"] == pytest.approx((of_c0[name]["value"] + of_c1[name]["value"]) / 2)
    assert macro["brier"]["value"] == pytest.approx(2 * of_c0["brier"]["value"])


def test_more_than_two_classes_have_no_positive_one() -> None:
    assert positive_index(["c0", "c1"], "c0") == 0
    assert positive_index(["c0", "c1", "c2"], "c1") is None
    with pytest.raises(RunError, match="positive class 'c7' is none of c0, c1"):
        positive_index(["c0", "c1"], "c7")


def test_what_is_undefined_is_null_with_its_reason() -> None:
    only_hem = table_of([1, 1, 1], [[0.2, 0.8], [0.6, 0.4], [0.1, 0.9]])
    metrics = part_metrics(only_hem, ["c0", "c1"], "c0", STANDARD)
    undefined = {name: metric.get("reason") for name, metric in metrics.items() if metric["value"] is None}
    assert undefined == {
        "balanced_accuracy": "no cell is c0",
        "sensitivity": "no cell is c0",
        "auroc": "no cell or every cell is c0",
        "auprc": "no cell or every cell is c0",
        "mcc": "every cell is c1",
    }
    assert metrics["specificity"]["value"] == pytest.approx(2 / 3)
    flipped = part_metrics(only_hem, ["c0", "c1"], "c1", STANDARD)
    assert flipped["specificity"] == {
        "value": None,
        "low": None,
        "high": None,
        "n_cells": 3,
        "n_groups": 3,
        "reason": "every cell is c1",
    }
    assert flipped["balanced_accuracy"]["reason"] == "no cell is c0"


def test_a_class_absent_or_never_predicted_leaves_no_macro_average() -> None:
    table = table_of([0, 1, 0, 1], [[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.4, 0.5, 0.1], [0.2, 0.7, 0.1]])
    metrics = part_metrics(table, ["c0", "c1", "c2"], None, STANDARD)
    assert metrics["sensitivity"]["reason"] == "no cell is c2"
    assert metrics["precision"]["reason"] == "no cell was predicted to be c2"
    assert metrics["f1"]["reason"] == "no cell is c2 or was predicted to be"
    assert metrics["auroc"]["reason"] == "no cell or every cell is c2"
    assert metrics["specificity"]["value"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert metrics["weighted_f1"]["value"] == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_class_metrics_are_one_against_the_rest() -> None:
    truth, probs = random_case(3, 4, ties=False)
    by_class = class_metrics(table_of(truth, probs), ["c0", "c1", "c2"])
    predicted = probs.argmax(axis=1)
    for k in range(3):
        of_class = by_class[f"c{k}"]
        assert of_class["sensitivity"] == pytest.approx(sk.recall_score(truth == k, predicted == k))
        assert of_class["specificity"] == pytest.approx(sk.recall_score(truth != k, predicted != k))
        assert of_class["precision"] == pytest.approx(sk.precision_score(truth == k, predicted == k))
        assert of_class["f1"] == pytest.approx(sk.f1_score(truth == k, predicted == k))
        assert of_class["n_cells"] == (truth == k).sum()
    absent = class_metrics(table_of([0, 0], [[0.9, 0.1], [0.8, 0.2]]), ["c0", "c1"])
    assert (absent["c1"]["sensitivity"], absent["c1"]["n_cells"]) == (None, 0)


def test_subject_metrics_by_hand() -> None:
    table = table_of([0, 0, 1], [[0.9, 0.1], [0.3, 0.7], [0.4, 0.6]], subject=["H3", "H3", "20"])
    assert subject_metrics(table.iloc[::-1], ["c0", "c1"], "c0") == {
        "20": {
            "n_cells": 1,
            "labels": ["c1"],
            "accuracy": 1.0,
            "prob_true": pytest.approx(0.6),
            "prob_positive": pytest.approx(0.4),
        },
        "H3": {
            "n_cells": 2,
            "labels": ["c0"],
            "accuracy": 0.5,
            "prob_true": pytest.approx(0.6),
            "prob_positive": pytest.approx(0.6),
        },
    }
    assert subject_metrics(table, ["c0", "c1"], None)["H3"]["prob_positive"] is None
    assert subject_metrics(table.assign(subject=None), ["c0", "c1"], "c0") == {}


def test_document_is_strict_json_with_all_parts() -> None:
    truth, probs = random_case(2, 0, ties=True)
    one_class = table_of([0, 0], [[0.9, 0.1], [0.2, 0.8]], part="train")
    both = pd.concat([table_of(truth, probs), one_class])
    document = metrics_document(
        both, ["c0", "c1"], "c0", ("SYNTHETIC",), objective="val/auroc", evaluation=STANDARD
    )
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    sections = ["per_class", "per_subject", "subjects", "intervals", "calibration", "operating_point"]
    assert list(document) == ["train", "val", "stamps", "objective", *sections]
    assert list(document["val"]) == list(METRICS)
    assert document["objective"] == document["val"]["auroc"]["value"]
    assert document["stamps"] == ["SYNTHETIC"]
    assert set(document["per_class"]["train"]) == {"c0", "c1"}
    assert len(document["per_subject"]["val"]) == 7
    null = metrics_document(one_class, ["c0", "c1"], "c0", (), objective="train/auroc", evaluation=STANDARD)
    assert null["objective"] is None
    for objective in ("test/auroc", "val/auc", "auroc"):
        with pytest.raises(RunError, match=f"the objective '{objective}' cannot be read"):
            metrics_document(both, ["c0", "c1"], "c0", (), objective=objective, evaluation=STANDARD)


def test_empty_parts_and_other_classes_are_refused() -> None:
    table = table_of([0, 1], [[0.9, 0.1], [0.2, 0.8]])
    with pytest.raises(RunError, match="no predictions in this part"):
        part_metrics(table.head(0), ["c0", "c1"], None, STANDARD)
    with pytest.raises(RunError, match="have the classes c0, c1, not ALL, HEM"):
        part_metrics(table, ["ALL", "HEM"], None, STANDARD)
