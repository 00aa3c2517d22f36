from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from study_files import ARMS, ROWS, study_file

from leukemia_lab.errors import ConfigError
from leukemia_lab.schema.study import Budget
from leukemia_lab.studies.definition import read_study, shipped_studies
from leukemia_lab.studies.plan import plan

N_RUNS = {  # rows times arms, baselines too
    "vgg13_paper": 14,
    "vgg16_paper": 8,
    "leakage_price": 9,
    "negative_controls": 10,
    "log_ablation": 26,
    "augmentation_ablation": 5,
    "imbalance_ablation": 4,
    "challenge": 12,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(N_RUNS))
def test_every_shipped_study_composes_at_every_budget(name: str) -> None:
    study = read_study(name)
    for budget in get_args(Budget):
        assert len(plan(study, budget, [], None)) == N_RUNS[name] * study.node.repeats.get(budget, 1)


def test_no_shipped_study_is_left_out_here() -> None:
    assert set(N_RUNS) == set(shipped_studies())


def test_words_come_from_study_budget_row_arm_and_user_and_the_last_wins(tmp_path: Path) -> None:
    path = study_file(
        tmp_path,
        overrides=["seed=1", "trainer.max_epochs=1"],
        budgets={"smoke": ["trainer.max_epochs=2", "trainer.batch_size=2"]},
        rows=[
            {"name": "a", "overrides": ["trainer.batch_size=3"], "budgets": {"smoke": ["optim.lr=0.5"]}},
        ],
        arms=[ARMS[0] | {"budgets": {"smoke": ["protocol.val_share=0.3"]}}],
    )
    (smoke,) = plan(read_study(str(path)), "smoke", ["seed=7"], None)
    assert smoke.words == (
        "trainer.max_epochs=2",
        "trainer.batch_size=3",
        "optim.lr=0.5",
        "protocol=subject_holdout",
        "protocol.val_share=0.3",
        "seed=7",
    )
    assert (smoke.settings.seed, smoke.settings.trainer.batch_size, smoke.settings.optim.lr) == (7, 3, 0.5)
    (cpu,) = plan(read_study(str(path)), "cpu", [], None)
    assert (cpu.settings.trainer.max_epochs, cpu.settings.optim.lr) == (1, "auto")


def test_several_values_of_a_key_make_several_rows_that_are_named_by_them(tmp_path: Path) -> None:
    path = study_file(
        tmp_path,
        rows=[
            {"name": "LoG", "overrides": ["pipeline.log.mode=replace,append", "pipeline.log.sigma_px=1,2"]}
        ],
    )
    found = plan(read_study(str(path)), "cpu", [], None)
    assert [run.row.name for run in found] == [
        "LoG mode=replace sigma_px=1",
        "LoG mode=replace sigma_px=2",
        "LoG mode=append sigma_px=1",
        "LoG mode=append sigma_px=2",
    ]
    assert [run.settings.pipeline.log.sigma_px for run in found] == [1.0, 2.0, 1.0, 2.0]


def words_of(path: Path, *given: str) -> list[tuple[str, ...]]:
    return [run.words for run in plan(read_study(str(path)), "cpu", given, None)]


def test_a_group_of_a_group_is_another_key_than_the_group(tmp_path: Path) -> None:
    rows = [{"name": "KNN", "overrides": ["model=svm", "model/features=pixels", "model=knn"]}]
    [words] = words_of(study_file(tmp_path, rows=rows))
    assert words == ("model/features=pixels", "model=knn", "protocol=subject_holdout")


def test_a_row_may_delete_a_key(tmp_path: Path) -> None:
    rows = [{"name": "Adam", "overrides": ["~optim.optimizer.betas"]}, ROWS[0]]
    path = study_file(tmp_path, rows=rows)
    adam, _ = plan(read_study(str(path)), "cpu", ["seed=3"], None)
    assert "~optim.optimizer.betas" in adam.words
    assert "betas" not in adam.settings.optim.optimizer
    with pytest.raises(ConfigError, match="one and the same"):
        plan(
            read_study(str(study_file(tmp_path, rows=[*rows, rows[0] | {"name": "again"}]))), "cpu", [], None
        )


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("seed=1,2", "a study is a sweep already"),
        ("hydra.sweep.dir=x", "study.folder"),
        ("search=tpe", "says itself what is tried"),
        ("modle=knn", "modle"),
        ("optim.lr=-1", "optim.lr"),
        ("data.n_cells=[", "not understood"),
    ],
)
def test_the_users_own_words_are_checked_before_anything_is_begun(
    tmp_path: Path, word: str, fault: str
) -> None:
    with pytest.raises(ConfigError, match=fault):
        plan(read_study(str(study_file(tmp_path))), "cpu", [word], None)


def test_values_of_an_added_key_make_rows_too(tmp_path: Path) -> None:
    path = study_file(
        tmp_path, rows=[{"name": "ours", "overrides": ["model=simple_cnn", "++model.net.width=4,8"]}]
    )
    found = plan(read_study(str(path)), "cpu", [], None)
    assert [run.row.name for run in found] == ["ours width=4", "ours width=8"]


def test_a_row_may_not_have_the_name_that_values_give_another(tmp_path: Path) -> None:
    rows = [{"name": "net", "overrides": ["seed=0,1"]}, {"name": "net seed=1", "overrides": ["seed=3"]}]
    with pytest.raises(ConfigError, match=r"mine\.yaml, rows: 'net seed=1' is the name of two"):
        plan(read_study(str(study_file(tmp_path, rows=rows))), "cpu", [], None)


@pytest.mark.parametrize(
    "word", ["optim.lr=interval(0,1)", "model=glob(*)", "optim.lr=range(1,4,0)", "optim.lr=range(4,1)"]
)
def test_values_that_cannot_be_listed_are_refused_with_file_and_row(tmp_path: Path, word: str) -> None:
    path = study_file(tmp_path, rows=[{"name": "any", "overrides": [word]}])
    with pytest.raises(ConfigError, match=r"mine\.yaml: rows\[0\] 'any': overrides: .*name the values"):
        plan(read_study(str(path)), "cpu", [], None)


def test_all_names_and_runs_that_are_equal_are_named_at_once(tmp_path: Path) -> None:
    rows = [
        {"name": "net", "overrides": ["seed=0,1"]},
        {"name": "net seed=1", "overrides": ["seed=3"]},
        {"name": "third", "overrides": ["seed=0"]},
        {"name": "fourth", "overrides": ["seed=1"]},
    ]
    name, third, fourth = faults_of(study_file(tmp_path, rows=rows))
    assert name.endswith("rows: 'net seed=1' is the name of two")
    assert third.startswith("net seed=0 (holdout) and third (holdout) are one and the same run")
    assert fourth.startswith("net seed=1 (holdout) and fourth (holdout) are one and the same run")


def test_a_word_that_makes_two_arms_one_run_is_refused(tmp_path: Path) -> None:
    arms = [{"name": f"val {share}", "overrides": [f"protocol.val_share={share}"]} for share in (0.2, 0.3)]
    study = read_study(str(study_file(tmp_path, arms=arms)))
    assert len(plan(study, "cpu", [], None)) == 4
    with pytest.raises(ConfigError, match=r"KNN \(val 0\.2\) and KNN \(val 0\.3\) are one and the same"):
        plan(study, "cpu", ["protocol.val_share=0.4"], None)


def test_a_word_that_makes_two_rows_one_run_is_refused(tmp_path: Path) -> None:
    rows = [{"name": "net", "overrides": ["optim.lr=0.1,0.2"]}]
    study = read_study(str(study_file(tmp_path, rows=rows)))
    with pytest.raises(ConfigError, match=r"net lr=0\.1 \(holdout\) and net lr=0\.2 \(holdout\)"):
        plan(study, "cpu", ["optim.lr=0.3"], None)


@pytest.mark.parametrize(
    ("word", "who"), [("protocol=challenge", "arms"), ("model=vgg16", "rows"), ("seed=5", "rows")]
)
def test_a_word_that_overrules_what_arms_or_rows_differ_in_is_refused(
    tmp_path: Path, word: str, who: str
) -> None:
    seeds = {"name": "net", "overrides": ["model=simple_cnn", "seed=0,1"]}
    study = read_study(str(study_file(tmp_path, rows=[*ROWS, seeds])))
    key = word.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"^{word}: the {who} of mine set {key}; leave it out, or write a"):
        plan(study, "cpu", [word], None)


def test_what_arms_and_rows_do_not_differ_in_may_be_overruled(tmp_path: Path) -> None:
    rows = [{"name": name, "overrides": [f"model={name}", "optim=sgd"]} for name in ("vgg13", "simple_cnn")]
    arms = [{"name": "folds", "overrides": ["protocol=subject_kfold", "protocol.n_folds=2"]}]
    study = read_study(str(study_file(tmp_path, rows=rows, arms=arms, overrides=["augment=dihedral"])))
    given = ["optim=adamw", "augment=none", "protocol.n_folds=4", "pipeline.image_size=64"]
    for run in plan(study, "cpu", given, None):
        assert set(given) < set(run.words)
        assert run.settings.protocol.model_dump()["n_folds"] == 4


def faults_of(path: Path, *given: str) -> list[str]:
    """The faults of a study's runs, each up to what is allowed instead, without their number."""
    with pytest.raises(ConfigError) as caught:
        plan(read_study(str(path)), "cpu", given, None)
    lines = str(caught.value).replace(f"{path}: ", "").splitlines()
    assert lines[0] == f"{len(lines) - 1} faults:"
    return [line.strip().partition(";")[0] for line in lines[1:]]


def test_faults_of_all_runs_are_named_once_with_row_arm_and_budget(tmp_path: Path) -> None:
    rows = [
        {"name": "KNN", "overrides": ["model=knn", "optim.lrr=1"]},
        {"name": "net", "overrides": ["seed=0,1"], "budgets": {"cpu": ["trainer.batch_size=0"]}},
        {"name": "SVM", "overrides": ["model=svmm"]},
    ]
    arms = [*ARMS, {"name": "folds", "overrides": ["protocol=subject_kfold", "protocol.n_fold=3"]}]
    path = study_file(tmp_path, rows=rows, arms=arms, budgets={"cpu": ["pipeline.image_size=6"]})
    assert sorted(faults_of(path, "trainer.batch_sise=3")) == [
        "arms[1] 'folds': overrides: protocol.n_fold: no such key (given '3')",
        "budgets.cpu: pipeline.image_size: 6 cannot be used",
        "rows[0] 'KNN': overrides: optim.lrr: no such key (given '1')",
        "rows[1] 'net': budgets.cpu: trainer.batch_size: 0 cannot be used",
        "rows[2] 'SVM': overrides: model: 'svmm' is no choice",
        "trainer.batch_sise: no such key (given '3')",
    ]


def test_words_that_are_no_words_are_named_with_their_places_before_anything_is_composed(
    tmp_path: Path,
) -> None:
    rows = [ROWS[0], {"name": "net", "overrides": ["a b=["]}]
    arms = [ARMS[0] | {"budgets": {"cpu": ["seed=1,2"], "full": ["optim.lr=]"]}}]
    path = study_file(tmp_path, rows=rows, arms=arms, overrides=["seed=["])
    words = [fault.partition(" (")[0] for fault in faults_of(path, "search=tpe")]
    assert words == [
        "overrides: seed=[: not understood",
        "rows[1] 'net': overrides: a b=[: not understood",
        "arms[0] 'holdout': budgets.cpu: seed=1,2: several values make rows: write it in a row, or give one value",
        "arms[0] 'holdout': budgets.full: optim.lr=]: not understood",
        "search=tpe: a study says itself what is tried",
    ]


def test_a_fault_of_some_runs_names_the_first(tmp_path: Path) -> None:
    path = study_file(tmp_path, rows=[{"name": "net", "overrides": ["model=simple_cnn"]}, ROWS[0]])
    with pytest.raises(ConfigError, match=r"^model\.net\.width: no such key .* \(in KNN under holdout\)$"):
        plan(read_study(str(path)), "cpu", ["model.net.width=8"], None)


def test_of_a_faulty_word_and_the_one_that_overrules_it_each_is_named_at_its_place(tmp_path: Path) -> None:
    rows = [*ROWS, {"name": "net", "overrides": ["optim.lrr=2"]}]
    assert faults_of(study_file(tmp_path, rows=rows, overrides=["optim.lrr=1"])) == [
        "overrides: optim.lrr: no such key (given '1')",
        "rows[2] 'net': overrides: optim.lrr: no such key (given '2')",
    ]


def test_a_fault_that_no_word_is_the_cause_of_is_of_the_file_and_names_a_run_if_others_have_it_not(
    tmp_path: Path,
) -> None:
    own = tmp_path / "conf" / "experiment"
    own.mkdir(parents=True)
    (own / "negative.yaml").write_text("# @package _global_\ntrainer:\n  batch_size: -1\n")
    path = study_file(tmp_path, overrides=["experiment=negative"])
    with pytest.raises(ConfigError, match=r"^\S*mine\.yaml: trainer\.batch_size: -1 cannot be used; [^(]*$"):
        plan(read_study(str(path)), "cpu", [], str(tmp_path / "conf"))
    rows = [*ROWS, {"name": "net", "overrides": ["trainer.batch_size=2"]}]
    path = study_file(tmp_path, rows=rows, overrides=["experiment=negative"])
    with pytest.raises(ConfigError, match=r"batch_size: -1 cannot .* \(in KNN under holdout\)$"):
        plan(read_study(str(path)), "cpu", [], str(tmp_path / "conf"))


def test_a_fault_of_a_seed_that_repeats_mean_is_theirs(tmp_path: Path) -> None:
    arms = [{"name": "theirs", "overrides": ["protocol=manifest", "protocol.file=theirs.csv"]}]
    path = study_file(tmp_path, arms=arms, repeats={"cpu": 2})
    with pytest.raises(ConfigError, match=r"^\S*mine\.yaml: repeats: protocol\.seed: no such key [^\n]*$"):
        plan(read_study(str(path)), "cpu", [], None)


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        (
            [["experiment=challenge", "seed=0,1"], ["model=knn"]],
            "experiment=smoke",
        ),
        ([["model=knn"], ["seed=1"]], "model=svm"),
        ([["~augment"], []], "augment=dihedral"),
    ],
)
def test_what_some_rows_alone_set_may_not_be_overruled(
    tmp_path: Path, rows: list[list[str]], word: str
) -> None:
    parts = [{"name": f"row {number}", "overrides": overrides} for number, overrides in enumerate(rows)]
    with pytest.raises(ConfigError, match=rf"^{word}: the rows of mine set {word.partition('=')[0]}; leave"):
        plan(read_study(str(study_file(tmp_path, rows=parts))), "cpu", [word], None)


def test_what_some_rows_set_at_one_budget_alone_may_be_overruled(tmp_path: Path) -> None:
    rows = [ROWS[0], {"name": "net", "overrides": ["model=simple_cnn"], "budgets": {"cpu": ["optim=sgd"]}}]
    assert all("optim=adamw" in words for words in words_of(study_file(tmp_path, rows=rows), "optim=adamw"))


def test_a_planned_run_is_named_by_row_arm_and_repeat(tmp_path: Path) -> None:
    found = plan(read_study(str(study_file(tmp_path, rows=ROWS[:1], repeats={"cpu": 2}))), "cpu", [], None)
    assert [run.name for run in found] == ["KNN (holdout)", "KNN (holdout, repeat 1)"]
