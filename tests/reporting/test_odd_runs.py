"""Runs that are legal and odd: an ensemble, other levels, an unopened test part, names that lead elsewhere."""

from __future__ import annotations

import json
import shlex
from base64 import b64encode
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from run_folders import cells, change, make_run, sweep

from leukemia_lab import report
from leukemia_lab.reporting.cautions import subjects_by_class
from leukemia_lab.reporting.leaderboard import leaderboards
from leukemia_lab.results.collect import collect


def reported(folder: Path, *overrides: str) -> tuple[str, str]:
    """report.html and report.md of the runs in `folder`."""
    output = folder.parent / "report"
    assert report.main([f"runs={folder}", f"output={output}", *overrides]) == 0
    return (output / "report.html").read_text(), (output / "report.md").read_text()


def test_an_ensemble_is_one_more_run_with_split_and_command(tmp_path: Path) -> None:
    runs = sweep(tmp_path / "runs", 3)
    members = [str(folder) for folder in sorted(runs.iterdir())[:2]]
    html, text = reported(runs, f"ensemble=[{','.join(members)}]")
    assert "ensemble of 2" in html
    assert "| train | ALL |" in text
    assert "cannot be read" not in html
    command = next(line for line in text.splitlines() if line.startswith("  python -m leukemia_lab.report"))
    overrides = OverridesParser.create().parse_overrides(shlex.split(command)[3:])
    assert {override.key_or_group: override.value() for override in overrides} == {
        "runs": members,
        "ensemble": members,
    }


def test_an_ensemble_that_leads_has_the_split_of_its_members(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for seed in (0, 1):
        make_run(runs / f"m{seed}", seed=seed, quality=1.0)
    html, text = reported(runs, f"ensemble=[{runs}/m0,{runs}/m1]", "metric=brier")
    assert text.index("| ensemble of 2 |") < text.index("| m0 |")
    assert "| train | ALL |" in text
    assert "opened 2 times by the 2 runs" in html  # the looks of the members, not once more for their mean


def test_the_level_of_intervals_is_that_of_the_runs(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "a")
    metrics = json.loads((run / "metrics.json").read_text())
    change(run / "metrics.json", intervals=metrics["intervals"] | {"level": 0.8})
    html, text = reported(tmp_path / "runs")
    assert "Intervals in brackets are at 80 %" in html
    assert "Intervals in brackets are at 80 %" in text
    assert "with 80 % intervals" in html
    assert "95 %" not in html


def test_a_run_without_the_part_never_speaks_for_the_leaderboard(tmp_path: Path) -> None:
    """No run has a value, and the one that comes first by name has not opened the test part."""
    make_run(tmp_path / "runs" / "a", tested=False, quality=0.5)
    run = make_run(tmp_path / "runs" / "b")
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["test"]["mcc"] |= {"value": None, "low": None, "high": None, "reason": "every cell is ALL"}
    change(run / "metrics.json", **metrics)
    html, text = reported(tmp_path / "runs", "part=test", "metric=mcc")
    assert "every cell is ALL" in html
    assert text.index("| b (simple\\_cnn) |") < text.index("| a (simple\\_cnn) |")


def test_metrics_without_the_keys_of_an_interval_are_left_out_with_a_reason(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "a")
    run = make_run(tmp_path / "runs" / "b", quality=2)
    metrics = json.loads((run / "metrics.json").read_text())
    del metrics["val"]["ece"]["low"]
    change(run / "metrics.json", val=metrics["val"])
    html, _ = reported(tmp_path / "runs")
    assert "metrics.json has no val/ece" in html


def test_a_picture_outside_of_its_folder_is_not_taken_in(tmp_path: Path) -> None:
    """Even where the folder that it lies in has the same name."""
    run = make_run(tmp_path / "runs" / "a", quality=0.5, explained=2)
    (tmp_path / "elsewhere" / "test").mkdir(parents=True)
    (tmp_path / "elsewhere" / "test" / "x.jpg").write_bytes(b"of somebody else")
    path = run / "explained" / "test" / "cells.json"
    found = json.loads(path.read_text())
    found["cells"][0]["files"]["cell"] = "../../../../elsewhere/test/x.jpg"
    path.write_text(json.dumps(found))
    html, _ = reported(tmp_path / "runs")
    assert b64encode(b"of somebody else").decode() not in html
    assert "x.jpg is missing" in html


def test_names_that_share_cells_are_one_subject_in_the_counts(tmp_path: Path) -> None:
    split = cells()
    split.loc[split["subject"] == "TEA1", "group"] = "TEA0"
    make_run(tmp_path / "a", split=split)
    (board,) = leaderboards(collect([tmp_path]).runs, "test", "auroc")
    assert subjects_by_class(board) == {"ALL": 4, "HEM": 5}
    assert board.n_subjects == 9


def test_runs_of_an_earlier_version_claim_no_intervals(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "a", intervals=False)
    for text in reported(tmp_path / "runs"):
        assert "There are no intervals." in text
        assert "95 %" not in text
