"""Runs that end the process of their sweep, and one that gets on between the ends of its processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from failing_parts import KILLED
from small_runs import DATA, DONE, NET, SOME_FAILED

from leukemia_lab.runs.deaths import ENOUGH
from leukemia_lab.sweeping.table import sweep_rows

SEARCH = ("search=grid", "search/pruner=none")
BY_SIGKILL = -9


def exit_statuses(folder: Path, *words: str) -> tuple[list[int], str]:
    """Repeat a sweep until its process is not killed any more: the exit statuses, the last command's output."""
    here = Path(__file__).parent
    environment = os.environ | {
        "PYTHONPATH": f"{here.parents[1]}{os.pathsep}{here}",
        "OMP_NUM_THREADS": "1",
    }
    own = [*DATA, *NET, "trainer.precision=32-true", "trainer.accelerator=cpu", f"hydra.sweep.dir={folder}"]
    command = [sys.executable, "-m", "leukemia_lab.train", "-m", *own, *words]
    found: list[int] = []
    while True:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        found.append(done.returncode)
        if done.returncode != BY_SIGKILL or len(found) > 8:
            return found, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), SEARCH], ids=["list", "search"])
def test_a_run_that_ends_its_process_ends_no_sweep(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "cause").touch()
    part = (
        "augment.on_device._target_=failing_parts.Trouble",
        f"+augment.on_device.cause={tmp_path}/cause",
    )
    folder = tmp_path / "sweep"
    found, said = exit_statuses(folder, *part, f"seed={KILLED},8,9", *words)
    assert found == [BY_SIGKILL] * ENOUGH + [SOME_FAILED], said
    assert {about["seed"]: status for about, status in rows_by_words(folder)} == {
        str(KILLED): "failed",
        "8": "finished",
        "9": "finished",
    }
    assert "the process of this run died 3 times before it finished an epoch" in said
    (tmp_path / "cause").unlink()
    assert exit_statuses(folder, *part, f"seed={KILLED},8,9", *words)[0] == [DONE]


def rows_by_words(folder: Path) -> list[tuple[dict[str, str], str]]:
    rows = sweep_rows(folder)
    return [(dict(word.split("=", 1) for word in row["overrides"]), row["status"]) for row in rows]


@pytest.mark.slow
def test_a_run_that_gets_on_is_finished_however_often_its_process_dies(tmp_path: Path) -> None:
    (places := tmp_path / "places").mkdir()
    part = (
        "augment.on_device._target_=failing_parts.OnceAnEpoch",
        f"+augment.on_device.places={places}",
    )
    n_epochs = ENOUGH + 2
    found, said = exit_statuses(tmp_path / "sweep", *part, "seed=0", f"trainer.max_epochs={n_epochs}")
    assert found == [BY_SIGKILL] * n_epochs + [DONE], said
    assert [row["epochs"] for row in sweep_rows(tmp_path / "sweep")] == [n_epochs]
