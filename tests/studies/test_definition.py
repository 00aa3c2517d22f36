from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from study_files import ARMS, ROWS, study_file

from leukemia_lab.errors import ConfigError
from leukemia_lab.studies.definition import REPRODUCED, experiments_dir, read_study, shipped_studies


def test_every_shipped_study_can_be_read_has_notes_and_stands_on_the_page_of_all() -> None:
    names = shipped_studies()
    assert len(names) == 8
    assert sorted(REPRODUCED) == names
    for name in names:
        assert read_study(name).name == name
        assert (experiments_dir() / name / "README.md").is_file()


def test_the_claims_are_those_of_the_papers() -> None:
    claimed = {row.name: row.claims for row in read_study("vgg13_paper").node.rows if row.claims}
    assert claimed["KNN"] == {"sensitivity": "86.23", "specificity": "89.90", "accuracy": "91.20"}
    assert len(claimed) == 6
    accuracies = [row.claims["accuracy"] for row in read_study("vgg16_paper").node.rows if row.claims]
    assert accuracies == ["91.65", "94.6", "97.44"]


def test_a_study_of_ones_own_is_named_by_its_file_or_its_folder(tmp_path: Path) -> None:
    assert read_study(str(study_file(tmp_path))).name == "mine"
    folder = tmp_path / "ours"
    folder.mkdir()
    assert read_study(str(study_file(folder, name="study"))).name == "ours"


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"rows": []}, "rows:"),
        ({"rows": [*ROWS, ROWS[0]]}, "'KNN' is the name of two"),
        (
            {"rows": [ROWS[0] | {"claimed": {"accuracy": 91.2}}]},
            "in quotes, with the digits that are printed",
        ),
        ({"rows": [ROWS[0] | {"claimed": {"acuracy": "91.2"}}]}, "acuracy"),
        ({"arms": [ARMS[0] | {"budgets": {"gpu": []}}]}, "gpu"),
        ({"kind": "leakage"}, "leakage_price"),
        ({"rows": [ROWS[0] | {"claimed": {"accuracy": "91.20"}}]}, "set kind: paper"),
        ({"colour": "red"}, "colour: no such key"),
        # what the analysis would find when hours have been spent on training
        ({"kind": "leakage_price"}, "has the arms random, apart, merged; given holdout"),
        (
            {
                "kind": "leakage_price",
                "part": "val",
                "arms": [{"name": name, "overrides": []} for name in ("random", "apart", "merged")],
            },
            "leave out part: val",
        ),
        ({"kind": "paper"}, "give a row its claimed"),
        ({"kind": "challenge"}, ": kind challenge compares with an ensemble; mark its rows by member: true"),
        # which row, arm and key
        (
            {"rows": [ROWS[0], {"name": "SVM", "override": []}]},
            "rows[1] 'SVM': override: no such key (given []). Did you mean overrides?",
        ),
        ({"arms": [{"overrides": []}]}, "arms[0]: name: not set; give name: …"),
        ({"arms": [{"name": 16, "overrides": []}]}, "arms[0]: name: 16 cannot be used; allowed: text"),
        ({"rows": [*ROWS, "SVM"]}, "rows[2]: 'SVM' cannot be used; allowed: keys with values"),
        ({"rows": "KNN"}, "rows: 'KNN' cannot be used; allowed: a list, [a, b]"),
        ({"rows": [ROWS[0] | {"overrides": ["model=knn", 3]}]}, "rows[0] 'KNN': overrides[1]: 3 cannot be"),
        (
            {"rows": [ROWS[0] | {"overrides": [{"model": "knn"}]}]},
            "rows[0] 'KNN': overrides[0]: {'model': 'knn'} cannot be used; allowed: text, model=knn",
        ),
        (
            {"rows": [ROWS[0] | {"budgets": {"cpu": "model=knn"}}]},
            "budgets.cpu: 'model=knn' cannot be used; allowed: a list in brackets, [model=knn]",
        ),
        ({"claims": {"n_cell": 5}}, "claims.n_cell: no such key (given 5). Did you mean n_cells?"),
        (
            {
                "kind": "paper",
                "rows": [
                    ROWS[0] | {"claimed": {"accuracy": "91.20"}},
                    ROWS[1] | {"claimed": {"accuracy": "91.20"}, "baseline": True},
                ],
            },
            "rows[1] 'forest': a baseline's claims are not used; leave out claimed, or baseline: true",
        ),
        ({"rows": [ROWS[0] | {"baseline": True}]}, "none is there to beat them"),
        (
            {"kind": "paper", "rows": [ROWS[0] | {"claimed": {"accuracy": "91,20"}}]},
            "rows[0] 'KNN': claimed: accuracy is '91,20': write a point for the decimal comma, 91.20",
        ),
        ({"kind": "paper", "rows": [ROWS[0] | {"claimed": {"accuracy": "120.0"}}]}, "above 100 %"),
    ],
)
def test_a_faulty_study_is_refused_with_its_file_and_key(
    tmp_path: Path, changed: dict[str, object], fault: str
) -> None:
    path = study_file(tmp_path, **changed)
    with pytest.raises(ConfigError) as caught:
        read_study(str(path))
    assert fault in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_studys_name_can_stand_in_file_names_and_ids(tmp_path: Path) -> None:
    assert read_study(str(study_file(tmp_path, name="2 nets, ours"))).name == "study_2_nets_ours"


def faults_of(path: Path) -> list[str]:
    """The faults of a study's file, without their number and the file's name."""
    with pytest.raises(ConfigError) as caught:
        read_study(str(path))
    number, *lines = str(caught.value).splitlines()
    assert number == f"{len(lines)} faults:"
    assert all(line.startswith(f"  {path}: ") for line in lines)
    return [line.removeprefix(f"  {path}: ") for line in lines]


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    assert len(faults_of(study_file(tmp_path, kind="x", metric="y", part="z"))) == 3


def test_all_faults_of_claims_and_kind_are_named_at_once(tmp_path: Path) -> None:
    rows = [
        ROWS[0] | {"claimed": {"accuracy": "91,2", "recall": "x"}},
        ROWS[1] | {"claimed": {"recall": "y"}},
    ]
    arms = [{"name": "apart", "overrides": []}]
    found = faults_of(study_file(tmp_path, rows=rows, arms=arms, kind="leakage_price", part="val"))
    assert [fault.partition(";")[0].partition(" is ")[0] for fault in found] == [
        "kind leakage_price has the arms random, apart, merged",
        "kind leakage_price",
        "rows 'KNN', 'forest' have claims, which kind leakage_price takes no notice of: set kind: paper",
        "rows[0] 'KNN': claimed: accuracy",
        "rows[0] 'KNN': claimed: recall",
        "rows[1] 'forest': claimed: recall",
    ]


def test_all_claims_that_are_no_percentages_are_named_at_once(tmp_path: Path) -> None:
    rows = [
        ROWS[0] | {"claimed": {"accuracy": "120", "recall": "90.1"}},
        ROWS[1] | {"claimed": {"accuracy": "0.91"}},
    ]
    above, fraction = faults_of(study_file(tmp_path, rows=rows, kind="paper"))
    assert above.startswith("rows[0] 'KNN': claimed: accuracy 120 is above 100 %")
    assert fraction.startswith(
        "rows[1] 'forest': claimed: its numbers are at most 0.91 in a table in percent"
    )


def test_a_claim_that_cannot_be_read_hides_none_that_is_no_percentage(tmp_path: Path) -> None:
    rows = [ROWS[0] | {"claimed": {"accuracy": "91,2"}}, ROWS[1] | {"claimed": {"accuracy": "120"}}]
    comma, above = faults_of(study_file(tmp_path, rows=rows, kind="paper"))
    assert comma.startswith("rows[0] 'KNN': claimed: accuracy is '91,2'")
    assert above.startswith("rows[1] 'forest': claimed: accuracy 120 is above 100 %")


def test_a_title_may_look_like_a_date(tmp_path: Path) -> None:
    path = study_file(tmp_path)
    path.write_text(path.read_text().replace("title: Mine", "title: 2024-05-01"))
    assert read_study(str(path)).node.title == "2024-05-01"
    path.write_text(f"{path.read_text()}2024-05-01: x\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml: 2024-05-01: no such key"):
        read_study(str(path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("metric: auroc\nmetric: f1\n", "line 2: metric is given twice: keep one"),
        (
            "rows:\n  - name: KNN\n    overrides: []\n    overrides: [model=knn]\n",
            "line 4: overrides is given",
        ),
        ("rows:\n\t- name: KNN\n", "line 2: a tab cannot stand here: write spaces in place of tabs"),
    ],
)
def test_a_key_given_twice_and_a_tab_are_refused_with_file_and_line(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_study(str(path))
    assert str(caught.value).startswith(f"{path}, {said}")


def test_a_yaml_that_cannot_be_read_for_another_reason_is_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("title: a: b\n")
    with pytest.raises(ConfigError, match=r"(?s)mine\.yaml cannot be read: mapping values.*line 1"):
        read_study(str(path))


@pytest.mark.parametrize(("line", "fault"), [("a: !!binary aGk=", "bytes"), ("a: &a [*a]", "Circular")])
def test_what_yaml_reads_but_is_no_plain_value_is_refused_with_the_file(
    tmp_path: Path, line: str, fault: str
) -> None:
    path = study_file(tmp_path)
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(
        ConfigError, match=rf"^study=.*mine\.yaml cannot be used: .*{fault}.*; write plain text"
    ):
        read_study(str(path))


def test_what_is_no_study_is_told_apart_from_a_study_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Did you mean vgg13_paper\?"):
        read_study("vgg13_papr")
    with pytest.raises(ConfigError, match=r"there is no file .*none\.yaml: give its path"):
        read_study(str(tmp_path / "none.yaml"))
    words = tmp_path / "words.yaml"
    words.write_text(yaml.safe_dump(["a"]))
    with pytest.raises(ConfigError, match="holds no keys"):
        read_study(str(words))
