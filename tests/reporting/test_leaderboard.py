from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from run_folders import cells, change, make_run, sweep

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.tables import JOB_COLUMNS, METRIC_COLUMNS, WHAT_COLUMNS
from leukemia_lab.reporting.cautions import cautions, subjects_by_class
from leukemia_lab.reporting.leaderboard import (
    Leaderboard,
    leaderboards,
    value_of,
    why_apart,
    write_leaderboards,
)
from leukemia_lab.results.collect import Collected, collect


def boards(folder: Path, part: str = "auto", metric: str = "auroc") -> tuple[Leaderboard, ...]:
    return leaderboards(collect([folder]).runs, part, metric)


def warned(folder: Path) -> str:
    collected: Collected = collect([folder])
    said = cautions(collected, leaderboards(collected.runs, "auto", "auroc"))
    assert [caution.level for caution in said] == sorted(caution.level for caution in said)
    return "\n".join(caution.text for caution in said)


@pytest.mark.parametrize(
    ("metric", "sign"), [("auroc", -1), ("balanced_accuracy", -1), ("brier", 1), ("ece", 1)]
)
def test_the_best_is_first(tmp_path: Path, metric: str, sign: int) -> None:
    (board,) = boards(sweep(tmp_path), metric=metric)
    values = [value_of(row.run, "test", metric) for row in board.rows]
    assert values == sorted(values, key=lambda value: sign * value)
    assert len(set(values)) > 3
    assert [row.rank for row in board.rows] == [1 + sum(sign * b < sign * a for b in values) for a in values]


def test_a_value_that_is_missing_is_last_and_unranked(tmp_path: Path) -> None:
    first = sweep(tmp_path, 3) / "simple_cnn-2"
    (run,) = collect([first]).runs
    test = dict(run.metrics["test"])
    test["auroc"] = test["auroc"] | {"value": None}
    change(first / "metrics.json", test=test)
    (board,) = boards(tmp_path)
    assert (board.rows[-1].run.path, board.rows[-1].rank) == (first, None)


def test_test_is_ranked_only_where_every_run_has_opened_it(tmp_path: Path) -> None:
    sweep(tmp_path, 3)
    assert (boards(tmp_path)[0].part, boards(tmp_path)[0].other_part) == ("test", "val")
    make_run(tmp_path / "unopened", tested=False, quality=3)
    assert (boards(tmp_path)[0].part, boards(tmp_path)[0].other_part) == ("val", "test")
    (board,) = boards(tmp_path, part="test")
    assert (board.rows[-1].run.name, board.rows[-1].rank) == ("unopened", None)
    with pytest.raises(RunError, match="part=test: none of the 1 runs"):
        boards(tmp_path / "unopened", part="test")


def test_other_splits_and_data_are_never_ranked_together(tmp_path: Path) -> None:
    sweep(tmp_path / "a", 3)
    make_run(tmp_path / "b", split=cells(seed=5), quality=9, stamps=["LEAKY"])
    make_run(tmp_path / "c", fingerprint="e2", quality=8)
    found = boards(tmp_path)
    assert [[row.run.path.name for row in board.rows] for board in found][1:] == [["c"], ["b"]]
    assert len(found[0].rows) == 3
    assert "3 different splits of 2 data sets" in why_apart(found)
    assert why_apart(found[:1]) is None
    assert why_apart(found[:1]) is None
    assert "2 different data sets" in why_apart(found[:2])


def test_permuted_labels_are_on_leaderboards_of_their_own_at_the_end(tmp_path: Path) -> None:
    sweep(tmp_path / "permuted", 3, split=cells(seed=7), stamps=["PERMUTED LABELS"])
    make_run(tmp_path / "leaky", split=cells(seed=5), stamps=["LEAKY"])
    make_run(tmp_path / "fair")
    found = boards(tmp_path)
    assert [board.first.path.name for board in found[:2]] == ["fair", "leaky"]
    assert [len(board.rows) for board in found] == [1, 1, 3]
    assert "Permuted labels make another split of the same cells" in why_apart(found)
    assert "ermuted" not in why_apart(found[:2])


def test_a_row_says_what_its_run_does_differently(tmp_path: Path) -> None:
    make_run(tmp_path / "a", lr=0.1)
    make_run(tmp_path / "b", lr=0.2, seed=1)
    make_run(tmp_path / "c", model="knn", lr=0.3)
    found = {row.run.name: dict(row.differs) for row in boards(tmp_path)[0].rows}
    assert found == {"a": {"optim.lr": 0.1}, "b": {"optim.lr": 0.2}, "c": {}}


def test_the_csv_has_the_columns_of_a_sweep_and_all_rows(tmp_path: Path) -> None:
    sweep(tmp_path / "runs", 4, stamps=["SYNTHETIC", "TEST SEEN 2 TIMES"])
    found = boards(tmp_path / "runs")
    write_leaderboards(found, tmp_path / "leaderboard.csv")
    table = pd.read_csv(tmp_path / "leaderboard.csv")
    assert list(table)[: len(WHAT_COLUMNS + METRIC_COLUMNS + JOB_COLUMNS)] == [
        *WHAT_COLUMNS,
        *METRIC_COLUMNS,
        *JOB_COLUMNS,
    ]
    assert list(table["auroc"]) == [value_of(row.run, "test", "auroc") for row in found[0].rows]
    assert set(table["stamps"]) == {"SYNTHETIC;TEST SEEN 2 TIMES"}
    assert list(table["rank"]) == [1, 2, 3, 4]
    assert table["auroc_low"].notna().all()


def test_cautions_say_what_a_reader_must_know(tmp_path: Path) -> None:
    sweep(tmp_path / "a", 3, stamps=["SYNTHETIC"])
    make_run(tmp_path / "b", split=cells(seed=5), stamps=["LEAKY"], tested=False, intervals=False)
    make_run(tmp_path / "c", quality=4, commit="1234+changes", stamps=["AN UNKNOWN STAMP"])
    change(make_run(tmp_path / "d", quality=5) / "record.json", status="interrupted")
    said = warned(tmp_path)
    for piece in (
        "SYNTHETIC (3 of 5 runs): the cells are drawn",
        "LEAKY (1 of 5 runs): cells of one subject are on both sides",
        "AN UNKNOWN STAMP (1 of 5 runs)",
        "5 subjects with cells of class ALL and 5 subjects with cells of class HEM",
        "opened 4 times by the 4 runs",
        "Leaderboard 2: 1 run without an interval",
        "Leaderboard 2: Values are of the validation part. Validation cells also chose",
        "not ranked together",
        "1 run or job found but not reported",
        "1 run of code with changes that are in no commit",
    ):
        assert piece in said, piece


def test_the_best_of_several_on_validation_is_called_optimistic(tmp_path: Path) -> None:
    assert "the best of 3 runs is the best partly by luck" in warned(sweep(tmp_path, 3, tested=False))


def test_many_subjects_and_one_look_need_no_caution(tmp_path: Path) -> None:
    twice = [cells(seed=seed) for seed in (1, 2)]
    for k, table in enumerate(twice):
        for column in ("cell_id", "subject", "group"):
            table[column] = table[column] + f"x{k}"
    split = pd.concat(twice, ignore_index=True)
    make_run(tmp_path / "a", split=split)
    (board,) = boards(tmp_path)
    assert subjects_by_class(board) == {"ALL": 10, "HEM": 10}
    assert warned(tmp_path) == ""
