from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from page_checks import Outline, addresses, barriers
from run_folders import cells, change, make_run, sweep

from leukemia_lab import report
from leukemia_lab.reporting import budget, page, wiring
from leukemia_lab.reporting.budget import Detail, Size, allot, encoded, lowered
from leukemia_lab.reporting.contents import CheckItem, Comparison, Drawing, Pair, SeedGroup, Seeds
from leukemia_lab.reporting.leaderboard import Leaderboard, leaderboards
from leukemia_lab.results.collect import collect
from leukemia_lab.results.run_result import RunResult

HOSTILE = "<script>alert(\"1\")</script> & 'x' \u202e | `b`"
DRAWING = Drawing('<svg viewBox="0 0 9 9" role="img" aria-label="0.5"></svg>', "0.5")


def made(folder: Path, part: str = "auto") -> page.Report:
    collected = collect([folder])
    boards = leaderboards(collected.runs, part, "auroc")
    return page.make_report(collected, boards, made="2026-11-22", command="report runs=x", version="0.1")


def html_of(folder: Path) -> str:
    return page.render_page(made(folder))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    sweep(folder / "a", 8, stamps=["SYNTHETIC"], explained=3)
    make_run(folder / "leaky", split=cells(seed=5), stamps=["LEAKY"], quality=9, intervals=False)
    change(make_run(folder / "half", quality=4) / "record.json", status="interrupted")
    return folder


@pytest.fixture
def wired(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that a report can hold is there."""
    pair = Pair("a", "b", -0.02, -0.05, 0.01, 0.2, 0.6, 0.01, None)
    group = SeedGroup("knn", ("a", "b"), {0: 0.8, 1: 0.9}, 0.85, 0.7, 0.9, 0.07, None)
    seeds = Seeds((group,), DRAWING, 0.9)
    items = (
        CheckItem("CLAIM", "1", "Title", "What was made", "filled", "A model"),
        CheckItem("TRIPOD+AI", "2", "Abstract", "A summary", "authors", "Write one"),
    )
    comparison = Comparison((pair,), (("a", "b"),), DRAWING, ("All on 60 cells.",))
    for name, value in {
        "drawings": {"roc": DRAWING, "curves": DRAWING},
        "forest": DRAWING,
        "split_drawing": DRAWING,
        "checklist": items,
        "plot_styles": ".plot { color: red }",
    }.items():
        monkeypatch.setattr(wiring, name, lambda *_, value=value: value)
    monkeypatch.setattr(page, "compared", lambda _: (object(), ()))
    monkeypatch.setattr(page, "pairs", lambda *_: comparison)
    monkeypatch.setattr(page, "seeds", lambda *_: seeds)


def test_the_page_is_one_file_without_barriers(runs: Path, wired: None) -> None:
    html = html_of(runs)
    assert addresses(html) == []
    assert barriers(html) == []
    assert len(Outline(html).all("img")) == 8 * 3 * 3
    assert not {"iframe", "object", "link rel=stylesheet"} & {tag for tag, _ in Outline(html).tags}


def test_the_page_without_what_others_draw_has_no_barriers_either(runs: Path) -> None:
    assert barriers(html_of(runs)) == []


def test_the_page_says_what_the_runs_hold(runs: Path, wired: None) -> None:
    text = Outline(html_of(runs)).text
    for said in (
        "Report of 9 runs",
        "SYNTHETIC 8 of 9 runs",
        "LEAKY (1 of 9 runs)",
        "Leaderboard 2: AUROC on test",
        "Groups in more than one part: 0",
        "Subject names taken as one: TRA0 = TRA1, TRH0 = TRH1",
        "−0.020 (−0.050 to +0.010)",
        "Runs that cannot be told apart at the 5 % level",
        "mean (90 % interval)",
        "0.850 (0.700–0.900)",
        "All on 60 cells.",
        "interrupted, not finished",
        "CLAIM 1 of 1 items filled in",
        "TRIPOD+AI 0 of 1 items filled in, 0 in part, 1 for the authors",
        "83 % of the attribution on the cell",
        "the median share on the cell is 0.810, while the cell covers 0.200",
        "Satterthwaite",
        "python -m leukemia_lab.train model=alexnet seed=1 optim.lr=0.002",
        "test part opened 1 time by this run",
        "12.5 s, 4 epochs",
    ):
        assert said in text, said
    assert "force=true" not in text
    assert "None" not in text


def test_every_stamp_of_a_run_stands_in_its_row_and_its_section(tmp_path: Path) -> None:
    stamps = ["SYNTHETIC", "LEAKY", "NO SUBJECTS", "TWINS IGNORED", "TEST SEEN 3 TIMES", "DIHEDRAL AVERAGING"]
    make_run(tmp_path / "a", stamps=stamps)
    html = html_of(tmp_path)
    markdown = page.render_markdown(made(tmp_path))
    for stamp in stamps:
        assert f'<span class="mark">{stamp}</span>' in html
        assert html.count(f'<strong class="stamp">{stamp}</strong>') >= 1
        assert f"**[{stamp}]**" in markdown
        assert f"{stamp} (all runs): " in markdown


def test_text_from_outside_stays_text(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a")
    for file, values in {
        "record.json": {"overrides": [f"model={HOSTILE}"], "notes": [HOSTILE], "model": HOSTILE},
        "metrics.json": {"stamps": [HOSTILE]},
    }.items():
        change(folder / file, **values)
    html = html_of(tmp_path)
    assert barriers(html) == []
    assert len(Outline(html).all("script")) == 1
    assert "\u202e" not in html
    assert "<script" not in page.render_markdown(made(tmp_path)).split("## To make")[0]


def test_damaged_tables_are_said_and_stop_nothing(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "a", tmp_path / "a")
    folders = sorted((tmp_path / "a").iterdir())
    (folders[0] / "predictions.parquet").write_bytes(b"no")
    (folders[1] / "explained" / "test" / "cells.json").write_text('{"cells": [{}]}')
    (folders[2] / "explained" / "test" / "00_cell.jpg").unlink()
    (folders[3] / "split.parquet").unlink()
    html = html_of(tmp_path)
    assert barriers(html) == []
    for said in ("predictions.parquet", "cells.json is damaged", "00_cell.jpg is missing"):
        assert said in html, said


def test_a_cross_validation_is_reported(tmp_path: Path) -> None:
    balance = {
        size: n for size in ("cells", "subjects", "groups") for size, n in ((size, 4), (f"{size}_share", 0.5))
    }
    folder = make_run(
        tmp_path / "cv",
        kind="cross_validation",
        folds=[{"fold": k, "run": f"fold_{k}", "split_hash": str(k)} for k in (0, 1)],
        balance=[{"fold": k, "classes": {"ALL": balance, "HEM": balance}} for k in (0, 1)],
    )
    document = json.loads((folder / "metrics.json").read_text())
    point, calibration = document["operating_point"], document["calibration"]
    chosen = [{"rule": "balanced_accuracy", "chosen_on": "val", "threshold": t} for t in (0.25, 0.75)]
    fitted = [{"method": "temperature", "fitted_on": "val", "temperature": t} for t in (1.5, 2.5)]
    change(
        folder / "metrics.json",
        operating_point={"per_fold": chosen, "test": point["test"]},
        calibration={"per_fold": fitted, "test": calibration["test"]},
    )
    for k in (0, 1):
        make_run(folder / f"fold_{k}", quality=k)
    text = Outline(html_of(tmp_path)).text
    assert "Operating point of each fold: balanced accuracy, chosen on val, threshold 0.250, 0.750." in text
    assert "temperature, fitted on val of each fold, temperature 1.500, 2.500" in text
    assert "Test values of a cross-validation are of the pooled predictions" in text
    assert "by fold's test part and class" in text


def test_three_classes_are_reported(tmp_path: Path) -> None:
    make_run(tmp_path / "a", split=cells(classes=("ALL", "AML", "HEM")))
    html = html_of(tmp_path)
    assert barriers(html) == []
    assert "macro averages" in html


def test_the_same_runs_give_the_same_page(runs: Path) -> None:
    assert html_of(runs) == html_of(runs)


def test_many_runs_are_worked_on_by_processes_with_the_same_result(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = html_of(runs)
    monkeypatch.setattr(page, "IN_PROCESSES", 2)
    assert html_of(runs) == alone


@pytest.mark.parametrize(
    ("limit", "with_pictures", "with_text"), [(260_000, 1, 9), (120_000, 0, 5), (1000, 0, 0)]
)
def test_the_page_keeps_to_its_size(
    runs: Path, wired: None, monkeypatch: pytest.MonkeyPatch, limit: int, with_pictures: int, with_text: int
) -> None:
    full = html_of(runs)
    assert len(full.encode()) > 260_000
    monkeypatch.setattr(page, "MAX_BYTES", limit)
    html = html_of(runs)
    assert barriers(html) == []
    sections = re.findall(r'<details class="run" id="([^"]+)"', html)
    if limit > 1000:
        assert len(html.encode()) <= limit
        assert "the last ones ranked" in html
    assert len(Outline(html).all("img")) < 72
    assert len(Outline(html).all("img")) >= 9 * with_pictures
    assert len(sections) >= with_text if with_text else not sections
    assert [anchor for anchor in re.findall(r'href="#(run-[^"]+)"', html) if anchor not in sections] == []


def test_room_goes_to_the_text_of_all_then_to_the_best() -> None:
    sizes = [Size(10, 20, 100)] * 3
    assert allot(sizes, 10_000) == [Detail.PICTURES] * 3
    assert allot(sizes, 190) == [Detail.PICTURES, Detail.PLOTS, Detail.PLOTS]
    assert allot(sizes, 75) == [Detail.PLOTS, Detail.PLOTS, Detail.TEXT]
    assert allot(sizes, 25) == [Detail.TEXT, Detail.TEXT, Detail.ROW]
    assert allot(sizes, 0) == [Detail.ROW] * 3
    assert lowered([Detail.PICTURES, Detail.PICTURES, Detail.TEXT]) == [
        Detail.PICTURES,
        Detail.PLOTS,
        Detail.TEXT,
    ]
    assert encoded(3) == 4 + budget.PER_PICTURE
    assert encoded(4) == 8 + budget.PER_PICTURE


def test_a_command_is_quoted_for_a_shell(tmp_path: Path) -> None:
    make_run(
        tmp_path / "a", overrides=["data.root=/a b/c", "hydra.run.dir=x", "force=true"], test_time="dihedral"
    )
    (run,) = collect([tmp_path]).runs
    train, evaluate = wiring.reproduction(run).commands
    assert train.startswith("python -m leukemia_lab.train 'data.root=/a b/c' trainer.accelerator=")
    assert evaluate.endswith("test_time=dihedral")
    missing = RunResult(run.name, run.path, {**run.record, "overrides": None}, run.metrics, run.config)
    assert wiring.reproduction(missing).commands == ()
    assert wiring.reproduction(missing).reason is not None


def test_the_command_writes_three_files(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([f"runs={runs}", f"output={tmp_path}", "metric=brier", "part=val"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "report.md", "leaderboard.csv"}
    printed = capsys.readouterr()
    assert "Brier score on val" in printed.out
    assert "LEAKY" in printed.out
    markdown = (tmp_path / "report.md").read_text()
    rows = [line for line in markdown.splitlines() if line.startswith("| 1 |")]
    heads = [line for line in markdown.splitlines() if line.startswith("| rank")]
    assert len(rows) == len(heads) == 2
    assert ["| settings |" in head for head in heads] == [True, False]  # the second has one run
    for head, row in zip(heads, rows, strict=True):
        assert len(re.findall(r"(?<!\\)\|", row)) == head.count("|")


def test_the_command_refuses_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([f"runs={tmp_path}"]) == 2
    assert "no run is in it" in capsys.readouterr().err
    assert report.main([f"runs={tmp_path}", "metric=auc"]) == 2
    assert "auroc" in capsys.readouterr().err


def test_a_board_without_subjects_counts_none(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a")
    change(folder / "metrics.json", per_subject={})
    boards: tuple[Leaderboard, ...] = leaderboards(collect([tmp_path]).runs, "auto", "auroc")
    assert boards[0].n_subjects == 10
    assert barriers(html_of(tmp_path)) == []
