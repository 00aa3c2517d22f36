"""Is the split of a leaderboard sound? Counts by part and class, and what crosses from one part to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.folds import part_balance
from leukemia_lab.evaluation.metrics import PARTS
from leukemia_lab.results.run_result import RunResult
from leukemia_lab.runs.record import SPLIT
from leukemia_lab.wording import natural

NEEDED = ("cell_id", "subject", "group", "label", "part")


@dataclass(frozen=True)
class SplitAudit:
    """A split as its table shows it; of a cross-validation the test part of each fold, and what crosses in any fold.

    `rows` are of `evaluation.folds.part_balance`, or of `fold_balance`; `crossing` says of groups, subjects and
    cells how many are in two parts; `twins` are groups of two or more subject names.
    """

    rows: tuple[Mapping[str, Any], ...]
    crossing: Mapping[str, int]
    twins: tuple[tuple[str, ...], ...]
    protocol: Mapping[str, Any]
    faults: tuple[str, ...]

    @property
    def by(self) -> str:
        """What a row is: a part, or a fold's test part."""
        return "fold" if self.rows and "fold" in self.rows[0] else "part"


def audit_split(run: RunResult) -> SplitAudit:
    """Audit the split of `run`; what cannot be read is among the `faults`."""
    protocol = run.record.get("protocol", {})
    try:
        tables = _tables(run)
    except RunError as error:
        return SplitAudit((), {}, (), protocol, (str(error),))
    rows = run.record["balance"] if run.is_cross_validation else part_balance(tables[0])
    crossing = {
        what: sum(_n_crossing(table, column) for table in tables)
        for what, column in (("groups", "group"), ("subjects", "subject"), ("cells", "cell_id"))
    }
    return SplitAudit(tuple(rows), crossing, _twins(tables[0]), protocol, ())


def _tables(run: RunResult) -> list[pd.DataFrame]:
    if run.is_cross_validation:
        tables = [_read(run, f"{fold['run']}/{SPLIT}") for fold in run.record["folds"]]
    else:
        tables = [] if run.split is None else [run.split]
    for table in tables:
        missing = [column for column in NEEDED if column not in table]
        if missing:
            raise RunError(f"{SPLIT} lacks {', '.join(missing)}")
    return tables


def _read(run: RunResult, name: str) -> pd.DataFrame:
    try:
        return pd.read_parquet(run.path / name)
    except Exception as error:  # parquet readers have many errors of their own
        raise RunError(f"{name} cannot be read ({error})") from error


def _n_crossing(table: pd.DataFrame, column: str) -> int:
    used = table[table["part"].isin(PARTS)].dropna(subset=[column])
    return int((used.groupby(column)["part"].nunique() > 1).sum())


def _twins(table: pd.DataFrame) -> tuple[tuple[str, ...], ...]:
    names = table.dropna(subset=["group", "subject"]).groupby("group")["subject"].unique()
    groups = [tuple(sorted(map(str, subjects), key=natural)) for subjects in names if len(subjects) > 1]
    return tuple(sorted(groups, key=lambda group: natural(group[0])))
