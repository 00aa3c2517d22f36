"""Jobs that open the test part of their run where they have trained it, once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sweep_jobs import ends_of, jobs_of

from leukemia_lab import cross_evaluation
from leukemia_lab.config import standard_evaluation
from leukemia_lab.runs.record import RunFolder
from leukemia_lab.schema import EvaluateSettings
from leukemia_lab.sweeping.launching import LocalLauncher

EVALUATION = EvaluateSettings(
    run=None,
    sweep=None,
    choose="best",
    data_root=None,
    test_time="none",
    accelerator="cpu",
    batch_size=64,
    evaluation=standard_evaluation(),
)


def test_a_job_with_an_evaluation_opens_the_test_part_once_and_one_without_does_not(tmp_path: Path) -> None:
    (job,) = jobs_of(tmp_path, "seed=3")
    for asked, parts, looks in (
        (job, {"train", "val"}, 0),
        (replace(job, evaluation=EVALUATION), {"train", "val", "test"}, 1),
        (replace(job, evaluation=EVALUATION), {"train", "val", "test"}, 1),
    ):
        (end,) = ends_of([asked], LocalLauncher()).values()
        assert end.status == "finished"
        assert end.run is not None
        folder = RunFolder.existing(end.run)
        assert parts <= set(folder.metrics())
        assert ("test" in folder.metrics()) == ("test" in parts)
        assert folder.record["test_looks"] == looks


def test_an_evaluation_that_fails_is_the_jobs_failure_and_the_run_stays_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError("full")

    monkeypatch.setattr(cross_evaluation, "evaluate_folder", full)
    job = replace(jobs_of(tmp_path, "seed=3")[0], evaluation=EVALUATION)
    (end,) = ends_of([job], LocalLauncher()).values()
    assert (end.status, end.error) == ("failed", "Unexpected MemoryError: full")
    assert end.run is not None
    assert RunFolder.existing(end.run).finished
