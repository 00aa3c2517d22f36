"""Leaderboards: runs on the same data and the same split, ranked by one metric of one part."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from leukemia_lab.atomic import replacing
from leukemia_lab.data.permuting import PERMUTED_LABELS
from leukemia_lab.data.splits import LEAKY
from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.comparison import LOWER_IS_BETTER
from leukemia_lab.evaluation.metrics import METRICS
from leukemia_lab.evaluation.tables import BOUNDS, JOB_COLUMNS, METRIC_COLUMNS, WHAT_COLUMNS
from leukemia_lab.evaluation.uncertainty import LEVEL
from leukemia_lab.pages.formats import percent
from leukemia_lab.results.run_result import RunResult

BESIDE = (
    "auroc",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "ece",
)  # columns beside the chosen metric
NOT_DIFFERENCES = ("seed", "data.root", "trainer.accelerator", "trainer.devices", "trainer.num_workers")
PLACE_COLUMNS = ("leaderboard", "rank", "part", "split_hash", "data_fingerprint")
USUAL_METHOD = "jackknife"  # of intervals
MIN_HASH = 8  # digits of a hash shown; more where that does not tell two apart


@dataclass(frozen=True)
class Row:
    """One run's row; `rank` is None where its metric has no value.

    `differs` holds the settings in which the leaderboard's runs of the same model differ.
    """

    rank: int | None
    run: RunResult
    differs: Mapping[str, Any]

    @property
    def anchor(self) -> str:
        """The id of the run's section in the page."""
        return f"run-{self.run.record['identity']}"

    @property
    def unnamed_model(self) -> str | None:
        """The model, where the run's name, or the last part of it, does not begin with it."""
        model = self.run.model.replace("/", "_")
        names = (self.run.name, PurePath(self.run.name).name)
        named = any(name == model or name.startswith((f"{model}-", f"{model} ")) for name in names)
        return None if named else self.run.model

    @property
    def other_method(self) -> str | None:
        """How its intervals were made, where it is not the usual way."""
        method = interval_method(self.run)
        return None if method == USUAL_METHOD else method


@dataclass(frozen=True)
class Leaderboard:
    """Runs on one split, best first, by `metric` of `part`; `number` counts the leaderboards of a report from 1."""

    number: int
    data_fingerprint: str
    split_hash: str
    part: str
    metric: str
    rows: tuple[Row, ...]

    @property
    def other_part(self) -> str | None:
        """The part shown beside `part`: validation beside test, and test where any run has opened it."""
        if self.part == "test":
            return "val"
        return "test" if any("test" in row.run.metrics for row in self.rows) else None

    @property
    def columns(self) -> tuple[str, ...]:
        """The metrics of `part` that stand beside the chosen one."""
        return tuple(name for name in BESIDE if name != self.metric)

    @property
    def first(self) -> RunResult:
        """The best run, which speaks for what all have in common."""
        return self.rows[0].run

    @property
    def stamps(self) -> tuple[str, ...]:
        """The stamps of any of its runs."""
        return tuple(dict.fromkeys(stamp for row in self.rows for stamp in row.run.stamps))

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels of its runs' intervals, each once."""
        return tuple(sorted({row.run.level for row in self.rows}))

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods of its runs' intervals, each once."""
        found = {interval_method(row.run) for row in self.rows}
        return tuple(sorted(method for method in found if method is not None))

    @property
    def level(self) -> float:
        """The level at which its runs are compared: that of their intervals where they share one."""
        return self.levels[0] if len(self.levels) == 1 else LEVEL

    @property
    def about_intervals(self) -> str:
        """What stands in brackets: `Intervals in brackets are at 95 %, by subject.`, or that there are none."""
        ranked = [row.run for row in self.rows if self.part in row.run.metrics]
        having = [run for run in ranked if run.metrics[self.part][self.metric]["low"] is not None]
        found = " or ".join(percent(level) for level in sorted({run.level for run in having}))
        return f"Intervals in brackets are at {found}, by subject." if found else "There are no intervals."

    @property
    def n_subjects(self) -> int:
        """Groups of subjects in `part`."""
        return int(self.first.metrics[self.part][self.metric]["n_groups"])

    @property
    def n_cells(self) -> int:
        """Cells in `part`."""
        return int(self.first.metrics[self.part][self.metric]["n_cells"])


def leaderboards(runs: Sequence[RunResult], part: str, metric: str) -> tuple[Leaderboard, ...]:
    """One leaderboard for each data set and split, those without a LEAKY run first, then by how many runs they have.

    Permuted labels make another split, and leaderboards of such runs come last.
    `part=auto` is test where every run of the leaderboard has opened it, else val. Where a part is named, a run
    without it stands last, unranked; a leaderboard none of whose runs has it is of val.

    Raises:
        RunError: no run at all has the part.
    """
    if part != "auto" and not any(part in run.metrics for run in runs):
        raise RunError(
            f"part={part}: none of the {len(runs)} runs has results of it; "
            f"python -m leukemia_lab.evaluate run={runs[0].path} opens a test part, part=val ranks by validation"
        )
    groups: dict[tuple[str, str], list[RunResult]] = {}
    for run in runs:
        groups.setdefault((run.data_fingerprint, run.split_hash), []).append(run)
    ordered = sorted(groups.items(), key=lambda item: (*_less_honest(item[1]), -len(item[1]), item[0]))
    return tuple(
        _leaderboard(number, key, members, part, metric)
        for number, (key, members) in enumerate(ordered, start=1)
    )


def differing(runs: Sequence[RunResult]) -> list[str]:
    """The settings, by dotted key, in which runs differ, the seed and what cannot change a result aside."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    return [
        key
        for key in keys
        if key not in NOT_DIFFERENCES and len({repr(run.settings.get(key)) for run in runs}) > 1
    ]


def interval_method(run: RunResult) -> str | None:
    """How the run's intervals were made; None where it has none or does not say."""
    found = run.metrics.get("intervals", {}).get("method")
    return None if found is None else str(found)


def value_of(run: RunResult, part: str, metric: str) -> float | None:
    """The value of a metric; None where the run has no such part, or no value."""
    found: float | None = run.metrics[part][metric]["value"] if part in run.metrics else None
    return found


def why_apart(boards: Sequence[Leaderboard]) -> str | None:
    """Why the runs of these leaderboards are not ranked together; None where there is one leaderboard."""
    if len(boards) < 2:
        return None
    n_data = len({board.data_fingerprint for board in boards})
    what = f"{n_data} different data sets" if n_data == len(boards) else f"{len(boards)} different splits"
    if 1 < n_data < len(boards):
        what += f" of {n_data} data sets"
    permuted = any(PERMUTED_LABELS in board.stamps for board in boards)
    more = " Permuted labels make another split of the same cells; they stand last." if permuted else ""
    return (
        f"The runs are of {what}, so there are {len(boards)} leaderboards. They are not ranked together: a value on "
        "other cells is another quantity, and a difference may be one of the cells and not of the models."
        f"{more}"
    )


def short_hash(board: Leaderboard) -> str:
    """The first digits of the split's hash."""
    return board.split_hash[:MIN_HASH]


def write_leaderboards(boards: Sequence[Leaderboard], path: Path) -> None:
    """Write all rows as CSV: the columns of a sweep's `table.csv`, those of the part ranked by, then where they stand.

    `rank`, and a value that is missing, is an empty field; stamps are joined by `;`.
    """
    columns = [*WHAT_COLUMNS, *METRIC_COLUMNS, *JOB_COLUMNS, *PLACE_COLUMNS]
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(_csv_row(board, row) for board in boards for row in board.rows)


def _leaderboard(
    number: int, key: tuple[str, str], runs: Sequence[RunResult], part: str, metric: str
) -> Leaderboard:
    everywhere = all("test" in run.metrics for run in runs)
    if part == "auto" or not any(part in run.metrics for run in runs):
        part = "test" if part == "auto" and everywhere else "val"
    sign = 1 if metric in LOWER_IS_BETTER else -1
    values = {run.name: value_of(run, part, metric) for run in runs}

    def place(run: RunResult) -> tuple[bool, bool, float, str]:
        value = values[run.name]
        return (part not in run.metrics, value is None, 0.0 if value is None else sign * value, run.name)

    ranked = sorted(runs, key=place)
    known = [value for run in ranked if (value := values[run.name]) is not None]
    keys = {
        model: differing([run for run in runs if run.model == model]) for model in {run.model for run in runs}
    }
    rows = []
    for run in ranked:
        value = values[run.name]
        rank = None if value is None else known.index(value) + 1  # equals share a rank
        rows.append(
            Row(rank, run, {name: run.settings[name] for name in keys[run.model] if name in run.settings})
        )
    return Leaderboard(number, *key, part, metric, tuple(rows))


def _less_honest(runs: Sequence[RunResult]) -> tuple[bool, bool]:
    """Whether any has permuted labels, and whether any is leaky."""
    stamps = [stamp for run in runs for stamp in run.stamps]
    return PERMUTED_LABELS in stamps, any(stamp.startswith(LEAKY) for stamp in stamps)


def _csv_row(board: Leaderboard, row: Row) -> dict[str, Any]:
    run = row.run
    about = {
        "model": run.model,
        "protocol": run.protocol,
        "run": run.name,
        "status": run.record["status"],
        "overrides": "" if run.overrides is None else " ".join(run.overrides),
        "objective": run.metrics.get("objective"),
        "stamps": ";".join(run.stamps),
        "leaderboard": board.number,
        "rank": row.rank,
        "part": board.part,
        "split_hash": board.split_hash,
        "data_fingerprint": board.data_fingerprint,
    }
    if board.part not in run.metrics:
        return about
    metrics = run.metrics[board.part]
    return about | {
        f"{name}{suffix}": metrics[name].get(bound) for name in METRICS for bound, suffix in BOUNDS.items()
    }
