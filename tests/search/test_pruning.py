from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

from leukemia_lab.estimators.history import read_history
from leukemia_lab.search import pruning
from leukemia_lab.search.pruning import DEFINITION, PRUNED_AT, TrialReports, objective_so_far
from leukemia_lab.search.storage import open_storage
from leukemia_lab.sweeping.job import Job, JobEnd, TrialAddress
from leukemia_lab.sweeping.work import run_job
from tests.search.small_searches import NET, source_of
from tests.small_runs import record_of

ASHA = {"_target_": "optuna.pruners.SuccessiveHalvingPruner", "min_resource": 1, "reduction_factor": 3}
EPOCHS = (*NET, "trainer.max_epochs=3", "optim.lr=1e-3,1e-2", "search=random", "search.n_trials=1")


def new_study(
    tmp_path: Path, pruner: dict[str, Any] | None = ASHA, objectives: tuple[str, ...] = ("val/auroc",)
) -> Any:
    study = optuna.create_study(
        study_name="s",
        storage=open_storage(str(tmp_path / "s.log")),
        directions=["maximize"] * len(objectives),
    )
    study.set_user_attr(DEFINITION, {"search": {"objectives": list(objectives), "pruner": pruner}})
    return study


def reports_of(tmp_path: Path, number: int) -> TrialReports:
    return TrialReports(TrialAddress(str(tmp_path / "s.log"), "s", number))


def trial_to_beat(sweep: Path, *words: str, step: int = 1) -> None:
    """A finished trial in the study of these words, better at `step` than any can be."""
    with source_of(sweep, *words) as source:
        definition = source._definition
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState.COMPLETE,
            value=2.0,
            params={"optim.lr": "0.001"},
            distributions=source._space.distributions,
            intermediate_values={step: 2.0},
            system_attrs={"completed_rung_0": 2.0},
        )
        assert source._study.user_attrs[DEFINITION] == definition
        source._study.add_trial(trial)


def job_of(sweep: Path, *words: str) -> tuple[Any, Job]:
    source = source_of(sweep, *words, trained=True)
    job = source.next()
    assert isinstance(job, Job)
    return source, job


def test_the_objective_so_far_is_that_of_the_best_epoch(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    table = pd.DataFrame(
        {"epoch": range(5), "val/loss": [0.9, 0.7, 0.8, 0.7, 0.5], "val/auroc": [0.6, 0.8, 0.9, 0.7, 0.75]}
    )
    table.to_csv(path, index=False)
    assert objective_so_far(path, "val/auroc", "val/loss") == {1: 0.6, 2: 0.8, 3: 0.8, 4: 0.8, 5: 0.75}
    assert objective_so_far(path, "val/auroc", "val/auroc") == {1: 0.6, 2: 0.8, 3: 0.9, 4: 0.9, 5: 0.9}
    assert objective_so_far(path, "val/loss", "val/loss") == {1: 0.9, 2: 0.7, 3: 0.7, 4: 0.7, 5: 0.5}
    assert objective_so_far(tmp_path / "none.csv", "val/auroc", "val/loss") == {}


def test_trials_are_pruned_as_optuna_alone_would(tmp_path: Path) -> None:
    curves = [[0.5 + 0.03 * ((7 * k) % 11) + 0.01 * epoch for epoch in range(1, 10)] for k in range(12)]
    plain = optuna.create_study(direction="maximize", pruner=optuna.pruners.SuccessiveHalvingPruner(1, 3))
    study = new_study(tmp_path)
    expected, found = [], []
    for curve in curves:
        trial, number = plain.ask(), study.ask().number
        ends = [9, 9]
        for epoch, value in enumerate(curve, start=1):
            trial.report(value, epoch)
            if trial.should_prune():
                ends[0] = epoch
                break
        for epoch in range(
            1, 10
        ):  # each in a process of its own, as after a resume, and with all that was told before
            if reports_of(tmp_path, number).report(dict(enumerate(curve[:epoch], start=1))):
                ends[1] = epoch
                break
        expected.append(ends[0])
        found.append(ends[1])
    assert found == expected
    assert {1, 3, 9} <= set(found)


def test_no_number_is_no_report_and_several_objectives_none(tmp_path: Path) -> None:
    study = new_study(tmp_path, None)
    number = study.ask().number
    assert not reports_of(tmp_path, number).report({1: math.nan, 2: 0.5})
    assert study.trials[number].intermediate_values == {2: 0.5}
    new_study(tmp_path / "b", None, ("val/auroc", "val/f1"))
    assert reports_of(tmp_path / "b", 0).objective is None


def test_a_storage_that_is_away_ends_no_training_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    attempts = []
    monkeypatch.setattr("leukemia_lab.search.storage.PAUSES_SECONDS", (0.0, 0.0))
    study = new_study(tmp_path)
    reports = reports_of(tmp_path, study.ask().number)
    assert reports.objective == "val/auroc"

    def fail(values: object) -> bool:
        attempts.append(values)
        raise ConnectionError("server closed the connection")

    report = reports._report
    monkeypatch.setattr(reports, "_report", fail)
    assert not reports.report({1: 0.5})
    assert not reports.report({1: 0.5, 2: 0.6})
    assert len(attempts) == 3 + 1
    assert capsys.readouterr().err.count("cannot be reached") == 1
    monkeypatch.setattr(reports, "_report", report)
    reports.report({1: 0.5, 2: 0.6, 3: 0.7})  # it is back, and hears of all
    assert study.trials[0].intermediate_values == {1: 0.5, 2: 0.6, 3: 0.7}


def test_a_short_failure_is_bridged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leukemia_lab.search.storage.PAUSES_SECONDS", (0.0, 0.0))
    study = new_study(tmp_path)
    reports = reports_of(tmp_path, study.ask().number)
    report, failures = reports._report, [ConnectionError(), ConnectionError()]

    def sometimes(values: Any) -> bool:
        if failures:
            raise failures.pop()
        return report(values)

    monkeypatch.setattr(reports, "_report", sometimes)
    reports.report({1: 0.5})
    assert study.trials[0].intermediate_values == {1: 0.5}


@pytest.mark.slow
def test_a_run_that_is_pruned_keeps_its_epochs_and_never_sees_the_test_part(tmp_path: Path) -> None:
    trial_to_beat(tmp_path, *EPOCHS)
    source, job = job_of(tmp_path, *EPOCHS, "search.n_trials=2")
    end = run_job(job)
    assert (end.status, end.run is not None) == ("pruned", True)
    assert end.run is not None
    found = record_of(end.run)
    assert (found["status"], found["objective"], found["test_looks"]) == ("pruned", end.objective, 0)
    assert found["trial"]["number"] == 1
    assert len(read_history(end.run / "history.csv")) == 1
    assert (end.run / "checkpoints" / "last.ckpt").exists()
    assert not (end.run / "predictions.parquet").exists()
    source.ended(end)
    trial = source._study.trials[1]
    assert (trial.state.name, trial.value, trial.intermediate_values) == (
        "PRUNED",
        end.objective,
        {1: end.objective},
    )
    assert source.next() is None


@pytest.mark.slow
def test_a_trial_that_was_told_to_end_and_killed_trains_no_further(tmp_path: Path) -> None:
    trial_to_beat(tmp_path, *EPOCHS)
    source, job = job_of(tmp_path, *EPOCHS, "search.n_trials=2")
    first = run_job(job)
    assert source._study.trials[1].user_attrs[PRUNED_AT] == 1
    source.__exit__(None, None, None)  # before the study heard of it
    source, again = job_of(tmp_path, *EPOCHS, "search.n_trials=2")
    assert again == job
    second = run_job(again)
    assert second == JobEnd(job, "pruned", first.run, first.objective)
    assert second.run is not None
    assert len(read_history(second.run / "history.csv")) == 1


@pytest.mark.slow
def test_a_finished_trial_has_reported_every_epoch(tmp_path: Path) -> None:
    source, job = job_of(tmp_path, *EPOCHS)
    end = run_job(job)
    source.ended(end)
    trial = source._study.trials[0]
    assert sorted(trial.intermediate_values) == [1, 2, 3]
    assert trial.intermediate_values[3] == pytest.approx(end.objective, abs=1e-6)
    assert end.run is not None
    assert set(pd.read_parquet(end.run / "predictions.parquet")["part"]) == {"train", "val"}
    assert record_of(end.run)["test_looks"] == 0


@pytest.mark.slow
def test_a_cross_validation_is_pruned_between_folds(tmp_path: Path) -> None:
    words = (
        *EPOCHS,
        "data.n_cells=140",
        "data.n_subjects=28",
        "trainer.max_epochs=1",
        "protocol=subject_kfold",
    )
    words = (*words, "protocol.fold=all", "protocol.n_folds=3")
    trial_to_beat(tmp_path, *words)
    _, job = job_of(tmp_path, *words, "search.n_trials=2")
    end = run_job(job)
    assert end.status == "pruned"
    assert end.run is not None
    assert [record_of(path)["status"] for path in sorted(end.run.glob("fold_*"))] == ["finished"]
    assert end.objective == record_of(end.run / "fold_0")["objective"]


def test_nothing_is_reported_where_there_is_no_trial(tmp_path: Path) -> None:
    assert pruning.pruning_callbacks(None, tmp_path, "val/loss") == []
