from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from small_runs import BAD_INPUT, DONE, SOME_FAILED
from study_files import CELLS, ROWS, study_file

from leukemia_lab import reproduce
from leukemia_lab.plots.svg import Plot
from leukemia_lab.results.findings import Findings, Section, StudyTable
from leukemia_lab.studies import results_page
from leukemia_lab.studies.results_page import page


def findings(name: str, headline: str) -> Findings:
    section = Section(
        "What came out",
        ("A sentence with a_name.",),
        StudyTable(("", "AUROC"), (("net | one", "0.900 (0.800–0.950)"),)),
        Plot('<svg class="plot" viewBox="0 0 40 20"><title>t</title></svg>', "a drawing of it"),
    )
    return Findings(
        name=name,
        title=f"The {name} study",
        question="What is it?",
        source="A paper",
        budget="cpu",
        data="data synthetic",
        stamps=("SYNTHETIC",),
        headline=headline,
        sections=(section,),
        rows=(),
        failures=(),
    )


def test_the_page_has_answers_first_then_each_study_with_its_figures_and_the_command_for_real_data() -> None:
    text = page(
        [findings("one", "It is one."), findings("two", "It is two.")], "python -m x study.budget=cpu"
    )
    lines = text.splitlines()
    assert lines[0] == "# What the studies found"
    assert lines[2] == "**[SYNTHETIC]**"
    assert "python -m leukemia_lab.reproduce data=cnmc data.root=/data/C-NMC study.budget=full" in text
    assert "| [one](#the-one-study) | It is one. |" in lines
    assert lines.index("| [two](#the-two-study) | It is two. |") < lines.index("## The one study")
    assert "![a drawing of it](results/one_what_came_out.svg)" in lines
    assert "| net \\| one | 0.900 (0.800–0.950) |" in lines  # a name cannot break the table


def test_all_studies_make_a_page_that_the_same_command_makes_again_and_that_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    studies = [study_file(tmp_path, name=name, rows=[ROWS[k]]) for k, name in enumerate(("knn", "forest"))]
    words = [f"studies={studies[0]},{studies[1]}", "study.budget=smoke", "output=docs", *CELLS]
    assert reproduce.main(words) == DONE
    written = (tmp_path / "docs" / "results.md").read_text()
    assert "| [knn](#mine)" in written
    assert words[0] in written.split("`; the same page")[0]  # the command is the one that makes this page
    assert reproduce.main([*words, "check=true"]) == DONE
    capsys.readouterr()
    (tmp_path / "docs" / "results.md").write_text(written.replace("AUROC on", "AUROC of"))
    assert reproduce.main([*words, "check=true"]) == SOME_FAILED
    shown = capsys.readouterr().out
    assert "AUROC of the test part" in shown
    assert "or a figure of it is not what the studies give here" in shown


def test_figures_are_checked_too_and_those_of_an_earlier_page_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        results_page,
        "prepared",
        lambda name, *_: SimpleNamespace(study=SimpleNamespace(name=name), folder=tmp_path),
    )
    monkeypatch.setattr(
        results_page, "carry_out_study", lambda study, _: findings(study.study.name, "It is.")
    )
    words = ["studies=one,two", f"output={tmp_path / 'docs'}"]
    figures = tmp_path / "docs" / "results"
    figures.mkdir(parents=True)
    for name in ("of_before.svg", "one_mine.svg"):
        (figures / name).write_text("x")
    (tmp_path / "docs" / "results.md").write_text("![a figure](results/of_before.svg)")
    assert reproduce.main([*words, "check=true"]) == SOME_FAILED
    assert "one_what_came_out.svg is missing" in " ".join(capsys.readouterr().out.split())
    assert reproduce.main(words) == DONE
    names = sorted(path.name for path in figures.iterdir())
    assert names == ["one_mine.svg", "one_what_came_out.svg", "two_what_came_out.svg"]
    assert reproduce.main([*words, "check=true"]) == DONE
    (figures / "two_what_came_out.svg").write_text("<svg/>")
    assert reproduce.main([*words, "check=true"]) == SOME_FAILED
    assert "two_what_came_out.svg differs" in capsys.readouterr().out


def test_nothing_is_begun_where_one_study_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(results_page, "carry_out_study", None)  # is not called
    good, bad = study_file(tmp_path, name="good"), study_file(tmp_path, name="bad", overrides=["sed=1"])
    assert reproduce.main([f"studies={good},{bad}"]) == BAD_INPUT
    assert "sed: no such key" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs").exists()
    assert reproduce.main(["check=perhaps"]) == BAD_INPUT
    assert reproduce.main(["studies="]) == BAD_INPUT
    assert "studies: empty" in " ".join(capsys.readouterr().err.split())
