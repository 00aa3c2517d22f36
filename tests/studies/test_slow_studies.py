"""Every shipped study at its least budget, and a study that is killed half-way."""

from __future__ import annotations

import csv
import html
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from small_runs import DONE, NET
from study_files import CELLS, FAST, study_file

from leukemia_lab import study
from leukemia_lab.runs.record import RECORD, read_json
from leukemia_lab.studies.definition import read_study, shipped_studies

PATIENCE = 300.0  # seconds


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", shipped_studies())
def test_every_shipped_study_runs_at_the_smoke_budget(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "challenge":
        pytest.importorskip("timm", reason="timm is not installed")
    folder = tmp_path / "study"
    assert study.main([f"study={name}", "study.budget=smoke", f"study.folder={folder}"]) == DONE
    with (folder / "table.csv").open() as file:
        rows = {row["row"]: row for row in csv.DictReader(file)}
    node = read_study(name).node
    metric = "auroc" if node.kind == "paper" else node.metric
    assert all(0 <= float(row[metric]) <= 1 for row in rows.values())
    assert "SYNTHETIC" in json.loads((folder / "study.json").read_text())["stamps"]
    assert node.title in html.unescape((folder / "report.html").read_text())
    if name == "vgg13_paper":
        verdicts = {row: found["claim_verdict"] for row, found in rows.items()}
        assert len(verdicts) == 6
        assert {row for row, verdict in verdicts.items() if verdict == "impossible"} == {"KNN", "SVM"}
        shares = {row: found["implied_positive_share"] for row, found in rows.items()}
        expected = {"VGG19": 0.00, "VGG16": 0.56, "VGG16 + RF": 0.59, "VGG13 (custom)": 0.51}
        assert {row: round(float(share), 2) for row, share in shares.items() if share} == expected
        assert "cannot be of one test set" in capsys.readouterr().out


@pytest.mark.slow
def test_a_study_that_is_killed_half_way_finishes_without_redoing_rows(tmp_path: Path) -> None:
    rows = [
        {"name": "CNN", "overrides": ["model=simple_cnn", *NET, "pipeline.image_size=32", "seed=0,1"]},
        {"name": "KNN", "overrides": ["model=knn", *FAST]},
        {"name": "forest", "overrides": ["model=rf", *FAST]},
    ]
    path = study_file(tmp_path, rows=rows)
    words = [f"study={path}", "study.budget=smoke", *CELLS]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    done = _killed_after(2, [*words, f"study.folder={killed}"], killed)
    assert 2 <= len(done) < 4
    assert study.main([*words, f"study.folder={killed}"]) == DONE
    after = _finished(killed)
    assert len(after) == 4
    assert {name: after[name] for name in done} == done
    assert study.main([*words, f"study.folder={whole}"]) == DONE
    assert (killed / "table.md").read_text() == (whole / "table.md").read_text()
    tables = [pd.read_csv(folder / "table.csv").drop(columns="seconds") for folder in (killed, whole)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-6)  # a forest's sums depend on the order of its threads


def _killed_after(n_runs: int, words: list[str], folder: Path) -> dict[str, str]:
    """Start the study, kill it with its children once so many runs are finished; these, and when they were."""
    command = [sys.executable, "-m", "leukemia_lab.study", *words]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    end = time.monotonic() + PATIENCE
    while len(_finished(folder)) < n_runs:
        assert process.poll() is None, "the study ended before it was killed"
        assert time.monotonic() < end
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return _finished(folder)


def _finished(folder: Path) -> dict[str, str]:
    found = {path.parent.name: read_json(path) for path in (folder / "runs").glob(f"*/{RECORD}")}
    return {name: own["finished"] for name, own in found.items() if own["status"] == "finished"}
