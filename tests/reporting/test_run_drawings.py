"""What a run's section draws and lists of its tables."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import cells, change, make_run

from leukemia_lab.evaluation.calibration import fit_calibration
from leukemia_lab.evaluation.metrics import expected_calibration_error, truth_and_probs
from leukemia_lab.reporting.run_drawings import run_drawings
from leukemia_lab.reporting.views import view_of
from leukemia_lab.results.collect import collect
from leukemia_lab.results.run_result import RunResult

CLASSES = ("ALL", "HEM")


def only_run(folder: Path) -> RunResult:
    (run,) = collect([folder]).runs
    return run


def metrics_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return found


def test_a_net_has_every_plot(tmp_path: Path) -> None:
    run = only_run(make_run(tmp_path / "a", explained=2))
    found = run_drawings(run, "test")
    assert list(found) == [
        "roc",
        "pr",
        "reliability",
        "confusion",
        "curves",
        "subjects",
        "scatter",
        "attribution",
    ]
    idents = re.findall(r' id="([^"]+)"', "".join(drawing.svg for drawing in found.values()))
    assert len(idents) >= len(found)
    assert len(set(idents)) == len(idents)


@pytest.mark.parametrize("method", ["temperature", "vector", "isotonic"])
def test_the_reliability_after_is_of_the_method_named(tmp_path: Path, method: str) -> None:
    folder = make_run(tmp_path / "a", quality=3)
    run = only_run(folder)
    logits = {
        part: run.predicted(part)[[f"logit_{name}" for name in CLASSES]].to_numpy() * 5
        for part in ("val", "test")
    }
    truth = {part: truth_and_probs(run.predicted(part), CLASSES)[0] for part in ("val", "test")}
    fitted = fit_calibration(method, logits["val"], truth["val"])
    change(folder / "metrics.json", calibration=metrics_of(folder)["calibration"] | fitted.describe())
    probs = fitted.probs(logits["test"] / 5)  # the table's own logits
    error = expected_calibration_error(probs.argmax(axis=1) == truth["test"], probs.max(axis=1))
    assert f"ECE {error:.3f} calibrated" in run_drawings(only_run(folder), "test")["reliability"].alt


def test_a_calibration_that_is_damaged_or_none_is_told(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a")
    change(folder / "metrics.json", calibration={"method": "vector"})
    view = view_of(only_run(folder), "test")
    assert any("calibration in metrics.json is damaged" in fault for fault in view.faults)
    change(folder / "metrics.json", calibration={"method": "none"})
    assert "calibrated" not in run_drawings(only_run(folder), "test")["reliability"].alt


def test_the_intervals_of_the_reliability_diagram_need_groups(tmp_path: Path) -> None:
    with_groups = run_drawings(only_run(make_run(tmp_path / "a")), "test")["reliability"].svg
    split = cells().assign(subject=None, group=None)
    without = run_drawings(only_run(make_run(tmp_path / "b", split=split)), "test")["reliability"].svg
    assert with_groups.count("M") > without.count("M")


def test_attribution_is_of_the_cells_measured(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", explained=2)
    path = folder / "explained" / "test" / "cells.json"
    sample = json.loads(path.read_text(encoding="utf-8"))["sample"]
    mass = [cell["mass_on_cell"] for cell in sample if cell["mass_on_cell"] is not None]
    assert len(mass) == 19
    alt = run_drawings(only_run(folder), "test")["attribution"].alt
    assert f"median mass on the cell {np.median(mass):.2f} over 19 cells" in alt
    change(path, sample=[])
    assert "attribution" not in run_drawings(only_run(folder), "test")
    change(path, sample=[{"mass_on_cell": 0.5}])
    assert any("cells.json is damaged" in fault for fault in view_of(only_run(folder), "test").faults)


def test_subjects_that_share_cells_are_one(tmp_path: Path) -> None:
    run = only_run(make_run(tmp_path / "a", quality=0.1))
    view = view_of(run, "train")
    names = [subject.name for subject in view.worst_subjects]
    assert not {"TRA0", "TRA1"} & set(names)
    rows = {row["subject"]: row for row in run.subject_rows("train")}
    assert {"TRA0=TRA1", "TRH0=TRH1"} <= set(rows)
    accuracies = [subject.accuracy for subject in view.worst_subjects]
    assert accuracies == sorted(accuracies)
    for subject in view.worst_subjects:
        table = run.predicted("train")
        own = table[table["subject"].isin(subject.name.split("="))]
        assert subject.n_cells == len(own)
        assert subject.positive_share == pytest.approx((own["prob_ALL"] >= 0.5).mean())
        assert subject.accuracy == pytest.approx(((own["prob_ALL"] >= 0.5) == (own["label"] == "ALL")).mean())


def test_a_run_of_an_earlier_version_names_its_subjects_too(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", quality=0.1)
    change(folder / "metrics.json", subjects={})
    view = view_of(only_run(folder), "test")
    assert view.worst_subjects
    assert {subject.positive_share for subject in view.worst_subjects} == {None}
    assert "subjects" in view.drawings
    assert "scatter" not in view.drawings


def test_three_classes_have_no_scatter_of_a_positive_one(tmp_path: Path) -> None:
    run = only_run(make_run(tmp_path / "a", split=cells(classes=("ALL", "AML", "HEM"))))
    assert "scatter" not in run_drawings(run, "test")
    assert "subjects" in run_drawings(run, "test")
