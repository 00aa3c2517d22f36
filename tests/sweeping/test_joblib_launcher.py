"""A sweep in several processes: one that dies takes nothing else with it, and none is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from failing_parts import KILLED, NAN, RAISING
from sweep_jobs import SMALL

from leukemia_lab import train
from leukemia_lab.runs import record
from leukemia_lab.sweeping.job_files import JOBS, read_jobs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="signals are not those of Windows"),
]
SECONDS = 120.0


@pytest.fixture(autouse=True)
def _targets_in_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{here}{os.pathsep}{here.parents[1]}")


def sweep_of(folder: Path, target: str, argument: str, *more: str) -> list[str]:
    node = (f"augment.on_device._target_=failing_parts.{target}", f"+augment.on_device.{argument}")
    return ["-m", *SMALL, f"hydra.sweep.dir={folder}", *node, "launcher=joblib", *more]


def errors_by_seed(folder: Path) -> dict[int, str | None]:
    found = {}
    for job in read_jobs(folder):
        [seed] = [word for word in job["overrides"] if word.startswith("seed=")]
        found[int(seed.removeprefix("seed="))] = job["error"]
    return found


def test_three_of_twelve_fail_and_are_explained_then_all_finish(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cause, folder = tmp_path / "cause", tmp_path / "sweep"
    cause.touch()
    seeds = ",".join(str(seed) for seed in range(12))
    words = sweep_of(folder, "Trouble", f"cause={cause}", f"seed={seeds}")
    assert train.main(words) == 1
    errors = errors_by_seed(folder)
    assert {seed for seed, error in errors.items() if error is not None} == {RAISING, NAN, KILLED}
    assert "planted" in str(errors[RAISING])
    assert "TrainingError" in str(errors[NAN])
    assert "signal 9 (SIGKILL)" in str(errors[KILLED])
    printed = capsys.readouterr()
    assert "9 of 12 runs finished, 3 failed" in printed.out
    assert printed.out.count("failed: ") == 3
    finished = {
        path: path.stat().st_mtime_ns
        for path in folder.glob(f"*/{record.RECORD}")
        if record.read_json(path)["status"] == "finished"
    }
    assert len(finished) == 9

    cause.unlink()
    assert train.main(words) == 0
    assert set(errors_by_seed(folder).values()) == {None}
    assert {path: path.stat().st_mtime_ns for path in finished} == finished  # not trained again
    assert len(list(folder.glob(f"*/{record.METRICS}"))) == 12


def workers(folder: Path) -> list[int]:
    """The processes that have begun a job."""
    texts = [path.read_text(encoding="utf-8") for path in (folder / JOBS).glob("*.log")]
    return [int(number) for text in texts for number in re.findall(r": process (\d+) on ", text)]


def alive(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def begun_sweep(folder: Path) -> subprocess.Popen[str]:
    """A sweep of two runs that would take hours, both in training."""
    words = sweep_of(folder, "Slow", "seconds=0.2", "seed=0,1", "trainer.max_epochs=10000")
    command = [sys.executable, "-m", "leukemia_lab.train", *words]
    sweep = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
    )
    until = time.monotonic() + SECONDS
    while len(list(folder.glob(f"*/{record.HISTORY}"))) < 2:
        assert time.monotonic() < until
        assert sweep.poll() is None, sweep.communicate()[0]
        time.sleep(0.2)
    return sweep


def statuses(folder: Path) -> list[str]:
    return [record.read_json(path)["status"] for path in folder.glob(f"*/{record.RECORD}")]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes by /proc")
def test_ctrl_c_ends_the_runs_after_their_step(tmp_path: Path) -> None:
    sweep = begun_sweep(tmp_path)
    os.killpg(sweep.pid, signal.SIGINT)  # as a terminal does, to all of its foreground
    printed, _ = sweep.communicate(timeout=SECONDS)
    assert sweep.returncode == 3, printed
    assert "stopping 2 runs after their step" in printed
    assert statuses(tmp_path) == ["interrupted", "interrupted"]
    assert len(workers(tmp_path)) == 2
    assert not any(alive(number) for number in workers(tmp_path))
    logs = [path.read_text(encoding="utf-8") for path in (tmp_path / JOBS).glob("*.log")]
    assert all(text.count("stopping after this step") == 1 for text in logs)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it takes a second")
def test_no_worker_outlives_a_killed_sweep(tmp_path: Path) -> None:
    sweep = begun_sweep(tmp_path)
    assert [alive(number) for number in workers(tmp_path)] == [True, True]
    sweep.kill()
    sweep.communicate(timeout=SECONDS)
    time.sleep(0.5)
    assert not any(alive(number) for number in workers(tmp_path))
