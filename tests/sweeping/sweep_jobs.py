"""Jobs of seconds for launchers: the smallest runs, and some that go wrong."""

from __future__ import annotations

from pathlib import Path

from leukemia_lab.config import Composer, checked
from leukemia_lab.schema import TrainCommandSettings
from leukemia_lab.schema.sweep import SlurmLauncherNode
from leukemia_lab.sweeping.engine import JobList, run_jobs
from leukemia_lab.sweeping.job import Job, JobEnd
from leukemia_lab.sweeping.launching import Launcher

SMALL = (
    "experiment=smoke",
    "data.n_cells=64",
    "data.n_subjects=10",
    "pipeline.image_size=32",
    "model.net.width=2",
    "trainer.precision=32-true",
)

SLURM = SlurmLauncherNode(
    name="slurm",
    cluster="slurm",
    max_running=2,
    timeout_minutes=90,
    max_timeouts=1,
    cpus_per_job=4,
    gpus_per_job=1,
    memory_gb=16,
    partition="gpu",
    setup=["module load cuda"],
    parameters={"qos": "low"},
)


def jobs_of(sweep: Path, *changes: str) -> list[Job]:
    """One small job for each of `changes`, which are overrides with a space in between."""
    composer = Composer("train", TrainCommandSettings, None)
    words = [(*SMALL, *change.split()) for change in changes]
    settings = [checked(TrainCommandSettings, composer.compose(list(some))).as_training() for some in words]
    return [
        Job(sweep=sweep.resolve(), number=number, overrides=some, settings=made)
        for number, (some, made) in enumerate(zip(words, settings, strict=True))
    ]


def ends_of(jobs: list[Job], launcher: Launcher) -> dict[str, JobEnd]:
    """How each job ended, by the last of its overrides."""
    ends: dict[str, JobEnd] = {}

    def noted(end: JobEnd) -> None:
        ends[end.job.overrides[-1]] = end

    assert run_jobs(JobList(jobs), launcher, stop_on_error=False, noted=noted)
    return ends
