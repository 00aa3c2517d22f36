"""Leases that several real processes want at once: one of them has it."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from leases import numbers, write_lease

from leukemia_lab.errors import HeldRunError
from leukemia_lab.runs import lease

PROCESSES = multiprocessing.get_context("spawn")


def race(folder: Path, start: Barrier, rounds: int, outcome: Any, expired: bool) -> None:
    """Take the lease in each round at the same time as the others; the last to arrive prepares the round."""
    for at in range(rounds):
        if start.wait() == 0 and expired:
            write_lease(folder, lease._highest(folder / lease.FOLDER) + 1, silent_seconds=130)
        start.wait()
        try:
            taken = lease.take(folder)
            outcome[at] += 1
        except HeldRunError:
            taken = None
        start.wait()  # nobody has left it yet
        if taken is not None:
            taken.release()


@pytest.mark.parametrize("expired", [False, True])
def test_one_of_several_processes_wins_each_race(tmp_path: Path, expired: bool) -> None:
    n_processes, rounds = 4, 150
    start = PROCESSES.Barrier(n_processes, timeout=60)
    won = [PROCESSES.Array("i", rounds) for _ in range(n_processes)]
    racers = [
        PROCESSES.Process(target=race, args=(tmp_path, start, rounds, mine, expired), daemon=True)
        for mine in won
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(120)
    assert [racer.exitcode for racer in racers] == [0] * n_processes
    assert [sum(mine[at] for mine in won) for at in range(rounds)] == [1] * rounds
    assert sum(sum(mine) > 0 for mine in won) > 1  # several had luck, so it was a race


def count_up(folder: Path, seconds: float, seed: int, times: Any) -> None:
    """Add to a counter in a file while holding the lease, in a way that loses counts where two do it at once."""
    counter, end = folder / "counter", time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with lease.take(folder):
                found = int(counter.read_text())
                time.sleep((found * 7 + seed) % 4 / 2000)
                counter.write_text(str(found + 1))
                times.value += 1
        except HeldRunError:
            pass


def test_no_two_processes_ever_hold_it_together(tmp_path: Path) -> None:
    (tmp_path / "counter").write_text("0")
    times = [PROCESSES.Value("i", 0) for _ in range(3)]
    workers = [
        PROCESSES.Process(target=count_up, args=(tmp_path, 2.0, seed, mine), daemon=True)
        for seed, mine in enumerate(times)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    total = sum(mine.value for mine in times)
    assert [worker.exitcode for worker in workers] == [0] * 3
    assert sum(mine.value > 0 for mine in times) > 1
    assert total > 20
    assert int((tmp_path / "counter").read_text()) == total
    assert len(numbers(tmp_path)) == 1


def test_who_acts_on_an_old_view_notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        lease.take(tmp_path).release()
    with lease.take(tmp_path) as current:
        views = iter([1])  # as it was three holders ago: number 2 is free to create now
        real = lease._highest
        monkeypatch.setattr(lease, "_highest", lambda place: next(views, None) or real(place))
        with pytest.raises(HeldRunError):
            lease.take(tmp_path)
        current.check()
    assert numbers(tmp_path) == ["4.json"]
