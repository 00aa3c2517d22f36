"""What launchers share: what is missing is said before, and what is said of a job whose process died."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from sweep_jobs import SLURM, SMALL, jobs_of

from leukemia_lab import train
from leukemia_lab.runs import record
from leukemia_lab.runs.record import RunFolder
from leukemia_lab.schema.sweep import (
    JoblibLauncherNode,
    LocalLauncherNode,
    RayLauncherNode,
    SlurmLauncherNode,
)
from leukemia_lab.sweeping import launchers, workers
from leukemia_lab.sweeping.job_files import read_jobs, write_job
from leukemia_lab.sweeping.joblib_launcher import JoblibLauncher
from leukemia_lab.sweeping.launchers import launcher_faults, make_launcher
from leukemia_lab.sweeping.workers import lost_job

RAY = RayLauncherNode(name="ray", address=None, cpus_per_job=1, gpus_per_job=0, max_retries=0)
REASON = "ended by signal 9"


@pytest.mark.parametrize(("node", "package"), [(RAY, "ray"), (SLURM, "submitit")])
def test_a_missing_package_is_named_with_its_extra(
    node: RayLauncherNode | SlurmLauncherNode, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launchers, "find_spec", lambda name: None)
    name = node.name
    assert launcher_faults(node) == [f"launcher={name} needs {package}: pip install 'leukemia-lab[{name}]'"]


def test_slurm_needs_its_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launchers, "find_spec", lambda name: object())
    monkeypatch.setattr(launchers.shutil, "which", lambda name: None)
    [fault] = launcher_faults(SLURM)
    assert "srun" in fault
    assert "launcher.cluster=local" in fault
    assert launcher_faults(SLURM.model_copy(update={"cluster": "local"})) == []


def test_launchers_of_this_machine_need_nothing(tmp_path: Path) -> None:
    node = JoblibLauncherNode(name="joblib", n_jobs=3)
    assert launcher_faults(node) == launcher_faults(LocalLauncherNode(name="local")) == []
    launcher = make_launcher(node, tmp_path)
    assert isinstance(launcher, JoblibLauncher)
    assert launcher.capacity == 3


def test_a_job_whose_process_died_early_has_failed_with_the_reason(tmp_path: Path) -> None:
    [job] = jobs_of(tmp_path, "seed=0")
    end = lost_job(job, REASON)
    assert (end.status, end.run, end.error) == ("failed", None, REASON)
    assert read_jobs(tmp_path)[0]["error"] == REASON


def test_the_record_of_a_run_whose_process_died_says_so(tmp_path: Path) -> None:
    [job] = jobs_of(tmp_path, "seed=0")
    folder = RunFolder.open(tmp_path / "net-0", "0", force=False)
    with folder.held():
        folder.update(status="running")
    write_job(job, run=folder.path, error=None)
    assert lost_job(job, REASON).run == folder.path
    found = RunFolder.existing(folder.path).record
    assert (found["status"], found["error"]) == ("failed", REASON)


def test_a_run_that_another_process_goes_on_with_is_left_alone(tmp_path: Path) -> None:
    [job] = jobs_of(tmp_path, "seed=0")
    folder = RunFolder.open(tmp_path / "net-0", "0", force=False)
    write_job(job, run=folder.path, error=None)
    with folder.held():
        folder.update(status="running")
        assert lost_job(job, REASON).status == "failed"
        assert RunFolder.existing(folder.path).record["status"] == "running"


def test_a_lease_left_on_another_machine_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [job] = jobs_of(tmp_path, "seed=0")
    folder = RunFolder.open(tmp_path / "net-0", "0", force=False)
    write_job(job, run=folder.path, error=None)
    monkeypatch.setattr(workers, "POLL_SECONDS", 0.05)
    with ExitStack() as hold:
        hold.enter_context(folder.held())
        folder.update(status="running")
        threading.Timer(0.5, hold.close).start()
        assert lost_job(job, REASON, patience=30.0).status == "failed"
    assert RunFolder.existing(folder.path).record["error"] == REASON


def test_a_missing_launcher_is_said_before_any_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launchers, "find_spec", lambda name: None)
    assert train.main(["-m", *SMALL, "seed=0,1", f"hydra.sweep.dir={tmp_path}", "launcher=ray"]) == 2
    assert "pip install 'leukemia-lab[ray]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_finished_when_its_process_died_is_finished(tmp_path: Path) -> None:
    [job] = jobs_of(tmp_path, "seed=0")
    folder = RunFolder.open(tmp_path / "net-0", "0", force=False)
    with folder.held():
        folder.update(status="finished", finished=record.now())
        folder.write_metrics({"objective": 0.75})
    write_job(job, run=folder.path, error=None)
    end = lost_job(job, REASON)
    assert (end.status, end.objective) == ("finished", 0.75)
