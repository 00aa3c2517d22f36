"""The command check_claims: a table in, verdicts out, and what is wrong with a table in words."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from leukemia_lab import check_claims

DONE, BAD_INPUT = 0, 2
PAPER = """Classifier,Sensitivity (%),Specificity (%),Accuracy (%),AUC
KNN,86.23,89.90,91.20,0.9

VGG16,86.15%,78.97,82.97,-
"""


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "the paper's table, 1.csv"
    path.write_text("\ufeff" + PAPER, encoding="utf-8")
    return path


def test_a_first_word_is_the_table_and_the_csv_has_the_contracts_columns(
    paper: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(paper), "positive_share=0.682", "n_cells=10600", "output=out/claims.csv"]
    assert check_claims.main(words) == DONE
    printed = capsys.readouterr().out
    assert "KNN: impossible at any class share: accuracy 91.20 lies above both" in printed
    assert "0.557 (0.555 to 0.559)" in printed
    assert "not checked: column AUC" in printed
    with Path("out/claims.csv").open(encoding="utf-8", newline="") as file:
        knn, vgg16 = csv.DictReader(file)
    assert (knn["claim_verdict"], vgg16["claim_verdict"]) == ("impossible", "possible")
    assert (knn["integer_matrix"], vgg16["integer_matrix"]) == ("none", "found")
    assert (knn["claimed_sensitivity"], knn["implied_positive_share"], knn["claimed_f1"]) == (
        "0.8623",
        "",
        "",
    )
    assert [float(vgg16[f"implied_positive_share{end}"]) for end in ("", "_low", "_high")] == pytest.approx(
        [0.5571, 0.5557, 0.5585], abs=5e-5
    )
    assert vgg16["has_data_share"] == "False"


@pytest.mark.parametrize(
    "path", [r"C:\papers\table 1.csv", r"\\server\share\t.csv", "C:\\papers\\", "it's.csv", r"a\'b[1]{2}.csv"]
)
def test_a_first_word_is_read_back_as_it_was_typed(path: str) -> None:
    [word] = check_claims.with_key([path])
    assert OverridesParser.create().parse_override(word).value() == path


def test_json_has_the_sentences_too(paper: Path) -> None:
    assert (
        check_claims.main([f"table='{paper.name.replace(chr(39), chr(92) + chr(39))}'", "output=c.json"])
        == DONE
    )
    document = json.loads(Path("c.json").read_text(encoding="utf-8"))
    assert document["sentences"] == ["1 of 2 rows impossible whatever the class share: KNN"]
    assert document["rows"][1]["integer_matrix"] == "size unknown"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model,accuracy\na,91.2x\n", "line 2: a: accuracy is '91.2x', no rate"),
        ("model,accuracy\na,91,2\n", "line 2: 3 fields for 2 columns; a field with a comma needs quotes"),
        (
            "model;accuracy\na;91,2\n",
            "columns are separated by ;: save it with commas .* and points in the num",
        ),
        ("model\taccuracy\na\t91.2\n", "columns are separated by tabs: save it with commas"),
        ("model,tp,fp\na,91,2\n", "no column is one of sensitivity, .* its header is model,tp,fp"),
        ('model,accuracy\na,"91,20"\n', "line 2: a: accuracy is '91,20': write a point .* comma, 91.20"),
        ("model,accuracy,accuracy\na,1,2\n", "it has 2 columns accuracy"),
        ("model,accuracy\n", " has no row of a model: give a header"),
        ("", " has no row of a model: give a header"),
        ("model,accuracy\na,\xff\n", "cannot be read as CSV in UTF-8"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_by_file_and_line(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.csv"
    table.write_bytes(text.encode("latin-1"))
    assert check_claims.main([str(table)]) == BAD_INPUT
    printed = capsys.readouterr().err
    assert printed.startswith(f"ClaimError: {table}")
    assert re.search(words, printed), printed


def test_the_faults_of_all_rows_are_reported_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.csv"
    table.write_text('model,accuracy,f1\na,x,"92,3"\nb,91.2,90\nc,1\nd,y,90\n', encoding="utf-8")
    assert check_claims.main([str(table)]) == BAD_INPUT
    printed = " ".join(capsys.readouterr().err.split())
    assert printed.startswith("ClaimError: 4 faults:")
    assert re.findall(r"line (\d): (?:(\w): (\w+))?", printed) == [
        ("2", "a", "accuracy"),
        ("2", "a", "f1"),
        ("4", "", ""),
        ("5", "d", "accuracy"),
    ]


def test_numbers_above_100_percent_or_in_fractions_are_named_with_the_file_and_the_rows_faults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.csv"
    table.write_text("model,accuracy,f1\na,101.2,90\nb,0.91,0.9\nc,91.2x,90\n", encoding="utf-8")
    assert check_claims.main([str(table)]) == BAD_INPUT
    first, *faults = capsys.readouterr().err.replace("\n  ", "\0").replace("\n", "").split("\0")
    assert first == "ClaimError: 3 faults:"
    unreadable, above, fraction = [fault.removeprefix(str(table)) for fault in faults]
    assert unreadable.startswith(", line 4: c: accuracy is '91.2x', no rate")
    assert above.startswith(": a: accuracy 101.2 is above 100 %")
    assert fraction.startswith(": b: its numbers are at most 0.91 in a table in percent")


def test_of_a_column_nothing_is_said_where_its_highest_number_may_be_one_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.csv"
    table.write_text('model,accuracy,f1\na,91.2,0.9\nb,91.2,"92,3"\n', encoding="utf-8")
    assert check_claims.main([str(table)]) == BAD_INPUT
    assert "column f1" not in capsys.readouterr().err
    table.write_text("model,accuracy,f1\na,91.2,0.9\nb,91.2,0.92\n", encoding="utf-8")
    assert check_claims.main([str(table)]) == BAD_INPUT
    assert f"ClaimError: {table}: column f1 is at most 0.92" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "table: not set; give table=…"),
        (["no.csv"], "there is no file no.csv: give the path of a CSV, table="),
        (["."], ". is a folder: give the path of a CSV"),
        (["no.csv", "n_cells=2,120"], "n_cells=2,120: leave the comma out, n_cells=2120"),
        (["no.csv", "positive_share=0,68"], "positive_share=0,68: write a point, positive_share=0.68"),
        (["a.csv", "b.csv"], "a.csv and b.csv: one table at a time"),
        (["table=a.csv", "b.csv"], "a.csv and b.csv: one table at a time"),
        (["a.csv", "output=./a.csv"], "output=a.csv is the table itself, which would be lost"),
        (["no.csv", "output=out"], "output=out is no file's name that ends in .csv or .json"),
        (["no.csv", "positive_share=68.2"], "positive_share"),
    ],
)
def test_bad_words_are_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_claims.main(words) == BAD_INPUT
    assert said in capsys.readouterr().err
