"""The script that SLURM gets, checked with stand-ins for its commands, and sweeps on submitit's local executor."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sweep_jobs import SLURM, ends_of, jobs_of

from leukemia_lab.errors import ConfigError
from leukemia_lab.runs import record
from leukemia_lab.sweeping import slurm_launcher
from leukemia_lab.sweeping.job import Job, JobEnd
from leukemia_lab.sweeping.job_files import log_path
from leukemia_lab.sweeping.slurm_launcher import STOPPED_FROM_OUTSIDE, SlurmLauncher, SlurmTask

submitit = pytest.importorskip("submitit", reason="submitit is not installed")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="submitit's signals are not those of Windows")

SECONDS = 120.0


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of stand-ins: `sbatch` keeps its script as `script`, `sacct` prints the file `states`."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    commands = {
        "sbatch": f"cp $1 {folder}/script; echo $1 >> {folder}/calls; echo Submitted batch job 4242",
        "srun": "",
        "sacct": f"cat {folder}/states",
    }
    for name, text in commands.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(submitit.SlurmJob, "_results_timeout_s", 0)
    submitit.SlurmJob.watcher.clear()
    return folder


def tell(cluster: Path, *states: str) -> None:
    lines = ["JobID|State|NodeList", *(f"4242_{n}|{state}|n1" for n, state in enumerate(states))]
    (cluster / "states").write_text("\n".join(lines), encoding="utf-8")


def test_a_grid_is_one_array_with_what_was_asked_for(cluster: Path, tmp_path: Path) -> None:
    launcher = SlurmLauncher(SLURM, tmp_path / "sweep", all_at_once=True)
    assert launcher.capacity > 1000
    launcher.submit(jobs_of(tmp_path / "sweep", "seed=0", "seed=1", "seed=2"))
    script = (cluster / "script").read_text(encoding="utf-8")
    for option in (
        "array=0-2%2",
        "time=90",
        "cpus-per-task=4",
        "gpus-per-node=1",
        "mem=16GB",
        "partition=gpu",
        "qos=low",
        "job-name=leukemia_lab",
    ):
        assert f"#SBATCH --{option}\n" in script
    assert re.search(r"#SBATCH --signal=USR2@\d+\n", script)  # before the time is up
    assert script.index("module load cuda") < script.index("srun ")
    assert len((cluster / "calls").read_text(encoding="utf-8").splitlines()) == 1


def test_a_repeated_sweep_joins_its_jobs_and_queues_the_lost_ones(cluster: Path, tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path / "sweep", "seed=0", "seed=1", "seed=2")
    SlurmLauncher(SLURM, tmp_path / "sweep", all_at_once=True).submit(jobs)
    submitit.SlurmJob.watcher.clear()
    tell(cluster, "RUNNING", "CANCELLED by 1000", "PENDING")
    SlurmLauncher(SLURM, tmp_path / "sweep", all_at_once=True).submit(jobs)
    assert len((cluster / "calls").read_text(encoding="utf-8").splitlines()) == 2
    assert "--array" not in (cluster / "script").read_text(encoding="utf-8")  # one job alone


def test_a_job_whose_node_died_has_failed_with_its_state(
    cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = jobs_of(tmp_path / "sweep", "seed=0", "seed=1")
    tell(cluster, "RUNNING", "NODE_FAIL")
    with SlurmLauncher(SLURM, tmp_path / "sweep", all_at_once=True) as launcher:
        launcher.submit(jobs)
        end = launcher.wait()
    assert (end.job, end.status) == (jobs[1], "failed")
    assert "job 4242_1" in str(end.error)
    assert "NODE_FAIL" in str(end.error)
    assert (
        "jobs that go on: 4242_0. The same command joins them, `scancel 4242_0` ends them"
        in capsys.readouterr().err
    )


def test_a_cluster_that_takes_no_job_is_an_error_with_its_words(cluster: Path, tmp_path: Path) -> None:
    (cluster / "sbatch").write_text("#!/bin/sh\necho 'invalid partition' >&2; exit 1\n", encoding="utf-8")
    launcher = SlurmLauncher(SLURM, tmp_path / "sweep", all_at_once=False)
    assert launcher.capacity == SLURM.max_running
    with pytest.raises(ConfigError, match="invalid partition"):
        launcher.submit(jobs_of(tmp_path / "sweep", "seed=0"))


def test_a_task_whose_time_is_up_is_queued_again_and_a_cancelled_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [job] = jobs_of(tmp_path, "seed=0")
    asked: list[int] = []

    def interrupted_by(number: int | None) -> None:
        def work(job: Job, patience: float) -> JobEnd:
            if number is not None:
                with pytest.raises(KeyboardInterrupt):
                    signal.raise_signal(number)
            return JobEnd(job, "interrupted")

        monkeypatch.setattr(slurm_launcher, "work", work)
        before = signal.signal(signal.SIGUSR2, lambda number, _: asked.append(number))
        try:
            with pytest.raises(SystemExit) as leaving:
                SlurmTask(job)()
        finally:
            signal.signal(signal.SIGUSR2, before)
        assert leaving.value.code == STOPPED_FROM_OUTSIDE

    interrupted_by(None)
    assert asked == []
    interrupted_by(signal.SIGUSR2)
    assert asked == [signal.SIGUSR2]
    assert SlurmTask(job).checkpoint().function.job == job


@pytest.mark.slow
def test_local_executor_finishes_runs_and_one_whose_time_was_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{here}{os.pathsep}{here.parents[1]}")
    slow = "augment.on_device._target_=failing_parts.Slow +augment.on_device.seconds=0.3"
    jobs = jobs_of(tmp_path, "seed=0", f"{slow} trainer.max_epochs=12 seed=1")
    stopper = threading.Thread(target=_stop_once, args=(jobs[1],))
    stopper.start()
    node = SLURM.model_copy(update={"cluster": "local", "gpus_per_job": 0, "setup": []})
    ends = ends_of(jobs, SlurmLauncher(node, tmp_path, all_at_once=True))
    stopper.join()
    assert {name: end.status for name, end in ends.items()} == {"seed=0": "finished", "seed=1": "finished"}
    log = log_path(jobs[1]).read_text(encoding="utf-8")
    assert len(re.findall(r": process \d+ on ", log)) == 2
    assert log.count("epoch 1/12") == 1  # the second one went on
    assert "epoch 12/12" in log
    assert record.read_json(ends["seed=1"].run / record.RECORD)["epochs"] == 12


def _stop_once(job: Job) -> None:
    """Send the signal that SLURM sends before a job's time is up, once its first epoch is done."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        text = log_path(job).read_text(encoding="utf-8") if log_path(job).exists() else ""
        if "epoch 2/" in text:
            os.kill(int(re.findall(r": process (\d+) on ", text)[0]), signal.SIGUSR2)
            return
        time.sleep(0.2)


def test_a_run_that_is_queued_again_goes_on_even_where_it_was_to_begin_anew(tmp_path: Path) -> None:
    [job] = jobs_of(tmp_path, "force=true")
    assert job.settings.force
    again = SlurmTask(job).checkpoint().function
    assert again.job == replace(job, settings=job.settings.model_copy(update={"force": False}))
