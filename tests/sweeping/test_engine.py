"""The loop of a sweep, with jobs that do nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from leukemia_lab.config import Composer, checked
from leukemia_lab.schema import TrainCommandSettings
from leukemia_lab.sweeping import engine
from leukemia_lab.sweeping.engine import JobList, run_jobs
from leukemia_lab.sweeping.job import Job, JobEnd, Status
from leukemia_lab.sweeping.launching import Launcher


class Playing(Launcher):
    """Ends each job as `ends` says, by its number, in the order of submission; `finished` where it says nothing."""

    def __init__(self, capacity: int, ends: dict[int, list[Status]], run: Path | None = None) -> None:
        self.capacity, self.ends, self.run = capacity, ends, run
        self.running: list[Job] = []
        self.submitted: list[int] = []
        self.most = 0

    def submit(self, jobs: Sequence[Job]) -> None:
        self.running += jobs
        self.submitted += [job.number for job in jobs]
        self.most = max(self.most, len(self.running))

    def wait(self) -> JobEnd:
        job = self.running.pop(0)
        status = self.ends[job.number].pop(0) if self.ends.get(job.number) else "finished"
        return JobEnd(job, status, self.run)


def jobs(n: int) -> list[Job]:
    settings = checked(
        TrainCommandSettings, Composer("train", TrainCommandSettings, None).compose([])
    ).as_training()
    return [Job(Path("sweep"), number, (f"seed={number}",), settings) for number in range(n)]


def test_every_job_is_given_out_once_and_no_more_at_once_than_there_is_room() -> None:
    for capacity in (1, 3, 20):
        launcher, ends = Playing(capacity, {}), []
        assert run_jobs(JobList(jobs(7)), launcher, stop_on_error=False, noted=ends.append)
        assert launcher.submitted == list(range(7))
        assert [end.job.number for end in ends] == list(range(7))
        assert launcher.most == min(capacity, 7)


def test_a_failed_job_stops_a_sweep_only_where_asked() -> None:
    failing: dict[int, list[Status]] = {2: ["failed"]}
    launcher = Playing(2, {2: ["failed"]})
    assert run_jobs(JobList(jobs(6)), launcher, stop_on_error=False, noted=lambda end: None)
    assert launcher.submitted == list(range(6))
    launcher, ends = Playing(2, failing), []
    assert not run_jobs(JobList(jobs(6)), launcher, stop_on_error=True, noted=ends.append)
    assert launcher.submitted == [0, 1, 2, 3]  # 3 ran already
    assert [end.job.number for end in ends] == [0, 1, 2, 3]  # and was waited for


def test_a_held_run_is_asked_for_again_once_nobody_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "POLL_SECONDS", 0.01)
    looks = iter([object(), object(), None])
    monkeypatch.setattr(engine, "holder_of", lambda run: next(looks))
    launcher, ends = Playing(1, {0: ["held"]}, tmp_path), []
    assert run_jobs(JobList(jobs(2)), launcher, stop_on_error=False, noted=ends.append)
    assert launcher.submitted == [0, 1, 0]
    assert [end.status for end in ends] == ["held", "finished", "finished"]
    assert next(looks, "all looked") == "all looked"


def test_an_interrupted_launcher_is_left_and_nothing_more_is_begun() -> None:
    class Stopped(Playing):
        left = False

        def wait(self) -> JobEnd:
            raise KeyboardInterrupt

        def __exit__(self, *error: object) -> None:
            self.left = error[0] is KeyboardInterrupt

    launcher = Stopped(1, {})
    with pytest.raises(KeyboardInterrupt):
        run_jobs(JobList(jobs(3)), launcher, stop_on_error=False, noted=lambda end: None)
    assert launcher.left
    assert launcher.submitted == [0]


def test_the_key_of_a_job_is_that_of_its_settings_in_whatever_words() -> None:
    settings = jobs(1)[0].settings
    one = Job(Path("a"), 0, ("seed=0",), settings)
    other = Job(Path("b"), 5, ("data=synthetic", "seed=0"), settings.model_copy(update={"force": True}))
    assert one.key == other.key
    assert one.key != Job(Path("a"), 0, (), settings.model_copy(update={"seed": 1})).key
