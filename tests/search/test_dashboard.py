from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from leukemia_lab.search.storage import storage_address
from leukemia_lab.sweeping.job import Job, JobEnd
from tests.search.postgres import free_port
from tests.search.small_searches import NET, finished, search_with

PROGRAM = Path(sys.executable).with_name("optuna-dashboard")
WORDS = (*NET, "search=random", "search.n_trials=2", "optim.lr=tag(log,interval(1e-4,1e-1))")
ENOUGH_SECONDS = 60.0


@contextmanager
def dashboard(storage: str) -> Iterator[str]:
    """The real server on a free port of the loopback; yields its address."""
    port = free_port()
    command = [str(PROGRAM), storage, "--host", "127.0.0.1", "--port", str(port), "--server", "wsgiref"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def answer(address: str) -> Any:
    """What the server answers, once it is there."""
    until = time.monotonic() + ENOUGH_SECONDS
    while True:
        try:
            with urlopen(address, timeout=ENOUGH_SECONDS) as found:
                return json.load(found)
        except URLError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def first_fails(job: Job) -> JobEnd:
    assert job.trial is not None
    if job.trial.number == 0:
        return JobEnd(job, "failed", job.sweep / "run-0", error="no room on the disk")
    return finished(job, 0.75)


@pytest.mark.skipif(not PROGRAM.exists(), reason="optuna-dashboard is not installed")
@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_optuna_dashboard_shows_the_study_its_runs_and_their_errors(tmp_path: Path, kind: str) -> None:
    sweep = tmp_path / "sweep"
    given = None if kind == "journal" else f"sqlite:///{tmp_path}/study.db"
    search_with(sweep, first_fails, *WORDS, *(() if given is None else (f"search.storage='{given}'",)))
    with dashboard(storage_address(given, sweep)) as address:
        (study,) = answer(f"{address}/api/studies")["study_summaries"]
        trials = answer(f"{address}/api/studies/{study['study_id']}")["trials"]
    assert study["study_name"].startswith("study-")
    shown = [{each["key"]: each["value"] for each in trial["user_attrs"]} for trial in trials]
    assert [trial["state"] for trial in trials] == ["Fail", "Complete"]
    assert trials[1]["values"] == [0.75]
    assert [attributes["run"].strip('"') for attributes in shown] == [f"{sweep}/run-{k}" for k in range(2)]
    assert "no room on the disk" in shown[0]["error"]
    assert "error" not in shown[1]
    assert trials[0]["params"][0]["name"] == "optim.lr"
