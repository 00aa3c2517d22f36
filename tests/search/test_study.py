from __future__ import annotations

import json
from pathlib import Path

import pytest
from played_searches import LR, SPACE, TPE, best_at_middle, failing, next_job, study_in

from leukemia_lab.errors import ConfigError, RunError
from leukemia_lab.search.outcome import objective_values
from leukemia_lab.sweeping.engine import Later
from leukemia_lab.sweeping.job import Job, JobEnd
from tests.search.small_searches import KNN, SMALL, finished, search_with, source_of


def proposals(ends: list[JobEnd]) -> list[tuple[int, tuple[str, ...]]]:
    return [(end.job.trial.number, end.job.overrides) for end in ends if end.job.trial is not None]


def test_a_search_has_its_number_of_trials_and_no_more(tmp_path: Path) -> None:
    ends = search_with(tmp_path, best_at_middle, *TPE, "search.n_trials=5")
    assert [number for number, _ in proposals(ends)] == [0, 1, 2, 3, 4]
    assert len({words for _, words in proposals(ends)}) == 5
    assert search_with(tmp_path, best_at_middle, *TPE, "search.n_trials=5") == []
    assert len(search_with(tmp_path, best_at_middle, *TPE, "search.n_trials=7")) == 2
    study = study_in(tmp_path)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 7
    assert (
        study.best_value == max(end.objective for end in ends if end.objective is not None)
        or len(study.trials) > 5
    )
    assert study.trials[0].user_attrs["run"] == str(tmp_path / "run-0")
    assert LR.partition("=")[0] in study.trials[0].params


@pytest.mark.parametrize("name", ["tpe", "cmaes", "random", "nsga2"])
def test_a_resumed_search_proposes_what_an_undisturbed_one_would(tmp_path: Path, name: str) -> None:
    words = (*SPACE, f"search={name}", "search.objectives=[val/auroc]", "search.n_trials=14", "search.seed=3")
    undisturbed = search_with(tmp_path / "a", best_at_middle, *words)
    assert len(undisturbed) == 14
    resumed: list[JobEnd] = []
    for _ in range(20):
        with source_of(tmp_path / "b", *words) as source:
            for _ in range(2):
                job = source.next()
                if isinstance(job, Job):
                    resumed.append(best_at_middle(job))
                    source.ended(resumed[-1])
            source.next()  # given out, and lost with its process
    assert proposals(resumed) == proposals(undisturbed)


def test_seeds_differ_in_what_they_propose(tmp_path: Path) -> None:
    found = [
        proposals(
            search_with(tmp_path / seed, best_at_middle, *TPE, "search.n_trials=2", f"search.seed={seed}")
        )
        for seed in ("0", "1")
    ]
    assert found[0][0][1][-2] != found[1][0][1][-2]


def test_two_processes_share_the_trials(tmp_path: Path) -> None:
    words = (*TPE, "search.n_trials=3")
    with source_of(tmp_path, *words) as one, source_of(tmp_path, *words) as other:
        jobs = [next_job(one), next_job(other), next_job(one)]
        assert len({job.overrides for job in jobs}) == 3
        assert other.next() is Later.LATER  # others are at work
        for source, job in zip((one, other, one), jobs, strict=True):
            source.ended(best_at_middle(job))
        assert one.next() is None
        assert other.next() is None


def test_a_lost_process_s_trial_is_given_out_again_as_it_was(tmp_path: Path) -> None:
    words = (*TPE, "search.n_trials=2")
    with source_of(tmp_path, *words) as lost:
        job = next_job(lost)
    with source_of(tmp_path, *words) as source:
        again, new = next_job(source), next_job(source)
    assert (again, new.trial and new.trial.number) == (job, 1)


def test_a_trial_that_was_killed_while_it_was_proposed_is_completed(tmp_path: Path) -> None:
    words = (*TPE, "search.n_trials=1")
    with source_of(tmp_path / "a", *words) as source:
        whole = next_job(source)
    with source_of(tmp_path / "b", *words) as source:
        folder = source._folder
    study = study_in(tmp_path / "b")
    study._storage.set_trial_user_attr(study.ask()._trial_id, "folder", folder)
    with source_of(tmp_path / "b", *words) as source:
        assert next_job(source).overrides == whole.overrides


def test_a_trial_of_another_folder_is_left_alone(tmp_path: Path) -> None:
    words = (*TPE, "search.n_trials=1", f"search.storage={tmp_path}/shared.log")
    with source_of(tmp_path / "a", *words) as lost:
        next_job(lost)
    with source_of(tmp_path / "b", *words) as source:
        assert source.next() is None


def test_a_search_where_everything_fails_ends(tmp_path: Path) -> None:
    ends = search_with(tmp_path, failing, *TPE, "search.n_trials=3")
    assert len(ends) == 3
    assert [trial.user_attrs["error"] for trial in study_in(tmp_path).trials] == [
        "TrainingError: too bad"
    ] * 3


def test_failed_trials_are_tried_again_by_the_next_command_where_it_is_wished(tmp_path: Path) -> None:
    words = (*TPE, "search.n_trials=3")
    first = search_with(tmp_path, failing, *words)
    assert search_with(tmp_path, best_at_middle, *words, retry_failed=False) == []
    again = search_with(tmp_path, failing, *words, retry_failed=True)
    third = search_with(tmp_path, best_at_middle, *words, retry_failed=True)
    assert [end.job.overrides for end in first] == [end.job.overrides for end in again]
    assert [end.job.overrides for end in first] == [end.job.overrides for end in third]
    assert search_with(tmp_path, best_at_middle, *words, retry_failed=True) == []
    assert [trial.user_attrs.get("retries") for trial in study_in(tmp_path).trials] == [None] * 3 + [
        0,
        1,
        2,
        3,
        4,
        5,
    ]


def test_a_config_that_cannot_be_used_is_a_failed_trial(tmp_path: Path) -> None:
    source = source_of(tmp_path, *TPE, "search.n_trials=2")

    def refuse(*_: object) -> Job:
        raise ConfigError("no such thing")

    source._make_job = refuse
    with source:
        assert source.next() is None
        assert len(source.failures()) == 2
        assert "no such thing" in source.failures()[0]
    assert [trial.state.name for trial in study_in(tmp_path).trials] == ["FAIL"] * 2


def test_a_run_that_another_process_holds_comes_again(tmp_path: Path) -> None:
    with source_of(tmp_path, *TPE, "search.n_trials=1") as source:
        job = next_job(source)
        source.ended(JobEnd(job, "held", tmp_path / "run", error="HeldRunError: at work"))
        assert source.next() == job
        source.ended(best_at_middle(job))
        assert source.next() is None


def test_a_grid_is_tried_whole_and_once(tmp_path: Path) -> None:
    words = (*SMALL, "optim.lr=1e-3,1e-2", "model.net.width=range(2,8,2)", "search=grid")
    with pytest.raises(ConfigError, match="continuous"):
        source_of(tmp_path, *words, "model.net.dropout=interval(0,1)")
    half = search_with(tmp_path, best_at_middle, *words, "search.n_trials=4")
    rest = search_with(tmp_path, best_at_middle, *words)
    assert len(half) == 4
    assert len({frozenset(end.job.overrides) for end in half + rest}) == len(half + rest) == 6


def test_several_objectives(tmp_path: Path) -> None:
    words = (*SPACE, "search=nsga2", "search.n_trials=4", "search.objectives=[val/auroc,images_per_second]")
    search_with(tmp_path, lambda job: finished(job, 0.5, images_per_second=10.0 + job.trial.number), *words)  # type: ignore[union-attr]
    study = study_in(tmp_path)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MAXIMIZE"]
    assert [trial.values for trial in study.trials] == [[0.5, 10.0 + k] for k in range(4)]
    assert [trial.number for trial in study.best_trials] == [3]


@pytest.mark.parametrize(
    ("objective", "why"), [("val/ece", "no cells"), ("n_weights", "not in the run's record")]
)
def test_a_run_without_the_objective_is_a_failed_trial(tmp_path: Path, objective: str, why: str) -> None:
    search_with(tmp_path, best_at_middle, *TPE, "search.n_trials=1", f"search.objectives=[{objective}]")
    (trial,) = study_in(tmp_path).trials
    assert trial.state.name == "FAIL"
    assert why in trial.user_attrs["error"]


def test_classical_models_can_be_searched(tmp_path: Path) -> None:
    words = (
        *KNN,
        "+model.classifier.estimator.n_neighbors=range(1,9,2)",
        "search=random",
        "search.n_trials=2",
    )
    with source_of(tmp_path, *words) as source:
        assert next_job(source).settings.model.name == "knn"


def test_what_only_the_folds_record_is_averaged(tmp_path: Path) -> None:
    folds = [{"run": f"fold_{k}"} for k in range(2)]
    for k, fold in enumerate(folds):
        (tmp_path / fold["run"]).mkdir()
        (tmp_path / fold["run"] / "record.json").write_text(json.dumps({"n_weights": 10 + 2 * k}))
    about = {"kind": "cross_validation", "folds": folds, "seconds": 7.5}
    (tmp_path / "record.json").write_text(json.dumps(about))
    (tmp_path / "metrics.json").write_text("{}")
    assert objective_values(tmp_path, ["n_weights", "seconds"]) == [11.0, 7.5]
    with pytest.raises(RunError, match="images_per_second"):
        objective_values(tmp_path, ["images_per_second"])
