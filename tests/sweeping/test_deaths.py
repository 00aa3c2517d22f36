"""Deaths of processes over their runs, planted as leases that were left behind: counted, heeded, forgotten."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_runs import DATA, DONE, INTERRUPTED, MORE_DATA, SOME_FAILED, record_of

from leukemia_lab import train, training
from leukemia_lab.cells import Cells
from leukemia_lab.runs import deaths, lease, record
from leukemia_lab.runs.record import RunFolder
from leukemia_lab.schema import TrainSettings
from leukemia_lab.sweeping.job import Job
from leukemia_lab.sweeping.job_files import read_jobs
from leukemia_lab.sweeping.table import sweep_rows
from leukemia_lab.sweeping.work import run_job
from tests.search.small_searches import run_search, source_of

KNN = (*DATA, "model=knn", "model.classifier.grid={}")
SEARCH = ("search=grid", "search/pruner=none")
SWEEP = ("-m", *KNN, "seed=0,1,2")
GIVEN_UP = "the process of this run died 3 times before it finished an epoch"


def plant_death(run: Path) -> None:
    """Leave the run as a process does that was killed at work on it."""
    folder = RunFolder.existing(run)
    with folder.held():
        (run / record.METRICS).unlink(missing_ok=True)
        folder.update(status="running")
        held = next((run / lease.FOLDER).iterdir())
        about = json.loads(held.read_text())
    file = held.with_name(f"{int(held.stem) + 1}.json")
    file.write_text(json.dumps(about | {"started": "1"}))  # its number has gone to another process since


def count(run: Path) -> int:
    """Take the run over, as a sweep does; how many processes have died over it in a row."""
    folder = RunFolder.existing(run)
    with folder.held():
        deaths.count_death(folder)
    return deaths.deaths_in_a_row(folder)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of which nothing was done."""
    return RunFolder.open(tmp_path / "run", "a", force=False).path


@pytest.fixture(scope="module")
def three_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of three runs."""
    folder = tmp_path_factory.mktemp("three_runs")
    assert train.main([*SWEEP, f"hydra.sweep.dir={folder}"]) == DONE
    return folder


@pytest.fixture
def sweep(three_runs: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return shutil.copytree(three_runs, tmp_path / "sweep")


def again(sweep: Path, *words: str) -> int:
    return train.main([*SWEEP, *words, f"hydra.sweep.dir={sweep}"])


def statuses(sweep: Path) -> list[str]:
    return [row["status"] for row in sweep_rows(sweep)]


def runs_of(sweep: Path) -> list[Path]:
    return [sweep / row["run"] for row in sweep_rows(sweep)]


def test_only_who_dies_at_work_is_counted(run: Path) -> None:
    folder = RunFolder.existing(run)
    for _ in range(3):
        with folder.held():  # and released, as by Ctrl-C, SIGTERM or an error
            folder.update(status="running")
        assert count(run) == 0
    plant_death(run)
    assert [count(run), count(run)] == [1, 1]  # a death once
    plant_death(run)
    RunFolder.existing(run).update(status="finished")
    assert count(run) == 1  # by something that came after training


@pytest.mark.parametrize("grown", [record.HISTORY, f"fold_1/{record.HISTORY}", f"fold_0/{record.METRICS}"])
def test_an_epoch_or_a_fold_starts_the_count_anew(run: Path, grown: str) -> None:
    for n_deaths in (1, 2):
        plant_death(run)
        assert count(run) == n_deaths
    (run / grown).parent.mkdir(exist_ok=True)
    (run / grown).write_text("epoch,train/loss\n0,0.5\n")
    assert deaths.deaths_in_a_row(RunFolder.existing(run)) == 0
    for n_deaths in (1, 2):
        plant_death(run)
        assert count(run) == n_deaths


def test_an_epoch_that_is_done_again_is_no_progress(run: Path) -> None:
    found = []
    for text in ("epoch\n0\n1\n", "epoch\n0\n", "epoch\n0\n1\n", "epoch\n0\n1\n2\n"):
        (run / record.HISTORY).write_text(text)
        plant_death(run)
        found.append(count(run))
    assert found == [1, 2, 3, 1]


def test_starting_over_forgets_the_deaths(run: Path) -> None:
    plant_death(run)
    assert count(run) == 1
    RunFolder.open(run, "a", force=True)
    assert deaths.deaths_in_a_row(RunFolder.existing(run)) == 0


def test_a_sweep_gives_a_run_up_and_tries_it_again_later(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, deadly, _ = runs_of(sweep)
    for _ in range(deaths.ENOUGH - 1):
        plant_death(deadly)
        count(deadly)
    plant_death(deadly)
    capsys.readouterr()
    assert again(sweep) == SOME_FAILED
    said = capsys.readouterr().out
    assert statuses(sweep) == ["finished", "failed", "finished"]
    assert GIVEN_UP in str(sweep_rows(sweep)[1]["error"])
    assert f"failed: {' '.join(KNN)} seed=1: TrainingError: {GIVEN_UP}" in said
    assert again(sweep, "sweep.retry_failed=false") == SOME_FAILED
    assert record_of(deadly)["deaths"] == deaths.ENOUGH
    assert again(sweep) == DONE
    assert statuses(sweep) == ["finished"] * 3
    assert record_of(deadly)["deaths"] == 0


def give_up(run: Path) -> None:
    """Leave the run as a sweep does over which three processes have died."""
    RunFolder.existing(run).update(status="failed", error=GIVEN_UP, deaths=deaths.ENOUGH)
    (run / record.METRICS).unlink(missing_ok=True)


def test_runs_that_were_given_up_wait_until_all_others_have_ended(sweep: Path) -> None:
    given_up, unfinished, failed = runs_of(sweep)
    give_up(given_up)
    plant_death(unfinished)
    RunFolder.existing(failed).update(status="failed", error="planted")
    assert again(sweep) == SOME_FAILED
    assert statuses(sweep) == ["failed", "finished", "finished"]
    assert again(sweep) == DONE


def test_force_tries_a_run_again_that_was_given_up(sweep: Path) -> None:
    given_up, unfinished, _ = runs_of(sweep)
    give_up(given_up)
    plant_death(unfinished)
    assert again(sweep, "force=true", "sweep.retry_failed=false") == DONE


def test_who_asks_for_one_run_gets_it_with_a_note(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given_up, *_ = runs_of(sweep)
    give_up(given_up)
    assert train.main([*KNN, "seed=0", f"hydra.run.dir={given_up}"]) == DONE
    assert f"note: {GIVEN_UP}" in " ".join(capsys.readouterr().err.split())


def test_a_cross_validation_is_given_up_as_a_whole(tmp_path: Path) -> None:
    knn = (*MORE_DATA, "model=knn", "model.classifier.grid={}")
    folds = ("protocol=subject_kfold", "protocol.n_folds=2", "protocol.fold=all")
    words = ["-m", *knn, *folds, f"hydra.sweep.dir={tmp_path}"]
    assert train.main(words) == DONE
    (whole,) = runs_of(tmp_path)
    plant_death(whole)
    came_to = deaths._came_to(whole)
    assert came_to == 2  # folds
    RunFolder.existing(whole).update(deaths=deaths.ENOUGH - 1, came_to=came_to)
    assert train.main(words) == SOME_FAILED
    assert GIVEN_UP in record_of(whole)["error"]


def test_a_search_gives_a_trial_up_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*KNN, *SEARCH, "seed=0,1,2")

    def next_job(**arguments: Any) -> Job:
        with source_of(tmp_path, *words, trained=True, **arguments) as source:
            job = source.next()
            assert isinstance(job, Job)
            return job

    with monkeypatch.context() as killed:
        killed.setattr("leukemia_lab.training._train", interrupted)
        for _ in range(deaths.ENOUGH):
            job = next_job()
            assert job.trial is not None
            assert job.trial.number == 0
            with pytest.raises(KeyboardInterrupt):
                run_job(job)
            plant_death(job.sweep / str(read_jobs(job.sweep)[0]["run"]))
    with source_of(tmp_path, *words, trained=True) as source:
        assert source.next() == job
        end = run_job(job)
        source.ended(end)
        assert (end.status, len(source.failures())) == ("failed", 1)
        assert GIVEN_UP in source.failures()[0]
    job = next_job(retry_failed=True)
    assert job.trial is not None
    assert job.trial.number == 1  # the others first
    ends = run_search(tmp_path, *words, retry_failed=True)
    assert [(end.job.trial.number, end.status) for end in ends if end.job.trial is not None] == [
        (1, "finished"),
        (2, "finished"),
    ]
    (again,) = run_search(tmp_path, *words, retry_failed=True)
    assert (again.job.overrides, again.status) == (end.job.overrides, "finished")


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), SEARCH], ids=["list", "search"])
def test_two_runs_that_end_their_process_do_not_take_turns_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    train_one = training._train

    def ending(settings: TrainSettings, cells: Cells, folder: RunFolder, trial: Any) -> None:
        if settings.seed != 1:
            raise KeyboardInterrupt
        train_one(settings, cells, folder, trial)

    monkeypatch.setattr(training, "_train", ending)
    found: list[int] = []
    while SOME_FAILED not in found:
        found.append(again(tmp_path, *words))
        assert len(found) <= 2 * deaths.ENOUGH + 1
        for run in runs_of(tmp_path):
            if run != tmp_path and record_of(run)["status"] == "interrupted":
                plant_death(run)
    assert found == [INTERRUPTED] * (2 * deaths.ENOUGH) + [SOME_FAILED]
    assert sorted(statuses(tmp_path)) == ["failed", "failed", "finished"]
