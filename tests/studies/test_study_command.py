"""Studies through the real entry point, with baselines that take a second to fit."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import pytest
from small_runs import BAD_INPUT, DONE, SOME_FAILED
from study_files import ARMS, CELLS, ROWS, study_file

from leukemia_lab import cross_evaluation, report, study
from leukemia_lab.runs.record import RECORD, read_json
from leukemia_lab.studies import work

CLAIMED = {"sensitivity": "86.23", "specificity": "89.90", "accuracy": "91.20"}


def run_study(path: Path, folder: Path, *words: str) -> int:
    return study.main([f"study={path}", f"study.folder={folder}", "study.budget=smoke", *CELLS, *words])


def records(folder: Path) -> dict[str, tuple[str, int]]:
    """When each run was finished and how often its test part was opened."""
    found = {path.parent.name: read_json(path) for path in (folder / "runs").rglob(RECORD)}
    return {name: (own["finished"], own["test_looks"]) for name, own in found.items()}


def test_a_study_trains_evaluates_once_writes_its_files_and_does_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [ROWS[0] | {"claimed": CLAIMED}, ROWS[1] | {"baseline": True}]
    path, folder = study_file(tmp_path, rows=rows, kind="paper", source="A paper"), tmp_path / "study"
    assert run_study(path, folder) == DONE
    shown = capsys.readouterr().out
    assert "KNN" in shown
    assert "impossible" in shown
    assert "Does it beat forest?" in shown
    before = records(folder)
    assert len(before) == 2
    assert {looks for _, looks in before.values()} == {1}
    with (folder / "table.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["row"], row["model"], row["protocol"]) == ("KNN", "knn", "subject_holdout")
    assert (row["claim_verdict"], row["integer_matrix"]) == ("impossible", "size unknown")
    assert float(row["claimed_accuracy"]) == pytest.approx(0.912)
    page = (folder / "report.html").read_text()
    assert page.index("Mine") < page.index("Leaderboard:")
    table, written = (folder / "table.md").read_bytes(), (folder / "study.json").read_bytes()
    assert run_study(path, folder) == DONE
    assert records(folder) == before
    assert ((folder / "table.md").read_bytes(), (folder / "study.json").read_bytes()) == (table, written)
    # another job by its words, but the same runs
    assert run_study(path, folder, "data.bad_files=skip") == DONE
    assert run_study(path, folder, "data.bad_files=skip") == DONE
    assert records(folder) == before
    # words that change results stand in the tables; the folder of one study is not another's
    assert run_study(path, folder, "seed=3", "launcher=local") == DONE
    assert "; changed by " in (folder / "table.md").read_text()
    assert " seed=3" in (folder / "table.md").read_text()
    assert "launcher" not in (folder / "table.md").read_text()
    other = study_file(tmp_path, rows=[ROWS[0]], name="other")
    assert run_study(other, folder) == BAD_INPUT
    assert "holds the study mine" in " ".join(capsys.readouterr().err.split())
    assert "seed=3" in (folder / "table.md").read_text()
    assert report.main([f"runs={folder}", f"output={tmp_path / 'report'}"]) == DONE
    assert "Does it beat forest?" in (tmp_path / "report" / "report.html").read_text()


def test_a_dry_run_lists_every_run_with_its_words_and_begins_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folds = {"name": "folds", "overrides": ["protocol=subject_kfold", "protocol.fold=all"]}
    path = study_file(tmp_path, arms=[*ARMS, folds])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run_study(path, Path("there"), "study.dry=true") == DONE
    *runs, end = capsys.readouterr().out.splitlines()
    names = ["KNN (holdout)", "KNN (folds)", "forest (holdout)", "forest (folds)"]
    assert [run.partition(": ")[0] for run in runs] == names
    words = shlex.split(runs[3].partition(": ")[2])
    assert {"model=rf", "model.classifier.grid={}", "protocol.fold=all", *CELLS} <= set(words)
    assert end == "planned runs: 4, none begun; the study's folder: there"
    assert list(Path().iterdir()) == []
    assert run_study(path, Path("there"), "study.dry=true", "model.no_key=1") == BAD_INPUT


def test_a_run_that_fails_leaves_the_rest_of_the_study_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # a fault of the data, which no check of the command line can find
    folds = [
        {"name": "folds", "overrides": ["protocol=subject_kfold", "protocol.fold=0", "protocol.n_folds=40"]}
    ]
    path = study_file(tmp_path, rows=[ROWS[0]], arms=[*ARMS, *folds])
    folder = tmp_path / "study"
    assert run_study(path, folder) == SOME_FAILED
    shown = capsys.readouterr()
    assert "failed: KNN (folds): SplitError" in shown.out
    document = json.loads((folder / "study.json").read_text())
    assert document["failures"][0].startswith("KNN (folds): SplitError")
    assert document["rows"][0]["holdout_auroc"] > 0


def test_test_parts_are_opened_by_the_workers_and_here_where_a_worker_could_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = study_file(tmp_path, rows=[ROWS[0]]), tmp_path / "study"
    here = []

    def opened_here(*given: object, **_: object) -> None:
        here.append(given)

    with monkeypatch.context() as patched:
        patched.setattr(work, "evaluate_folder", opened_here)
        assert run_study(path, folder) == DONE
        assert len(here) == 1  # asks, and finds that it is done
        assert {looks for _, looks in records(folder).values()} == {1}

    def full(*_: object, **__: object) -> None:
        raise MemoryError("full")

    with monkeypatch.context() as patched:
        patched.setattr(cross_evaluation, "evaluate_folder", full)
        assert run_study(path, tmp_path / "again") == DONE
    assert {looks for _, looks in records(tmp_path / "again").values()} == {1}


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ([], "study: not set"),
        (
            ["study=vgg13_paper", "study.bugdet=cpu"],
            r"study\.bugdet: no such key.*Did you mean study\.budget",
        ),
        (["study=vgg13_paper", "study.budget=gpu"], r"'gpu' is no choice; allowed: smoke, cpu, full"),
        (["study=vgg13_paper", "-m"], "-m: not understood"),
        (["study=vgg13_paper", "study.dry=yes"], r"study\.dry: 'yes' cannot be used; allowed: true, false"),
        (["study=none"], "'none' is no study; shipped are"),
        (["study=vgg13_paper", "study.folder="], r"study\.folder: empty"),
        (["study=leakage_price", "model.pretraned=false"], "model.pretraned"),
    ],
)
def test_bad_words_end_with_two_before_anything_is_done(
    words: list[str],
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert study.main(words) == BAD_INPUT
    error = " ".join(capsys.readouterr().err.split())
    assert re.search(fault, error), error
    assert list(tmp_path.iterdir()) == []


def test_help_names_every_shipped_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert study.main(["--help"]) == DONE
    shown = capsys.readouterr().out
    assert "vgg13_paper" in shown
    assert "leakage_price" in shown
