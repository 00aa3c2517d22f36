from __future__ import annotations

from typing import Any

from leukemia_lab.evaluation.result_lines import result_lines

SCORES = {"ece": 0.2, "brier": 0.1, "log_loss": 0.5}
POINT = {"threshold": 0.4321, "rule": "balanced_accuracy"}


def metric(value: float | None, **changes: Any) -> dict[str, Any]:
    return {"value": value, "low": None, "high": None, **changes}


def document(**changes: Any) -> dict[str, Any]:
    rates = {
        "sensitivity": metric(0.9, low=0.8, high=0.95),
        "specificity": metric(1.0, low=0.7, high=1.0, note="x"),
    }
    rows = [{"group": f"{label}{k}", "label": label} for label in ("ALL", "HEM") for k in range(10)]
    return {
        "operating_point": {**POINT, "val": rates},
        "calibration": {
            "method": "temperature",
            "temperature": 1.5,
            "val": {"before": SCORES, "after": SCORES | {"ece": 0.05, "log_loss": -1e-17}},
        },
        "subjects": {
            "val": {
                "accuracy": metric(0.75, low=0.5, high=0.9),
                "auroc": metric(1.0, reason="a class has a single subject"),
                "worst": ["H3", "20"],
                "rows": rows,
            }
        },
    } | changes


def test_what_was_chosen_on_validation_cells_has_lines_of_its_own() -> None:
    assert result_lines(document(), "val") == [
        "val at the threshold 0.432 (chosen on val: balanced accuracy): sensitivity 0.9000 (0.800–0.950), "
        "specificity 1.0000 (0.700–1.000)*",
        "val calibrated (temperature 1.500, fitted on val): ece 0.2000 → 0.0500, brier 0.1000 → 0.1000, "
        "log_loss 0.5000 → 0.0000",
        "val, subjects as the units: accuracy 0.7500 (0.500–0.900), auroc 1.0000 (no interval: a class has a single "
        "subject); worst: H3, 20",
    ]
    assert result_lines(document(), "test") == []
    assert result_lines({}, "val") == []


def test_the_rule_and_what_kept_it_from_working_are_said() -> None:
    point = {"threshold": 0.5, "rule": "min_sensitivity=0.95", "reason": "no cell is of the negative class"}
    line = result_lines(
        document(operating_point={**point, "val": document()["operating_point"]["val"]}), "val"
    )[0]
    assert "(chosen on val: sensitivity of at least 0.95; no cell is of the negative class)" in line
    bound = document()["calibration"] | {"temperature": 0.01, "reason": "T is at its bound"}
    assert (
        "(temperature 0.010, fitted on val; T is at its bound)"
        in result_lines(document(calibration=bound), "val")[1]
    )
    none = document()["calibration"] | {"method": "none", "reason": "one class alone"}
    assert result_lines(document(calibration=none), "val")[1] == "val not calibrated; one class alone"


def test_each_fold_has_its_own() -> None:
    both = {"per_fold": [POINT, POINT | {"threshold": 0.9}], "val": document()["operating_point"]["val"]}
    assert result_lines(document(operating_point=both), "val")[0].startswith(
        "val at the threshold 0.432, 0.900 ("
    )


def test_few_subjects_are_said_to_be_few() -> None:
    few = document()["subjects"]["val"]
    few = few | {"rows": [row for row in few["rows"] if row["group"] != "HEM3"]}
    line = result_lines(document(subjects={"val": few}), "val")[-1]
    assert line.startswith("few subjects in val (10 of ALL, 9 of HEM)")
