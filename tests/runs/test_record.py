from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from leukemia_lab.errors import RunError
from leukemia_lab.runs import record
from leukemia_lab.runs.record import RunFolder


def finished(path: Path, identity: str) -> RunFolder:
    folder = RunFolder.open(path, identity, force=False)
    folder.update(status="finished")
    folder.write_metrics({"objective": 0.5})
    return folder


def test_a_folder_is_new_then_finished_then_returned(tmp_path: Path) -> None:
    path = tmp_path / "run"
    assert not RunFolder.open(path, "a", force=False).finished
    finished(path, "a")
    again = RunFolder.open(path, "a", force=False)
    assert again.finished
    assert again.metrics() == {"objective": 0.5}


def test_another_runs_folder_is_refused_and_force_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "run"
    finished(path, "a")
    (path / record.CHECKPOINTS).mkdir()
    with pytest.raises(RunError, match="holds another run"):
        RunFolder.open(path, "b", force=False)
    assert not RunFolder.open(path, "b", force=True).finished
    assert not (path / record.CHECKPOINTS).exists()


def test_a_kill_while_starting_over_leaves_nothing_of_the_run_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    finished(path, "a")
    (path / record.CHECKPOINTS).mkdir()
    with monkeypatch.context() as killed:
        killed.setattr(record, "_clear", interrupt)
        with pytest.raises(KeyboardInterrupt):
            RunFolder.open(path, "b", force=True)
    folder = RunFolder.open(path, "b", force=False)
    assert (folder.record["identity"], folder.finished) == ("b", False)
    assert not (path / record.CHECKPOINTS).exists()
    assert not (path / record.METRICS).exists()


def test_a_run_that_another_process_puts_here_first_is_not_taken_for_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, held = tmp_path / "run", RunFolder.held

    def late(self: RunFolder, **how: bool) -> Any:
        monkeypatch.undo()
        finished(path, "a")
        return held(self, **how)

    monkeypatch.setattr(RunFolder, "held", late)
    with pytest.raises(RunError, match=r"holds another run \(a, this one is b\)"):
        RunFolder.open(path, "b", force=False)


def interrupt(path: Path) -> None:
    raise KeyboardInterrupt


def test_starting_over_does_not_forget_the_looks_at_a_splits_test_part(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run", "a")
    folder.set_split("split-1")
    folder.count_test_look()
    folder.count_test_look()
    for identity, split_hash, looks in (("a", "split-1", 2), ("b", "split-2", 0), ("c", "split-1", 2)):
        folder = RunFolder.open(tmp_path / "run", identity, force=True)
        folder.set_split(split_hash)
        folder.update(status="running")
        assert folder.record["test_looks"] == looks


def test_a_folder_with_other_files_is_never_cleared(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for force in (False, True):
        with pytest.raises(RunError, match="no run folder"):
            RunFolder.open(tmp_path, "a", force=force)
    assert (tmp_path / "thesis.txt").exists()


def test_a_damaged_record_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / record.RECORD).write_text('{"identity": "a", "sta')
    with pytest.raises(RunError, match="force=true"):
        RunFolder.open(tmp_path, "a", force=False)
    assert RunFolder.open(tmp_path, "a", force=True).record["identity"] == "a"  # and it does
    (tmp_path / record.RECORD).write_text("[]")
    with pytest.raises(RunError, match="no JSON object"):
        RunFolder.existing(tmp_path)
    with pytest.raises(RunError, match="no run folder"):
        record.read_json(tmp_path / "absent.json")


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path / "run", "a", force=False)
    errors: list[Exception] = []

    def enter(force: bool) -> None:
        try:
            with RunFolder.open(tmp_path / "run", "a", force=force).held():
                pass
        except RunError as error:
            errors.append(error)

    folder.update(status="running")
    with folder.held():
        for force in (False, True):
            other = threading.Thread(target=enter, args=[force])
            other.start()
            other.join()
    assert ["another process is at work" in str(error) for error in errors] == [True, True]
    assert (tmp_path / "run" / record.RECORD).exists()
    enter(force=False)
    assert len(errors) == 2


def test_metrics_are_strict_json(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path / "run", "a", force=False)
    with pytest.raises(ValueError, match="JSON"):
        folder.write_metrics({"objective": float("nan")})
    assert not (folder.path / record.METRICS).exists()


def test_a_write_leaves_nothing_beside_the_file(tmp_path: Path) -> None:
    record.write_atomically(tmp_path / "a.json", json.dumps({"b": 1}))
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_versions_and_hardware_name_what_shapes_a_result() -> None:
    assert {"python", "leukemia_lab", "torch", "lightning", "kornia"} <= set(record.versions())
    assert "cores" in record.processor()
    assert record.commit() is None or len(record.commit().removesuffix("+changes")) == 40
