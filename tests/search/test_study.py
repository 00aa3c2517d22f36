from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import optuna
import pytest

from leukemia_lab.errors import ConfigError, InterruptedRunError, RunError
from leukemia_lab.search.outcome import objective_values
from leukemia_lab.search.storage import open_storage, storage_address, without_password
from leukemia_lab.search.study import StudySource
from leukemia_lab.sweeping.engine import Later
from leukemia_lab.sweeping.job import Job, JobEnd
from tests.search.small_searches import KNN, SMALL, finished, search_with, source_of

LR = "optim.lr=tag(log,interval(1e-4,1e-1))"
SPACE = (*SMALL, LR, "trainer.batch_size=8,16,32", "search/pruner=none")
TPE = (*SPACE, "search=tpe")


def value_of(job: Job, key: str) -> str:
    return next(word.partition("=")[2] for word in job.overrides if word.startswith(f"{key}="))


def best_at_middle(job: Job) -> JobEnd:
    return finished(job, 1 - abs(float(value_of(job, "optim.lr")) - 0.01))


def failing(job: Job) -> JobEnd:
    return JobEnd(job, "failed", None, None, "TrainingError: too bad")


def study_in(sweep: Path) -> Any:
    storage = open_storage(storage_address(None, sweep))
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def next_job(source: StudySource) -> Job:
    job = source.next()
    assert isinstance(job, Job)
    return job


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


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("seed=1", "seed: 0 there, 1 here"),
        ("data.n_cells=65", "data.n_cells: 64 there, 65 here"),
        ("optim.lr=tag(log,interval(1e-5,1e-1))", "space.optim.lr.attributes.low: 0.0001 there, 1e-05 here"),
        ("search.seed=2", "search.seed: 0 there, 2 here"),
        ("search.objectives=[val/ece]", "search.objectives"),
        ("search/pruner=median", "search.pruner"),
    ],
)
def test_a_study_of_another_definition_is_refused(tmp_path: Path, change: str, named: str) -> None:
    words = (*TPE, "search.n_trials=1", "search.study=mine")
    search_with(tmp_path, best_at_middle, *words)
    with pytest.raises(ConfigError, match="study mine holds trials") as refused:
        source_of(tmp_path, *words, change)
    assert named in str(refused.value)
    assert str(refused.value).count(" there, ") <= 3


def test_a_second_search_in_one_folder_is_refused(tmp_path: Path) -> None:
    words = (*TPE, "search.n_trials=1")
    search_with(tmp_path, best_at_middle, *words)
    with pytest.raises(ConfigError, match=r"give another hydra\.sweep\.dir") as refused:
        source_of(tmp_path, *words, "seed=1")
    assert "seed: 0 there, 1 here" in str(refused.value)
    source_of(tmp_path, *TPE, "search.n_trials=2")  # more of the same


def test_what_only_a_searched_model_uses_is_a_part_of_the_definition(tmp_path: Path) -> None:
    words = (*SMALL, "model=simple_cnn,vgg13", "search=random", "search.study=mine", "search.n_trials=1")
    fixed = ("pipeline.image_size=32", "model.net.dropout=0.1")
    source_of(tmp_path, *words, *fixed)
    source_of(tmp_path, *words, *fixed, "search.n_trials=9")
    with pytest.raises(ConfigError, match="only some of the searched choices use"):
        source_of(tmp_path, *words, *fixed, "model.net.dropout=0.2")


def test_a_foreign_study_is_refused(tmp_path: Path) -> None:
    study = optuna.create_study(study_name="mine", storage=open_storage(str(tmp_path / "study.log")))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(ConfigError, match="not made by leukemia_lab"):
        source_of(tmp_path, *TPE, "search.study=mine")


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


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("search.objectives=[val/auroc,val/ece]", "search/pruner=asha"), "pruning needs one objective"),
        (("search.objectives=[seconds]", "search/pruner=asha"), "known after each epoch"),
        (("search.objectives=[val/auc]",), "'val/auc' is no objective"),
        (("search.objectives=[]",), "name one objective"),
        (("search.n_trials=null",), "only search=grid"),
        (("search.storage=mongodb://x/y",), "cannot be opened"),
        (("search.storage=postgresql://me:secret@127.0.0.1:1/x",), "cannot be opened"),
    ],
)
def test_what_no_search_can_be(
    tmp_path: Path, words: tuple[str, ...], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leukemia_lab.search.storage.PAUSES_SECONDS", ())
    with pytest.raises(ConfigError, match=fault) as refused:
        source_of(tmp_path, *TPE, *words)
    assert "secret" not in str(refused.value)


def test_addresses_hold_for_any_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage_address(None, Path("sweep")) == f"{tmp_path}/sweep/study.log"
    assert storage_address("a/b.log", Path("sweep")) == f"{tmp_path}/a/b.log"
    assert storage_address("sqlite:///a.db", Path("sweep")) == f"sqlite:///{tmp_path}/a.db"
    assert storage_address("sqlite:////a.db", Path("sweep")) == "sqlite:////a.db"
    assert storage_address("postgresql://u@h/d", Path("sweep")) == "postgresql://u@h/d"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:p:w@host:5/x", "postgresql://me:***@host:5/x"),
        ("postgresql+psycopg://me@host/x", "postgresql+psycopg://me@host/x"),
        ("/a/b.log", "/a/b.log"),
        ("sqlite:////a/b@c.db", "sqlite:////a/b@c.db"),
    ],
)
def test_passwords_are_not_shown(address: str, shown: str) -> None:
    assert without_password(address) == shown


def test_sqlite(tmp_path: Path) -> None:
    words = (*TPE, "search.n_trials=2", f"search.storage=sqlite:///{tmp_path}/study.db")
    assert len(search_with(tmp_path, best_at_middle, *words)) == 2
    assert search_with(tmp_path, best_at_middle, *words) == []


def test_classical_models_can_be_searched(tmp_path: Path) -> None:
    words = (
        *KNN,
        "+model.classifier.estimator.n_neighbors=range(1,9,2)",
        "search=random",
        "search.n_trials=2",
    )
    with source_of(tmp_path, *words) as source:
        assert next_job(source).settings.model.name == "knn"


def test_the_order_of_the_words_makes_no_other_study(tmp_path: Path) -> None:
    swapped = (*SMALL, "trainer.batch_size=8,16,32", LR, "search/pruner=none", "search=tpe")
    first, second = (source_of(tmp_path, *words).name for words in (TPE, swapped))
    assert first == second


def test_a_missing_package_is_named_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "leukemia_lab.search.definition.find_spec", lambda name: None if name == "cmaes" else find_spec(name)
    )
    with pytest.raises(ConfigError, match="leukemia-lab\\[search\\]"):
        source_of(tmp_path, *SPACE, "search=cmaes")


def test_a_storage_that_stays_away_interrupts_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leukemia_lab.search.storage.PAUSES_SECONDS", (0.0,))
    with source_of(tmp_path, *TPE, "search.n_trials=1") as source:
        job = next_job(source)
        with monkeypatch.context() as patched:

            def away(*_: object, **__: object) -> None:
                raise ConnectionError("server closed postgresql://me:secret@host/x")

            patched.setattr(source._study, "tell", away)
            with pytest.raises(InterruptedRunError, match="same command goes on") as stopped:
                source.ended(best_at_middle(job))
        assert "secret" not in str(stopped.value)
    with source_of(tmp_path, *TPE, "search.n_trials=1") as source:
        assert next_job(source) == job


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
