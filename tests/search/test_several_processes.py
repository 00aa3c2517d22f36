from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest

from leukemia_lab.search.storage import open_storage, storage_address
from leukemia_lab.sweeping.job_files import read_jobs
from tests.search.postgres import running_postgres
from tests.search.small_searches import NET
from tests.small_runs import record_of

CHECKOUT = Path(__file__).parents[2]
WORDS = (*NET, "search=tpe", "optim.lr=tag(log,interval(1e-4,1e-1))", "seed=range(0,99)")
ENOUGH_SECONDS = 500.0


class Searching:
    """A process that works on the search in `sweep`; its output goes to files, as a full pipe would halt it."""

    def __init__(self, sweep: Path, number: int, words: tuple[str, ...]) -> None:
        sweep.parent.mkdir(parents=True, exist_ok=True)
        self._out, self._err = (sweep.with_name(f"{number}.{name}") for name in ("out", "err"))
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT)}
        command = [sys.executable, "-m", "tests.search.four_processes", str(sweep), *words]
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=out, stderr=err)

    def begun(self) -> set[int]:
        """The trials that it has begun so far."""
        return {int(found) - 1 for found in re.findall(r"^run (\d+):", self._err.read_text(), re.MULTILINE)}

    def ended(self) -> list[int]:
        """The trials that it ended, all well, once it is done."""
        assert self.process.wait(ENOUGH_SECONDS) == 0, self._err.read_text()[-3000:]
        lines = [line.split() for line in self._out.read_text().splitlines()]
        assert all(words[0] == "ended" and words[2] == "finished" for words in lines), lines
        return [int(words[1]) for words in lines]

    def kill(self) -> None:
        """End it as the system does when memory runs out."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def searching(n: int, sweep: Path, *words: str) -> Iterator[list[Searching]]:
    """That many processes at once; none is left behind."""
    processes: list[Searching] = []
    try:
        processes.extend(Searching(sweep, number, words) for number in range(n))
        yield processes
    finally:
        for one in processes:
            one.kill()


def check(sweep: Path, storage: str, n_trials: int) -> None:
    """All trials are there, once, each with a run of its own."""
    (name,) = optuna.get_all_study_names(opened := open_storage(storage))
    trials = optuna.load_study(study_name=name, storage=opened).trials
    assert [trial.number for trial in trials] == list(range(n_trials))
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    folders = [Path(trial.user_attrs["run"]) for trial in trials]
    assert len(set(folders)) == n_trials == len(read_jobs(sweep))
    assert [record_of(folder)["trial"]["number"] for folder in folders] == list(range(n_trials))
    assert {record_of(folder)["status"] for folder in folders} == {"finished"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["journal", "postgresql"])
def test_four_processes_finish_a_study_with_no_trial_twice(tmp_path: Path, kind: str) -> None:
    if kind == "journal":
        four_processes(tmp_path / "sweep", None)
        return
    with running_postgres() as url:
        four_processes(tmp_path / "sweep", url)
        assert "unused" in url  # the password
        (name,) = optuna.get_all_study_names(opened := open_storage(url))
        written = [
            str(trial.user_attrs) for trial in opened.get_all_trials(opened.get_study_id_from_name(name))
        ]
        written += [path.read_text(encoding="utf-8") for path in (tmp_path / "sweep").rglob("*.json")]
        assert len(written) > 3 * 24
        assert not any("unused" in text for text in written)


def four_processes(sweep: Path, storage: str | None) -> None:
    words = () if storage is None else (f"search.storage='{storage}'",)
    with searching(4, sweep, *WORDS, "search.n_trials=24", *words) as processes:
        by_process = [one.ended() for one in processes]
    assert Counter(number for numbers in by_process for number in numbers) == Counter(range(24))
    assert sum(len(numbers) > 0 for numbers in by_process) >= 2
    check(sweep, storage_address(storage, sweep), 24)


@pytest.mark.slow
def test_trials_of_killed_processes_are_finished_by_another(tmp_path: Path) -> None:
    rng, sweep = random.Random(0), tmp_path / "sweep"
    with searching(3, sweep, *WORDS, "search.n_trials=12") as (first, second, last):
        for doomed in (first, second):
            wait_until(lambda doomed=doomed: len(doomed.begun()) > 0)
            time.sleep(rng.uniform(0.0, 0.5))
            doomed.kill()
        by_last = last.ended()
    assert len(set(by_last)) == len(by_last) >= 8
    assert max(first.begun()) in by_last or max(second.begun()) in by_last  # they died in the midst of one
    check(sweep, storage_address(None, sweep), 12)


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + ENOUGH_SECONDS
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)
