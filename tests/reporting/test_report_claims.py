"""What the page and report.md say of runs that differ in more than their numbers, and that it is so."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from run_folders import change, make_run, sweep

from leukemia_lab.reporting import page
from leukemia_lab.reporting.leaderboard import leaderboards
from leukemia_lab.results.collect import collect

BOOTSTRAP = {"method": "bootstrap", "level": 0.95, "unit": "group"}


def made(folder: Path, part: str = "auto") -> page.Report:
    collected = collect([folder])
    boards = leaderboards(collected.runs, part, "auroc")
    return page.make_report(collected, boards, made="2026-11-22", command="report runs=x", version="0.1")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sweep(tmp_path_factory.mktemp("runs"), 4, explained=3)


def test_a_run_whose_folder_does_not_name_its_model_is_shown_with_it(tmp_path: Path) -> None:
    make_run(tmp_path / "baseline", model="alexnet")
    make_run(tmp_path / "alexnet-1", model="alexnet", quality=1)
    report = made(tmp_path)
    assert page.render_page(report).count('<span class="differs">alexnet</span>') == 1
    markdown = page.render_markdown(report)
    assert "| baseline (alexnet) |" in markdown
    assert "| alexnet-1 |" in markdown


def test_intervals_of_another_method_are_marked_in_their_row(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    change(make_run(tmp_path / "b", quality=3) / "metrics.json", intervals=BOOTSTRAP)
    report = made(tmp_path)
    html, markdown = page.render_page(report), page.render_markdown(report)
    assert html.count("<br><small>bootstrap</small>") == 2  # on test and on val, of one run
    assert markdown.count(") bootstrap |") == 1
    for text in (html, markdown):
        assert "of different methods, bootstrap and jackknife" in text


def test_a_line_break_in_an_override_stays_in_its_line(tmp_path: Path) -> None:
    make_run(tmp_path / "a", overrides=["data.root=/a\n```\n# b"])
    lines = page.render_markdown(made(tmp_path)).splitlines()
    (command,) = [line for line in lines if "leukemia_lab.train" in line]
    assert "'data.root=/a'$'\\n''```'$'\\n''# b'" in command
    words = subprocess.run(
        ["bash", "-c", f"printf '%s|' {command}"], capture_output=True, text=True, check=True
    ).stdout
    assert "|data.root=/a\n```\n# b|" in words
    assert [line.strip() for line in lines].count("```") == 4  # around the run's commands, and the report's


def test_a_run_shows_the_part_that_counts_first_and_its_confusion_once(runs: Path) -> None:
    html = page.render_page(made(runs))
    heads = re.findall(r'<th scope="col">metric</th>\s*((?:<th [^>]*>[^<]*</th>\s*)+)', html)
    assert len(heads) == 4
    assert all(re.findall(r">([^<\s]+)</th>", head)[:3] == ["test", "val", "train"] for head in heads)
    assert html.count("<summary>As a table</summary>") == html.count('id="confusion-') == 4


def test_the_checklist_says_how_the_runs_were_compared(runs: Path) -> None:
    answers = {(item.checklist, item.number): item.text for item in made(runs).checklist}
    said = answers["CLAIM", "29"]
    assert "AUROC on test: 4 runs compared on the same cells" in said
    assert "Holm's correction for all 6 pairs" in said
    assert "To the authors" not in said
    assert "errors are shown" in answers["CLAIM", "39"]
    validation = {(item.checklist, item.number): item.text for item in made(runs, "val").checklist}
    assert "AUROC on val: 4 runs compared" in validation["CLAIM", "29"]
    assert "errors are shown" not in validation["CLAIM", "39"]  # the page shows those of val
