"""Which studies may go together, where they lie, and what is no search at all."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import optuna
import pytest
from played_searches import LR, SPACE, TPE, best_at_middle, next_job

from leukemia_lab.errors import ConfigError, InterruptedRunError
from leukemia_lab.search.storage import open_storage, storage_address, without_password
from tests.search.small_searches import SMALL, search_with, source_of


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
