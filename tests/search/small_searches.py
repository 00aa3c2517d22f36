"""Searches of runs of a second each: their sources, and a way to run them to the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from leukemia_lab.config import Composer, checked
from leukemia_lab.multirun import run_words
from leukemia_lab.schema import TrainCommandSettings
from leukemia_lab.schema.sweep import Search
from leukemia_lab.search.space import SearchSpace
from leukemia_lab.search.study import StudySource
from leukemia_lab.sweeping.engine import run_jobs
from leukemia_lab.sweeping.job import Job, JobEnd, TrialAddress
from leukemia_lab.sweeping.launching import Launcher, LocalLauncher
from tests.small_runs import DATA

SMALL = (*DATA, "trainer.accelerator=cpu", "trainer.batch_size=16", "trainer.max_epochs=1")
NET = (*SMALL, "model.net.width=2")
KNN = (*SMALL, "model=knn", "pipeline.image_size=16")


@cache
def composer() -> Composer:
    return Composer("train", TrainCommandSettings, None)


@cache
def settings_of(*words: str) -> TrainCommandSettings:
    return checked(TrainCommandSettings, composer().compose(list(words)))


def source_of(sweep: Path, *words: str, retry_failed: bool = False, trained: bool = False) -> StudySource:
    """The source of `train -m <words>`, with `sweep` as its folder; jobs to be `trained` have their own settings."""
    space = SearchSpace.of(words)
    samples = [settings_of(*sample) for sample in space.samples()]
    search = samples[0].search
    assert isinstance(search, Search)

    def make_job(overrides: Sequence[str], trial: TrialAddress) -> Job:
        own = settings_of(*overrides).as_training() if trained else settings[0]
        return Job(sweep.resolve(), trial.number, run_words(overrides, None), own, trial)

    settings = [sample.as_training() for sample in samples]
    return StudySource(search, space, settings, sweep, make_job, retry_failed=retry_failed)


def run_search(sweep: Path, *words: str, **arguments: Any) -> list[JobEnd]:
    """All that the search still has to do, in this process."""
    ends: list[JobEnd] = []
    with source_of(sweep, *words, trained=True, **arguments) as source:
        run_jobs(source, LocalLauncher(), stop_on_error=False, noted=ends.append)
    return ends


def finished(job: Job, objective: float, **fields: Any) -> JobEnd:
    """The end of a job that was not done, with the files that a finished run would have."""
    assert job.trial is not None
    folder = job.sweep / f"run-{job.trial.number}"
    folder.mkdir(parents=True, exist_ok=True)
    metrics = {"val": {"auroc": {"value": objective}, "ece": {"value": None, "reason": "no cells"}}}
    (folder / "metrics.json").write_text(json.dumps(metrics | {"objective": objective}))
    (folder / "record.json").write_text(json.dumps({"status": "finished", **fields}))
    return JobEnd(job, "finished", folder, objective)


def search_with(sweep: Path, end_of: Callable[[Job], JobEnd], *words: str, **arguments: Any) -> list[JobEnd]:
    """A search whose jobs end at once as `end_of` says; nothing is trained."""
    ends: list[JobEnd] = []
    with source_of(sweep, *words, **arguments) as source:
        run_jobs(source, FakeLauncher(end_of), stop_on_error=False, noted=ends.append)
    return ends


class FakeLauncher(Launcher):
    """Ends every job at once as `end_of` says, and trains nothing."""

    capacity = 1

    def __init__(self, end_of: Callable[[Job], JobEnd]) -> None:
        self._end_of, self._jobs = end_of, list[Job]()

    def submit(self, jobs: Sequence[Job]) -> None:
        self._jobs += jobs

    def wait(self) -> JobEnd:
        return self._end_of(self._jobs.pop(0))
