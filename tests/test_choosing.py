"""Which run of a sweep is evaluated, and what is said of that: on run folders made in milliseconds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from run_folders import cells, change, make_run, sweep
from small_runs import BAD_INPUT, DONE, record_of

from leukemia_lab import choosing, evaluate
from leukemia_lab.choosing import Choice, choose_run
from leukemia_lab.errors import RunError
from leukemia_lab.results.collect import read_run
from leukemia_lab.runs import record
from leukemia_lab.schema import EvaluateSettings
from leukemia_lab.sweeping.job_files import JOBS

OPENED = "opened.json"  # in a closed run: what metrics.json says once the test part is opened


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of four runs that have each opened the test part once."""
    folder = sweep(tmp_path_factory.mktemp("made") / "sweep", 4, test_time="none")
    (folder / JOBS).mkdir()
    return folder


@pytest.fixture
def tested(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "sweep"))


@pytest.fixture
def closed(tested: Path) -> Path:
    """The same sweep before."""
    for run in tested.glob("*-*"):
        close(run)
    return tested


def close(run: Path) -> None:
    metrics = record.read_json(run / record.METRICS)
    (run / record.METRICS).rename(run / OPENED)
    (run / record.METRICS).write_text(json.dumps({key: metrics[key] for key in metrics if key != "test"}))
    change(run / record.RECORD, test_looks=0)


def added(sweep: Path, name: str, **about: Any) -> Path:
    """Another run of the sweep, like its first but for what its record says."""
    run = Path(shutil.copytree(sweep / "simple_cnn-0", sweep / name))
    change(run / record.RECORD, **{"identity": name, "overrides": [f"name={name}"]} | about)
    return run


def objective_of(run: Path) -> float:
    return float(record.read_json(run / record.METRICS)["objective"])


def test_the_best_by_validation_is_chosen_whatever_its_test_part_says(tested: Path) -> None:
    folder = tested
    objectives = {path: objective_of(path) for path in folder.glob("*-*")}
    best = max(objectives, key=lambda path: objectives[path])
    metrics = record.read_json(best / record.METRICS)
    metrics["test"]["auroc"]["value"] = 0.1
    (best / record.METRICS).write_text(json.dumps(metrics))
    choice = choose_run(folder, "best")
    assert choice.run.path == choice.best.path == best
    assert choice.n_configurations == choice.n_finished == 4
    about = choice.document()
    assert about["objective"] == pytest.approx(objectives[best])
    assert 0 < about["optimism"]["value"] < 0.2
    assert about["optimism"]["corrected"] == pytest.approx(about["objective"] - about["optimism"]["value"])


def test_one_standard_error_takes_the_run_of_fewest_weights_near_the_best(closed: Path) -> None:
    best, second, third, worst = sorted(closed.glob("*-*"), key=objective_of, reverse=True)
    for run, n_weights in ((best, 900), (second, 100), (third, 100), (worst, 10)):
        change(run / record.RECORD, n_weights=n_weights)
    near = objective_of(best) - (choose_run(closed, "best").standard_error or 0)
    assert objective_of(second) > near > objective_of(worst)  # or this tests nothing
    choice = choose_run(closed, "one_standard_error")
    assert (choice.run.path, choice.best.path) == (second, best)
    assert choice.document()["best_objective"] == objective_of(best) > choice.document()["objective"]

    change(worst / record.RECORD, n_weights=None)
    with pytest.raises(RunError, match=rf"{worst.name} does not say how many weights .* choose=best"):
        choose_run(closed, "one_standard_error")


def test_pruned_runs_were_judged_failed_and_unfinished_ones_were_not(closed: Path) -> None:
    for name, status in (("p", "pruned"), ("f", "failed"), ("r", "running"), ("i", "interrupted")):
        added(closed, name, status=status)
    jobs = [
        (record_of(closed / "f")["overrides"], "OutOfMemory"),  # the failed run again
        (["optim.lr=7"], "ConfigError"),  # failed before it had a folder
        (["optim.lr=8"], None),  # waits
    ]
    for at, (overrides, error) in enumerate(jobs):
        content = {"overrides": overrides, "run": None, "error": error}
        (closed / "jobs" / f"{at}.json").write_text(json.dumps(content))
    shutil.copytree(closed / "simple_cnn-0", closed / "a_copy")
    choice = choose_run(closed, "best")
    assert {status: len(listed) for status, listed in choice.unused.items()} == {
        "pruned": 1,
        "failed": 2,
        "unfinished": 3,
    }
    assert (choice.n_finished, choice.n_configurations) == (4, 5)


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"data_fingerprint": "f2"}, "were made on different data"),
        ({"split_hash": "s2"}, "were made on different splits"),
        ({"class_names": ["A", "B"]}, " A, B "),
    ],
)
def test_runs_that_cannot_be_compared_are_named(closed: Path, about: dict[str, Any], said: str) -> None:
    added(closed, "other", **about)
    with pytest.raises(RunError, match=said) as raised:
        choose_run(closed, "best")
    assert str(closed / "other") in str(raised.value)
    assert str(closed / "simple_cnn") in str(raised.value) or str(closed / "alexnet") in str(raised.value)


def test_what_is_no_sweep_is_refused_with_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "empty" / JOBS).mkdir(parents=True)
    make_run(tmp_path / "run")
    for folder, said in (
        ("absent", "no such folder"),
        ("", "is not the folder of a sweep: give one of .*empty"),
        ("empty", "has no finished run"),
        ("run", "is the folder of one run: give run="),
    ):
        with pytest.raises(RunError, match=said):
            choose_run(tmp_path / folder, "best")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run=a", "sweep=b"], "run and sweep: give one run, or a sweep to choose one from, not both"),
        ([], "run: not set; give run=runs/<name>, or sweep="),
        (["run=a", "choose=one_standard_error"], "nothing to choose with run="),
        (["sweep=a", "choose=worst"], "choose: 'worst'"),
    ],
)
def test_run_and_sweep_exclude_each_other(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main(words) == BAD_INPUT
    assert said in capsys.readouterr().err


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The runs whose test parts `evaluate` opens, in the place of a model that predicts them."""
    paths: list[Path] = []

    def look(settings: EvaluateSettings, run: Path) -> dict[str, Any]:
        from leukemia_lab.evaluating import evaluated_stamps

        paths.append(run)
        folder = record.RunFolder.existing(run)
        folder.update(test_looks=folder.record["test_looks"] + 1, test_time="none")
        document = record.read_json(run / OPENED) | {"stamps": evaluated_stamps(folder)}
        folder.write_metrics(document)
        folder.update(stamps=document["stamps"])
        return document

    monkeypatch.setattr("leukemia_lab.cross_evaluation.evaluate", look)
    return paths


def test_a_choice_is_opened_once_and_shown_again(
    closed: Path, opened: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main([f"sweep={closed}"]) == DONE
    winner = choose_run(closed, "best").run.path
    assert opened == [winner]
    first = capsys.readouterr()
    assert "chosen from 4 configurations by val/auroc" in first.out
    assert "expected optimism of that figure 0." in first.out
    assert "quote test/auroc" in first.out
    about = record_of(winner)["sweep_choice"]
    assert (about["rule"], about["n_finished"], about["looks_of_others"]) == ("best", 4, 0)

    before = (winner / record.METRICS).read_bytes()
    assert evaluate.main([f"sweep={closed}"]) == DONE
    assert opened == [winner]
    assert "nothing was opened" in capsys.readouterr().out
    assert (winner / record.METRICS).read_bytes() == before
    assert evaluate.main([f"sweep={closed}", "test_time=dihedral"]) == BAD_INPUT
    assert "has been evaluated with test_time=none" in capsys.readouterr().err
    assert opened == [winner]


def test_the_rule_that_opened_the_test_part_stands(
    closed: Path, opened: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate.main([f"sweep={closed}"]) == DONE
    about = record_of(opened[0])["sweep_choice"]
    for run in closed.glob("*-*"):
        change(run / record.RECORD, n_weights=1)
    monkeypatch.setattr(choosing, "_margin", lambda error, best: 0.0)  # the other rule takes the same run
    assert evaluate.main([f"sweep={closed}", "choose=one_standard_error"]) == DONE
    assert len(opened) == 1
    assert "the test part was opened for choose=best, and that choice stands" in capsys.readouterr().err
    assert record_of(opened[0])["sweep_choice"] == about


def test_another_choice_is_another_look_and_stamped(
    closed: Path, opened: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main([f"sweep={closed}"]) == DONE
    better = make_run(closed / "z_better", quality=4.0, seed=9)
    close(better)
    capsys.readouterr()
    assert evaluate.main([f"sweep={closed}"]) == DONE
    assert opened[1:] == [better]
    assert "have opened its test part 1 time(s) before" in capsys.readouterr().err
    assert read_run(better).stamps == ("TEST SEEN 2 TIMES",)
    assert record_of(better)["test_looks"] == 1
    assert read_run(opened[0]).stamps == ()  # its look was the first

    assert evaluate.main([f"sweep={closed}"]) == DONE  # shown, and the count stays that of its look
    assert len(opened) == 2
    assert read_run(better).stamps == ("TEST SEEN 2 TIMES",)


def test_looks_at_each_run_before_the_choice_are_looks_of_the_sweep(tested: Path, opened: list[Path]) -> None:
    assert evaluate.main([f"sweep={tested}"]) == DONE
    assert opened == []
    winner = choose_run(tested, "best").run
    assert winner.stamps == ("TEST SEEN 4 TIMES",)
    assert winner.record["stamps"] == ["TEST SEEN 4 TIMES"]


def test_a_sweep_with_runs_to_come_says_so(
    closed: Path, opened: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    added(closed, "r", status="running")
    assert evaluate.main([f"sweep={closed}"]) == DONE
    said = capsys.readouterr().err
    assert "4 finished, 1 unfinished" in said
    assert f"{closed / 'r'}: running, not finished" in said
    assert "1 configurations have no result" in said


def test_without_subjects_there_is_a_choice_but_no_estimate(
    tmp_path: Path, opened: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep(tmp_path / "sweep", 2, split=cells().assign(subject=None))
    (folder / JOBS).mkdir()
    for run in folder.glob("*-*"):
        close(run)
    assert evaluate.main([f"sweep={folder}"]) == DONE
    assert (
        "how optimistic that makes this figure is not known: cells have no subjects"
        in capsys.readouterr().out
    )
    assert evaluate.main([f"sweep={folder}", "choose=one_standard_error"]) == BAD_INPUT


def test_a_choice_is_what_the_commands_say_it_is(closed: Path) -> None:
    choice: Choice = choose_run(closed, "best")
    assert json.loads(json.dumps(choice.document())) == choice.document()
