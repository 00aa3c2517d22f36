"""The runs of a leaderboard against one another, by hand and by the tables that they are made of."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from run_folders import cells, make_run, sweep
from scipy.stats import t as student_t
from sklearn.metrics import roc_auc_score

from leukemia_lab.evaluation import comparison
from leukemia_lab.evaluation.comparison import Comparison, aligned
from leukemia_lab.reporting import contents
from leukemia_lab.reporting.cautions import cautions
from leukemia_lab.reporting.compared import ONE_RUN, compared, pairs, seeds
from leukemia_lab.reporting.leaderboard import Leaderboard, leaderboards
from leukemia_lab.results.collect import collect


def board_of(folder: Path, metric: str = "auroc", part: str = "auto") -> Leaderboard:
    (board,) = leaderboards(collect([folder]).runs, part, metric)
    return board


def found_of(board: Leaderboard) -> tuple[Comparison, contents.Comparison]:
    found, notes = compared(board)
    assert found is not None, notes
    return found, pairs(found, board, notes)


def why_not(board: Leaderboard) -> str:
    found, notes = compared(board)
    assert found is None
    return " ".join(notes)


def tables_of(board: Leaderboard) -> dict[str, pd.DataFrame]:
    return {row.run.name: row.run.predicted(board.part) for row in board.rows}


def by_hand(a: pd.DataFrame, b: pd.DataFrame, level: float) -> tuple[float, float, float, float]:
    """Difference of the AUROCs, bounds and p-value of the paired jackknife over subjects, group by group."""

    def difference(without: str | None) -> float:
        areas = []
        for table in (a, b):
            kept = table[table["group"] != without]
            areas.append(roc_auc_score(kept["label"] == "ALL", kept["prob_ALL"]))
        return float(areas[0] - areas[1])

    variance = squares = 0.0
    for groups in a.groupby("label")["group"].unique():
        without = np.array([difference(group) for group in groups])
        own = (len(without) - 1) / len(without) * ((without - without.mean()) ** 2).sum()
        variance += own
        squares += own**2 / (len(without) - 1)
    freedom, value = variance**2 / squares, difference(None)
    half = student_t.ppf((1 + level) / 2, freedom) * variance**0.5
    return value, value - half, value + half, 2 * student_t.sf(abs(value) / variance**0.5, freedom)


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_each_pair_is_as_by_hand_with_the_better_run_first(tmp_path: Path, level: float) -> None:
    board = board_of(sweep(tmp_path, 4, level=level))
    tables = tables_of(board)
    found, page = found_of(board)
    assert found.level == page.level == level
    assert [(pair.a, pair.b) for pair in page.pairs] == list(
        combinations([row.run.name for row in board.rows], 2)
    )
    for pair in page.pairs:
        value, low, high, p = by_hand(tables[pair.a], tables[pair.b], level)
        assert [pair.difference, pair.low, pair.high, pair.p] == pytest.approx(
            [value, low, high, p], abs=1e-9
        )
        assert pair.difference > 0
    raw = sorted((pair.p, pair.p_holm) for pair in page.pairs)
    running = np.maximum.accumulate([p * (6 - k) for k, (p, _) in enumerate(raw)])
    assert [adjusted for _, adjusted in raw] == pytest.approx(np.minimum(running, 1))


@pytest.mark.parametrize("metric", ["auroc", "brier"])
def test_a_pair_says_the_same_whichever_of_its_runs_was_found_first(tmp_path: Path, metric: str) -> None:
    board = board_of(sweep(tmp_path, 4), metric)
    _, page = found_of(board)
    turned = dict(reversed(tables_of(board).items()))
    other = comparison.compare(aligned(turned, ("ALL", "HEM"), "ALL"), metric)
    again = pairs(other, board)
    assert list(other.names) == [row.run.name for row in reversed(board.rows)]
    for pair, twin in zip(page.pairs, again.pairs, strict=True):
        assert (pair.a, pair.b) == (twin.a, twin.b)
        numbers = [(x.difference, x.low, x.high, x.p, x.p_mcnemar, x.p_delong) for x in (pair, twin)]
        assert numbers[0] == pytest.approx(numbers[1])
        assert pair.low < pair.difference < pair.high
        assert (pair.difference < 0) == (metric == "brier")
    assert page.groups == again.groups


def test_runs_share_a_group_if_and_only_if_they_cannot_be_told_apart(tmp_path: Path) -> None:
    for at, quality in enumerate((0.2, 0.3, 2.0, 2.1, 6.0)):
        make_run(tmp_path / f"r{at}", quality=quality)
    _, page = found_of(board_of(tmp_path))
    told = [pair.p_holm < 0.05 for pair in page.pairs]
    assert any(told)
    assert not all(told)
    for pair, apart in zip(page.pairs, told, strict=True):
        together = any({pair.a, pair.b} <= set(group) for group in page.groups)
        assert together != apart, pair
    assert page.drawing is not None
    assert f"{sum(told)} of 10 pairs differ in AUROC at p &lt; 0.05" in page.drawing.svg


def test_groups_go_on_after_z(tmp_path: Path) -> None:
    board = board_of(sweep(tmp_path, 4))
    found, _ = found_of(board)
    own = dict(zip([int(run) for run in found.order], [["z"], ["z"], ["aa"], ["aa"]], strict=True))
    page = pairs(replace(found, letters=[own[run] for run in range(4)]), board)
    names = [row.run.name for row in board.rows]
    assert page.groups == (tuple(names[:2]), tuple(names[2:]))


def test_a_run_without_a_value_is_last_and_alike_to_none(tmp_path: Path) -> None:
    sweep(tmp_path, 3)
    make_run(tmp_path / "mute", bias=-50.0)  # takes no cell for ALL: no precision
    board = board_of(tmp_path, "precision")
    _, page = found_of(board)
    of_mute = [pair for pair in page.pairs if "mute" in (pair.a, pair.b)]
    assert len(of_mute) == 3
    assert {pair.b for pair in of_mute} == {"mute"}
    assert {(pair.difference, pair.low, pair.p, pair.p_holm) for pair in of_mute} == {(None,) * 4}
    assert all("undefined" in str(pair.reason) for pair in of_mute)
    assert any("3 pairs cannot be tested by subject: the metric is undefined" in note for note in page.notes)
    assert not any("mute" in group for group in page.groups)


def test_without_subjects_there_are_differences_and_no_groups(tmp_path: Path) -> None:
    split = cells().assign(subject=None, group=None)
    for quality in (1, 2, 3):
        make_run(tmp_path / str(quality), split=split, quality=quality, stamps=["NO SUBJECTS"])
    _, page = found_of(board_of(tmp_path))
    assert all(pair.p is None and pair.difference is not None for pair in page.pairs)
    assert page.groups == ()
    assert any(note.startswith("3 pairs cannot be tested by subject") for note in page.notes)


def test_equal_runs_differ_by_zero_without_a_sign(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", lr=0.5)  # the same predictions
    _, page = found_of(board_of(tmp_path))
    (pair,) = page.pairs
    assert (str(pair.difference), str(pair.low), str(pair.high), pair.p) == ("0.0", "0.0", "0.0", 1.0)
    assert page.drawing is None
    assert page.groups == (("a", "b"),)


def test_a_run_that_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    sweep(tmp_path, 4)
    (tmp_path / "simple_cnn-2" / "predictions.parquet").write_bytes(b"no")
    make_run(tmp_path / "unopened", quality=3, tested=False)
    board = board_of(tmp_path, part="test")
    found, page = found_of(board)
    assert sorted(found.names) == ["alexnet-1", "alexnet-3", "simple_cnn-0"]
    assert page.notes[0].startswith("Not compared: ")
    assert "simple_cnn-2 (" in page.notes[0]
    assert "unopened (" in page.notes[0]
    assert "no cell of part test" in page.notes[0]


def test_what_cannot_be_compared_says_why(tmp_path: Path) -> None:
    make_run(tmp_path / "one" / "a")
    assert why_not(board_of(tmp_path / "one")) == ONE_RUN
    sweep(tmp_path / "two", 2)
    (tmp_path / "two" / "alexnet-1" / "predictions.parquet").write_bytes(b"no")
    assert "no two runs to compare. Not compared: alexnet-1" in why_not(board_of(tmp_path / "two"))
    sweep(tmp_path / "other", 2)
    path = tmp_path / "other" / "alexnet-1" / "predictions.parquet"
    pd.read_parquet(path).iloc[:-1].to_parquet(path)
    said = why_not(board_of(tmp_path / "other"))
    assert "cannot be paired: 1 cells are predicted by one of them alone" in said
    folds = [{"fold": k, "run": f"fold_{k}", "split_hash": str(k)} for k in (0, 1)]
    for quality in (1, 2):
        make_run(
            tmp_path / "cv" / str(quality),
            quality=quality,
            kind="cross_validation",
            folds=folds,
            tested=False,
        )
    assert "predicted by several models" in why_not(board_of(tmp_path / "cv"))


def test_intervals_of_several_levels_are_said_and_the_runs_compared_at_95(tmp_path: Path) -> None:
    make_run(tmp_path / "a", level=0.9)
    make_run(tmp_path / "b", quality=2)
    board = board_of(tmp_path)
    assert board.levels == (0.9, 0.95)
    assert found_of(board)[0].level == 0.95
    said = [caution.text for caution in cautions(collect([tmp_path]), [board])]
    assert any("at different levels, 90 % and 95 %" in text for text in said)


def test_runs_that_differ_in_the_seed_are_aggregated(tmp_path: Path) -> None:
    board = board_of(sweep(tmp_path, 8))
    found, _ = found_of(board)
    of_board = seeds(found, board)
    assert of_board is not None
    assert {group.name: tuple(sorted(group.runs)) for group in of_board.groups} == {
        "simple_cnn optim.lr=0.001": ("simple_cnn-0", "simple_cnn-2"),
        "simple_cnn optim.lr=0.002": ("simple_cnn-4", "simple_cnn-6"),
        "alexnet optim.lr=0.001": ("alexnet-1", "alexnet-3"),
        "alexnet optim.lr=0.002": ("alexnet-5", "alexnet-7"),
    }
    means = [group.mean for group in of_board.groups]
    assert means == sorted(means, reverse=True)
    tables = tables_of(board)
    for group in of_board.groups:
        first, second = (
            roc_auc_score(tables[name]["label"] == "ALL", tables[name]["prob_ALL"])
            for name in sorted(group.runs)
        )
        assert dict(group.values) == pytest.approx({0: first, 1: second})
        assert list(group.values) == [0, 1]
        assert group.mean == pytest.approx((first + second) / 2)
        assert group.sd_seeds == pytest.approx(abs(first - second) / 2**0.5)
        assert group.low < group.mean < group.high
        assert group.sd_subjects > 0


def test_seeds_without_a_value_say_why(tmp_path: Path) -> None:
    make_run(tmp_path / "a", bias=-50.0)
    make_run(tmp_path / "b", bias=-50.0, seed=1)
    board = board_of(tmp_path, "precision")
    of_board = seeds(found_of(board)[0], board)
    assert of_board is not None
    (group,) = of_board.groups
    assert (group.mean, group.low, dict(group.values)) == (None, None, {0: None, 1: None})
    assert "undefined" in str(group.reason)


def test_there_are_no_seeds_where_more_differs(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", seed=1, lr=0.5)
    board = board_of(tmp_path)
    assert seeds(found_of(board)[0], board) is None
