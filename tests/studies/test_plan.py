from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from study_files import ARMS, study_file

from leukemia_lab.errors import ConfigError
from leukemia_lab.schema.study import Budget
from leukemia_lab.studies.definition import read_study, shipped_studies
from leukemia_lab.studies.plan import last_of_each_key, plan

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


def test_a_group_of_a_group_is_another_key_than_the_group() -> None:
    words = ["model=svm", "model/features=vgg16", "model=knn", "+model.net.width=4", "+model.net.width=8"]
    assert last_of_each_key(words) == ["model/features=vgg16", "model=knn", "+model.net.width=8"]


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


def test_values_that_cannot_be_listed_are_refused_with_file_and_row(tmp_path: Path) -> None:
    path = study_file(tmp_path, rows=[{"name": "any rate", "overrides": ["optim.lr=interval(0,1)"]}])
    with pytest.raises(ConfigError, match=r"mine\.yaml, any rate: .*name the values"):
        plan(read_study(str(path)), "cpu", [], None)


def test_a_word_that_makes_two_arms_one_run_is_refused(tmp_path: Path) -> None:
    arms = [{"name": name, "overrides": [f"protocol={name}"]} for name in ("random_cells", "subject_kfold")]
    study = read_study(str(study_file(tmp_path, arms=arms)))
    assert len(plan(study, "cpu", [], None)) == 4
    with pytest.raises(
        ConfigError, match=r"KNN \(random_cells\) and KNN \(subject_kfold\) are one and the same"
    ):
        plan(study, "cpu", ["protocol=random_cells"], None)


def test_a_word_that_makes_two_rows_one_run_is_refused(tmp_path: Path) -> None:
    study = read_study(str(study_file(tmp_path, rows=[{"name": "net", "overrides": ["seed=0,1"]}])))
    with pytest.raises(ConfigError, match=r"net seed=0 \(holdout\) and net seed=1 \(holdout\)"):
        plan(study, "cpu", ["seed=5"], None)
