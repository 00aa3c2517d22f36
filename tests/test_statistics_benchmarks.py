"""The benchmarks of intervals and of paired tests still run, and say what they should of very few replications."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def rows_of(name: str, *arguments: str) -> list[list[str]]:
    """The cells of every row of the tables that a benchmark prints, but for heads and rules."""
    command = [sys.executable, str(BENCHMARKS / name), *arguments, "--processes", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"`python benchmarks/{name} {' '.join(arguments)}`")
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in done.stdout.splitlines()]
    return [row for row in rows if any("%" in cell for cell in row)]


def percent(cell: str) -> float:
    found = re.search(r"([\d.]+)%", cell)
    assert found is not None, cell
    return float(found[1])


def test_intervals_by_subject_hold_the_truth_more_often_than_those_by_cell() -> None:
    rows = rows_of("bench_coverage.py", "--replications", "20", "--bootstrap", "1")
    assert [row[2] for row in rows] == ["accuracy", "sensitivity", "auroc"] * 6
    assert {(row[1], row[3]) for row in rows if row[2] == "auroc"} == {("2", "0.921"), ("3", "0.983")}
    for row in rows:
        assert percent(row[4]) >= 75 > percent(row[6]), row
        assert percent(row[5]) in (0, 100)


def test_the_paired_test_rejects_equal_models_less_often_than_tests_by_cell() -> None:
    rows = rows_of("bench_comparison.py", "--replications", "12", "--power", "12", "--seeds", "3")
    equal, power, seeds = rows[:15], rows[15:19], rows[19:]
    assert len(seeds) == 4
    assert sum(percent(row[3]) for row in equal) < 20 * 15 < sum(percent(row[4]) for row in equal)
    assert percent(power[0][1].split(":")[1]) < percent(power[-1][1].split(":")[1])
    assert all(percent(cell) >= 100 / 3 for row in seeds for cell in row[1:])


@pytest.mark.slow
def test_gaps_between_protocols_are_found_where_they_are() -> None:
    rows = rows_of("bench_leakage.py", "--scores", "6", "--trained", "12")
    assert len(rows) == 6 + 8
    none, some = rows[0], rows[1]
    assert none[1] == "0.000, 0.000, 0.000"
    assert percent(none[3]) <= 25 <= percent(some[3])
    assert all(percent(row[4]) >= 60 for row in rows[:6])
    for repeats, nothing_leaks, leaks in (("1", rows[7], rows[9]), ("3", rows[11], rows[13])):
        assert (nothing_leaks[:3], leaks[:3]) == (["knn", repeats, "0"], ["knn", repeats, "0.3"])
        assert float(nothing_leaks[3].split(",")[0]) < 0.02 < float(leaks[3].split(",")[0])


@pytest.mark.slow
def test_the_out_of_bag_estimate_is_nearer_to_the_optimism_of_equal_models_than_that_in_the_resample() -> (
    None
):
    rows = rows_of("bench_optimism.py", "--replications", "6")
    assert [(row[1], row[2]) for row in rows[:5]] == [
        ("0", "1"),
        ("0", "5"),
        ("0.3", "5"),
        ("0", "20"),
        ("0.3", "20"),
    ]
    assert [row[4:7] for row in rows if row[2] == "1"] == [["0.0000 ± 0.0000"] * 3] * 2
    equal = [[float(cell.split(" ")[0]) for cell in row[3:7]] for row in rows if row[1:3] == ["0", "20"]]
    assert all(in_resample < 0.8 * out_of_bag for _, in_resample, _, out_of_bag in equal)
