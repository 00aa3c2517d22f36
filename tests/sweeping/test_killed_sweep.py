"""A sweep that is killed again and again: at the end every run is there once, equal to the undisturbed one's."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from small_runs import DATA, record_of

from leukemia_lab.runs import record
from leukemia_lab.sweeping.table import TABLE, sweep_rows

NET = ("model.net.width=4", "trainer.batch_size=16", "trainer.precision=32-true", "protocol.test_share=0.2")


def sweep_command(folder: Path, n_seeds: int, n_epochs: int) -> list[str]:
    seeds = ",".join(map(str, range(n_seeds)))
    words = [*DATA, *NET, f"trainer.max_epochs={n_epochs}", "optim.lr=1e-3,1e-2", f"seed={seeds}"]
    return [sys.executable, "-m", "leukemia_lab.train", "-m", *words, f"hydra.sweep.dir={folder}"]


def finish(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stderr


def kill_after(command: list[str], folder: Path, n_epochs: int, seconds: float) -> None:
    """Start the command, and kill all its processes `seconds` after the sweep's runs have done that many epochs."""
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while sum(row["epochs"] or 0 for row in rows_of(folder)) < n_epochs:
            assert process.poll() is None, "ended before it could be killed"
            time.sleep(0.02)
        time.sleep(seconds)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def rows_of(folder: Path) -> list[Any]:
    return list(sweep_rows(folder)) if folder.exists() else []


def finished_runs(folder: Path) -> dict[str, Any]:
    """What would change if a finished run were trained again."""
    return {
        row["run"]: (
            record_of(folder / row["run"])["finished"],
            (folder / row["run"] / record.PREDICTIONS).stat().st_mtime_ns,
        )
        for row in rows_of(folder)
        if row["status"] == "finished"
    }


def assert_equal_results(one: Path, other: Path) -> None:
    runs = sorted(path.parent.name for path in one.glob(f"*/{record.RECORD}"))
    assert runs == sorted(path.parent.name for path in other.glob(f"*/{record.RECORD}"))
    for run in runs:
        pd.testing.assert_frame_equal(
            pd.read_parquet(one / run / record.PREDICTIONS),
            pd.read_parquet(other / run / record.PREDICTIONS),
            check_exact=True,
        )
        metrics = [json.loads((folder / run / record.METRICS).read_text()) for folder in (one, other)]
        assert metrics[0] == metrics[1]
        weights = [
            torch.load(folder / run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
            for folder in (one, other)
        ]
        assert weights[0].keys() == weights[1].keys()
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(
    ("n_seeds", "n_epochs", "n_kills"),
    [pytest.param(1, 6, 1), pytest.param(6, 8, 5, marks=pytest.mark.slow)],
    ids=["2 runs killed once", "12 runs killed five times"],
)
def test_a_killed_sweep_ends_as_the_undisturbed_one(
    tmp_path: Path, n_seeds: int, n_epochs: int, n_kills: int
) -> None:
    finish(sweep_command(tmp_path / "undisturbed", n_seeds, n_epochs))
    command = sweep_command(tmp_path / "killed", n_seeds, n_epochs)
    seed = int(time.time())
    print(f"moments of the kills by seed {seed}")
    rng = random.Random(seed)
    found: dict[str, Any] = {}
    for kill in range(n_kills):
        share = (kill + rng.uniform(0.2, 0.8)) / (n_kills + 0.5)  # so that the kills strike early and late
        moment = int(share * 2 * n_seeds * n_epochs)
        kill_after(command, tmp_path / "killed", moment, rng.uniform(0, 0.5))
        now = finished_runs(tmp_path / "killed")
        assert found.items() <= now.items()  # no finished run was trained again
        found = now
    finish(command)
    now = finished_runs(tmp_path / "killed")
    assert found.items() <= now.items()
    assert len(now) == 2 * n_seeds
    assert_equal_results(tmp_path / "undisturbed", tmp_path / "killed")
    assert len(pd.read_csv(tmp_path / "killed" / TABLE)) == 2 * n_seeds
    if n_kills > 1:
        assert finish(command).count("finished before") == 2 * n_seeds
        assert finished_runs(tmp_path / "killed") == now
