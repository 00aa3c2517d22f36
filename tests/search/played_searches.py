"""A search whose jobs are not trained, but end as a function says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna

from leukemia_lab.search.storage import open_storage, storage_address
from leukemia_lab.search.study import StudySource
from leukemia_lab.sweeping.job import Job, JobEnd
from tests.search.small_searches import SMALL, finished

LR = "optim.lr=tag(log,interval(1e-4,1e-1))"


SPACE = (*SMALL, LR, "trainer.batch_size=8,16,32", "search/pruner=none")


TPE = (*SPACE, "search=tpe")


def value_of(job: Job, key: str) -> str:
    return next(word.partition("=")[2] for word in job.overrides if word.startswith(f"{key}="))


def best_at_middle(job: Job) -> JobEnd:
    return finished(job, 1 - abs(float(value_of(job, "optim.lr")) - 0.01))


def failing(job: Job) -> JobEnd:
    return JobEnd(job, "failed", None, None, "TrainingError: too bad")


def study_in(sweep: Path) -> Any:
    storage = open_storage(storage_address(None, sweep))
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def next_job(source: StudySource) -> Job:
    job = source.next()
    assert isinstance(job, Job)
    return job
