"""The table of a sweep from run folders alone, also while others write them."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pandas as pd
import pytest
from small_runs import DATA, DONE, NET, SOME_FAILED

from leukemia_lab import report, train
from leukemia_lab.errors import RunError
from leukemia_lab.runs import lease, record
from leukemia_lab.sweeping.table import TABLE, counts_text, sweep_rows, write_table
from leukemia_lab.sweeping.watching import watch

KNN = ("model=knn", "model.classifier.grid={}")
SWEEP = (*DATA, *KNN, "model.features.size=4,6,8", "seed=0,1")


@pytest.fixture(scope="module")
def six_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of six runs."""
    folder = tmp_path_factory.mktemp("six_runs")
    assert train.main(["-m", *SWEEP, f"hydra.sweep.dir={folder}"]) == DONE
    return folder


@pytest.fixture
def sweep(six_runs: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return shutil.copytree(six_runs, tmp_path / "sweep")


def set_status(run: Path, status: str) -> None:
    (folder := record.RunFolder.existing(run)).update(status=status)
    assert folder.record["status"] == status


def test_rows_say_how_each_run_stands(sweep: Path) -> None:
    rows = sweep_rows(sweep)
    assert [row["status"] for row in rows] == ["finished"] * 6
    assert [row["overrides"][-2:] for row in rows][:2] == [
        ["model.features.size=4", "seed=0"],
        ["model.features.size=4", "seed=1"],
    ]
    set_status(sweep / rows[0]["run"], "running")
    set_status(sweep / rows[1]["run"], "running")
    set_status(sweep / rows[2]["run"], "pruned")
    (sweep / rows[3]["run"] / record.RECORD).unlink()
    with lease.take(sweep / rows[1]["run"]):
        now = sweep_rows(sweep)
        assert [row["status"] for row in now][:4] == ["interrupted", "running", "pruned", "waiting"]
        assert counts_text(now) == "2 of 6 runs finished, 1 interrupted, 1 running, 1 pruned, 1 waiting"
    assert all(row["metrics"] is None for row in now[:4])


def test_the_table_has_a_column_for_each_key_that_differs(sweep: Path) -> None:
    table = pd.read_csv(sweep / TABLE)
    assert table["model.features.size"].tolist() == [4, 4, 6, 6, 8, 8]
    assert table["seed"].tolist() == [0, 1] * 3
    assert "data.n_cells" not in table


def test_the_table_of_a_running_sweep_can_be_read_at_any_moment(tmp_path: Path) -> None:
    folder, ended, statuses = tmp_path / "sweep", threading.Event(), set[str]()
    n_rows: list[int] = []
    faults: list[Exception] = []

    def read() -> None:
        while not ended.is_set():
            if not (folder / TABLE).exists():
                continue
            try:
                table = pd.read_csv(folder / TABLE)
                statuses.update(row["status"] for row in sweep_rows(folder))
                n_rows.append(len(table))
                assert set(table["status"]) <= {"finished", "running", "waiting"}
            except Exception as error:
                faults.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert train.main(["-m", *SWEEP, f"hydra.sweep.dir={folder}"]) == DONE
    finally:
        ended.set()
        reader.join()
    assert faults == []
    assert set(n_rows) == {6}  # waiting ones from the beginning
    assert len(n_rows) > 20
    assert {"waiting", "running", "finished"} <= statuses


def test_who_looks_on_sees_the_counts_and_the_table(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leukemia_lab.sweeping.watching.QUIET_SECONDS", 0.2)
    monkeypatch.setattr("leukemia_lab.sweeping.watching.REFRESH_SECONDS", 0.05)
    capsys.readouterr()
    assert report.main([f"runs={sweep}", "watch=true"]) == DONE
    shown = capsys.readouterr().out
    assert shown.count("6 of 6 runs finished") == 2  # the line, and below the table
    assert "features" in shown
    with pytest.raises(RunError, match="no sweep began here"):
        watch(sweep / "jobs")


def test_another_commands_run_in_the_folder_stands_last(sweep: Path) -> None:
    words = [*DATA, *NET, "trainer.max_epochs=1"]
    assert train.main([*words, f"hydra.run.dir={sweep / 'a_first_name'}"]) == DONE
    rows = write_table(sweep)
    assert [row["run"] for row in rows][-1] == "a_first_name"
    assert rows[-1]["epochs"] == 1
    assert rows[-1]["job"] == ""


def test_a_damaged_record_or_job_is_a_failed_run_and_stops_neither_table_nor_sweep(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *_ = sweep_rows(sweep)
    (sweep / first["run"] / record.RECORD).write_text("")  # as a machine's crash leaves files
    rows = sweep_rows(sweep)
    assert [row["status"] for row in rows] == ["failed"] + ["finished"] * 5
    assert rows[0]["run"] == first["run"]
    assert "cannot be read" in str(rows[0]["error"])
    (sweep / "jobs" / f"{rows[1]['job']}.json").write_text("")
    assert len(sweep_rows(sweep)) == 6
    assert train.main(["-m", *SWEEP, f"hydra.sweep.dir={sweep}"]) == SOME_FAILED
    assert [row["status"] for row in sweep_rows(sweep)] == ["failed"] + ["finished"] * 5
    assert "5 of 6 runs finished, 1 failed" in capsys.readouterr().out


def test_an_error_that_the_record_could_not_take_is_told_all_the_same(sweep: Path) -> None:
    row = sweep_rows(sweep)[2]
    set_status(sweep / row["run"], "running")
    path = sweep / "jobs" / f"{row['job']}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"error": "OSError: the disk is full"}))
    now = sweep_rows(sweep)[2]
    assert (now["status"], now["error"]) == ("failed", "OSError: the disk is full")


def test_a_run_that_ends_between_two_looks_was_not_interrupted(
    sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = sweep / sweep_rows(sweep)[0]["run"]
    set_status(run, "running")

    def ending(folder: Path) -> None:
        set_status(folder, "finished")

    monkeypatch.setattr("leukemia_lab.sweeping.table.holder_of", ending)
    assert sweep_rows(sweep)[0]["status"] == "finished"


def test_a_run_of_which_nothing_was_done_waits(sweep: Path) -> None:
    set_status(sweep / sweep_rows(sweep)[0]["run"], "new")
    assert sweep_rows(sweep)[0]["status"] == "waiting"


def test_a_full_disk_ends_no_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("leukemia_lab.sweeping.table.write_sweep_csv", full)
    monkeypatch.setattr("leukemia_lab.sweeping.work.write_job", full)
    assert train.main(["-m", *DATA, *KNN, "seed=0,1", f"hydra.sweep.dir={tmp_path}"]) == SOME_FAILED
    said = capsys.readouterr()
    assert said.err.count("failed: ") == 2
    assert "table.csv cannot be written: [Errno 28] No space left" in said.err
    assert "0 of 2 runs finished, 2 waiting" in said.out


def test_only_a_commands_own_failures_are_its_exit_status(tmp_path: Path) -> None:
    failing = [*DATA, *NET, "trainer.max_epochs=1", f"hydra.sweep.dir={tmp_path}"]
    assert train.main(["-m", *failing, "optim.lr=1e30"]) == SOME_FAILED
    assert train.main(["-m", *DATA, *KNN, f"hydra.sweep.dir={tmp_path}"]) == DONE
    assert {row["model"]: row["status"] for row in sweep_rows(tmp_path)} == {
        "simple_cnn": "failed",
        "knn": "finished",
    }
    assert train.main(["-m", *failing, "optim.lr=1e30", "sweep.retry_failed=false"]) == SOME_FAILED


def test_a_run_whose_process_died_comes_last(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = sweep_rows(sweep)
    set_status(sweep / rows[0]["run"], "running")  # by a process that is gone
    set_status(sweep / rows[1]["run"], "interrupted")
    capsys.readouterr()
    assert train.main(["-m", *SWEEP, f"hydra.sweep.dir={sweep}"]) == DONE
    said = capsys.readouterr().err
    begun = [line.split()[1] for line in said.splitlines() if line.startswith("run ")]
    assert begun == ["2:", "3:", "4:", "5:", "6:", "1:"]
