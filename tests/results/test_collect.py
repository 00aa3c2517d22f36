from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from run_folders import change, make_run, sweep

from leukemia_lab.errors import RunError
from leukemia_lab.results.collect import collect


def names(*given: Path) -> list[str]:
    return [run.name for run in collect(given).runs]


def test_runs_are_found_at_any_depth_in_natural_order(tmp_path: Path) -> None:
    for quality, name in enumerate(("b/run-10", "b/run-9", "a")):
        make_run(tmp_path / name, quality=quality)
    assert names(tmp_path) == ["a", "run-9", "run-10"]
    assert names(tmp_path / "a") == ["a"]
    assert names(tmp_path / "b" / "run-10", tmp_path / "a") == ["run-10", "a"]
    assert names(tmp_path / "b" / "run-*") == ["run-9", "run-10"]
    assert names(tmp_path, tmp_path / "a") == ["a", "run-9", "run-10"]


def test_the_folds_of_a_cross_validation_are_one_run(tmp_path: Path) -> None:
    make_run(tmp_path / "cv", kind="cross_validation", folds=[{"run": "fold_0", "split_hash": "x"}])
    make_run(tmp_path / "cv" / "fold_0", quality=2)
    assert names(tmp_path) == ["cv"]
    assert names(tmp_path / "cv" / "fold_0") == ["fold_0"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda run: change(run / "record.json", status="failed"), "failed, not finished"),
        (lambda run: (run / "metrics.json").unlink(), "metrics.json is missing"),
        (lambda run: (run / "metrics.json").write_text("{"), "cannot be read"),
        (lambda run: change(run / "metrics.json", val={"auroc": 0.5}), "no val/accuracy"),
        (lambda run: change(run / "metrics.json", stamps=None), "no stamps"),
        (lambda run: (run / "config.yaml").write_text("a: [1"), "config.yaml cannot be read"),
        (lambda run: (run / "config.yaml").write_text("- 1"), "holds no settings"),
        (lambda run: (run / "record.json").write_text("[]"), "no JSON object"),
        (lambda run: (run / "record.json").write_text('{"status": "finished"}'), "lacks identity"),
    ],
)
def test_a_run_that_cannot_be_used_is_listed_with_its_reason(
    tmp_path: Path, spoil: object, reason: str
) -> None:
    make_run(tmp_path / "good")
    spoil(make_run(tmp_path / "spoilt", quality=2))  # type: ignore[operator]
    collected = collect([tmp_path])
    assert [run.name for run in collected.runs] == ["good"]
    ((where, why),) = collected.left_out
    assert where == str(tmp_path / "spoilt")
    assert reason in why
    shutil.rmtree(tmp_path / "good")
    with pytest.raises(RunError, match="none of 1 runs can be reported"):
        collect([tmp_path])


def test_a_copy_of_a_run_is_taken_once(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    collected = collect([tmp_path])
    assert [run.name for run in collected.runs] == ["a"]
    assert "the same run as" in collected.left_out[0].reason


def test_failed_jobs_of_a_sweep_are_named(tmp_path: Path) -> None:
    sweep(tmp_path, 2)
    (tmp_path / "jobs").mkdir()
    jobs = {
        "a": {"run": None, "overrides": ["model=vgg13", "seed=1"], "error": "no memory"},
        "b": {"run": "x", "overrides": [], "error": None},
    }
    for name, job in jobs.items():
        (tmp_path / "jobs" / f"{name}.json").write_text(json.dumps(job))
    assert collect([tmp_path]).left_out == (("model=vgg13 seed=1", "failed: no memory"),)


def test_nothing_to_report_says_what_was_given(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such folder"):
        collect([tmp_path / "missing"])
    with pytest.raises(RunError, match="nothing matches"):
        collect([tmp_path / "missing-*"])
    with pytest.raises(RunError, match="no run is in it"):
        collect([tmp_path])
    with pytest.raises(RunError, match="name one run folder"):
        collect([])


def test_runs_of_one_name_are_told_apart_by_their_path(tmp_path: Path) -> None:
    make_run(tmp_path / "x" / "run")
    make_run(tmp_path / "y" / "run", quality=2)
    assert names(tmp_path) == [str(tmp_path / "x" / "run"), str(tmp_path / "y" / "run")]


def test_tables_are_read_when_asked_for(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", explained=2)
    (folder / "history.csv").write_text("epoch,train/loss\n0,0.5\n")
    (run,) = collect([folder]).runs
    assert len(run.predictions) > 50
    assert set(run.split["part"]) == {"train", "val", "test"}
    assert run.history is not None
    assert list(run.history["train/loss"]) == [0.5]
    assert len(run.explained("test")["cells"]) == 2
    assert run.explained("train") is None
    assert run.settings["optim.lr"] == 0.001
    (folder / "split.parquet").write_bytes(b"no")
    with pytest.raises(RunError, match=r"split\.parquet cannot be read"):
        _ = collect([folder]).runs[0].split
