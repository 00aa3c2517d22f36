"""Leases of runs: real processes that die, sleep too long and fork; other machines are written by hand."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from leases import numbers, write_lease
from small_runs import INTERRUPTED, record_of

from leukemia_lab import train
from leukemia_lab.errors import HeldRunError, LostRunError
from leukemia_lab.runs import lease, record
from leukemia_lab.runs.record import RunFolder

HOLDER = """
import sys, time
from pathlib import Path
from leukemia_lab.runs import lease
held = lease.take(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def test_the_run_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        found = lease.holder_of(tmp_path)
        assert found is not None
        assert found.pid == process.pid
        (file,) = (tmp_path / lease.FOLDER).iterdir()
        os.utime(file, (0, 0))  # it lives: held, whatever its heartbeat
        with pytest.raises(HeldRunError, match=f"process {process.pid} on "):
            lease.take(tmp_path)
        process.send_signal(signal.SIGKILL)
        # ended but not waited for, so that its number is not free yet
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert lease.holder_of(tmp_path) is None
        lease.take(tmp_path).release()
    assert numbers(tmp_path) == ["2.json"]


def test_another_process_with_the_number_of_a_dead_one_does_not_hold(tmp_path: Path) -> None:
    with lease.take(tmp_path):
        (file,) = (tmp_path / lease.FOLDER).iterdir()
        about = json.loads(file.read_text())
    file.write_text(json.dumps(about | {"started": "1"}))
    assert lease.holder_of(tmp_path) is None
    file.write_text(
        json.dumps(about | {"started": None})
    )  # as where there is no /proc: the heartbeat decides
    assert lease.holder_of(tmp_path) is not None
    os.utime(file, (0, 0))
    assert lease.holder_of(tmp_path) is None


def test_another_machine_holds_by_its_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lease(tmp_path, 3, silent_seconds=100)
    monkeypatch.setattr(time, "time", lambda: 4e9)  # this machine's clock must not matter
    with pytest.raises(HeldRunError, match=r"process \d+ on node7, since 2026-01-01.*10\d s ago"):
        lease.take(tmp_path)
    monkeypatch.undo()
    write_lease(tmp_path, 3, silent_seconds=130)
    assert lease.holder_of(tmp_path) is None
    with lease.take(tmp_path):
        assert numbers(tmp_path) == ["4.json"]


def test_a_torn_lease_counts_for_a_while(tmp_path: Path) -> None:
    file = write_lease(tmp_path, 1)
    file.write_text('{"host": "no')
    with pytest.raises(HeldRunError, match="a new one"):
        lease.take(tmp_path)
    os.utime(file, (0, 0))
    lease.take(tmp_path).release()


def test_a_lease_that_cannot_be_written_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(lease.json, "dumps", no_space)
        with pytest.raises(OSError, match="No space left"):
            lease.take(tmp_path)
    lease.take(tmp_path).release()


def no_space(content: Any) -> str:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_held_until_released_also_within_a_process(tmp_path: Path) -> None:
    assert lease.holder_of(tmp_path) is None
    with lease.take(tmp_path):
        with pytest.raises(HeldRunError, match=f"process {os.getpid()} on "):
            lease.take(tmp_path)
        assert lease.holder_of(tmp_path) is not None
    assert lease.holder_of(tmp_path) is None
    lease.take(tmp_path).release()


def test_the_heartbeat_renews_and_notices_a_successor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.02)
    held = lease.take(tmp_path)
    (file,) = (tmp_path / lease.FOLDER).iterdir()
    os.utime(file, (0, 0))
    wait_until(lambda: time.time() - file.stat().st_mtime < 5)
    assert not held.lost
    write_lease(tmp_path, 2)
    wait_until(lambda: held.lost)
    with pytest.raises(LostRunError, match="took this run over"):
        held.check()
    before = sorted((path.name, path.read_text()) for path in file.parent.iterdir())
    held.release()  # not its to release
    assert sorted((path.name, path.read_text()) for path in file.parent.iterdir()) == before


def test_a_folder_that_was_removed_and_begun_anew_elsewhere_is_lost(tmp_path: Path) -> None:
    held = lease.take(tmp_path)
    write_lease(tmp_path, 1)  # the same number
    with pytest.raises(LostRunError):
        held.check()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_hold(tmp_path: Path) -> None:
    held = lease.take(tmp_path)
    child = os.fork()
    if child == 0:
        held.release()  # as leaving a `with` does
        try:
            held.check()
        except LostRunError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    held.check()
    assert lease.holder_of(tmp_path) is not None
    held.release()


def test_a_run_that_was_taken_over_is_not_written_to(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path / "run", "a", force=False)
    with folder.held():
        folder.update(status="running")
        write_lease(folder.path, 3)
        for write in (lambda: folder.update(status="finished"), lambda: folder.write_metrics({})):
            with pytest.raises(LostRunError):
                write()
        assert folder.lost
    assert record_of(folder.path)["status"] == "running"
    assert not (folder.path / record.METRICS).exists()


def test_starting_over_keeps_the_lease(tmp_path: Path) -> None:
    for at in range(1, 4):
        folder = RunFolder.open(tmp_path / "run", "a", force=True)
        assert numbers(folder.path) == [f"{at}.json"]


def test_training_stops_soon_after_its_run_was_taken_over(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.02)
    folder, stolen = tmp_path / "run", []

    def steal() -> None:
        wait_until(lambda: (folder / record.CHECKPOINTS / "last.ckpt").exists(), 120)
        write_lease(folder, 9)
        stolen.append(time.monotonic())

    thief = threading.Thread(target=steal)
    thief.start()
    endless = ["trainer.max_epochs=4000", "trainer.patience=null", f"hydra.run.dir={folder}"]
    assert train.main([*tiny, *endless]) == INTERRUPTED
    thief.join()
    assert time.monotonic() - stolen[0] < 5
    assert "LostRunError" in capsys.readouterr().err
    assert record_of(folder)["status"] == "running"  # the successor's words, not ours
    assert not (folder / record.METRICS).exists()


def wait_until(happened: Any, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)
