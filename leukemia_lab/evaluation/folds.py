"""What the folds of a cross-validation say together: the means of their metrics, and how alike their test parts are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from leukemia_lab.evaluation.metrics import METRICS

SIZES = {"cells": "cell_id", "subjects": "subject", "groups": "group"}  # what is counted, and in which column


def mean_metrics(folds: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The mean over folds of what `part_metrics` says of each, in the same form; two folds or more.

    Beside it stand `sd_over_folds` (sample standard deviation) and `folds` (their values). `n_cells` and
    `n_groups` are sums: one that is in the part in two folds counts twice. There is no interval, and where the
    metric is undefined in a fold no mean; `reason` says so.
    """
    means: dict[str, dict[str, Any]] = {}
    for name in METRICS:
        metrics = [fold[name] for fold in folds]
        values = [metric["value"] for metric in metrics]
        undefined = [k for k, value in enumerate(values) if value is None]
        means[name] = {
            "value": None if undefined else fmean(values),
            "low": None,
            "high": None,
            "n_cells": sum(metric["n_cells"] for metric in metrics),
            "n_groups": sum(metric["n_groups"] for metric in metrics),
            "sd_over_folds": None if undefined else stdev(values),
            "folds": values,
        }
        means[name]["reason"] = "a mean over folds has no interval: sd_over_folds says how they differ"
        if undefined:
            means[name]["reason"] = f"fold {undefined[0]}: {metrics[undefined[0]]['reason']}"
    return means


def fold_balance(splits: Sequence[pd.DataFrame]) -> list[dict[str, Any]]:
    """The test part of each fold's split table: by class the cells, subjects and groups, and shares of all such.

    `[{"fold": k, "classes": {"<class>": {"cells", "cells_share", "subjects", "subjects_share", "groups",
    "groups_share"}}}]`; the shares of a class sum to 1 over the folds where each cell is tested once.
    """
    tested = [table[table["part"] == "test"] for table in splits]
    totals = _counts(pd.concat(tested))
    return [{"fold": k, "classes": _shares(table, totals)} for k, table in enumerate(tested)]


def part_balance(split: pd.DataFrame) -> list[dict[str, Any]]:
    """The parts of one split's table, in the form of `fold_balance` with `part` in the place of `fold`."""
    totals = _counts(split)
    parts = {part: split[split["part"] == part] for part in ("train", "val", "test")}
    return [{"part": part, "classes": _shares(rows, totals)} for part, rows in parts.items()]


def balance_table(balance: Sequence[Mapping[str, Any]]) -> Table:
    """A table of `part_balance`, or of `fold_balance` with the largest distance from equal shares below it."""
    if "part" in balance[0]:
        return _balance_rows(balance, "part", Table(title="Parts of the split"))
    even = 1 / len(balance)
    distances = {
        f"{size} of {label} in fold {fold['fold']}": abs(counts[f"{size}_share"] - even)
        for fold in balance
        for label, counts in fold["classes"].items()
        for size in SIZES
    }
    farthest = max(distances, key=lambda name: distances[name])
    caption = f"even: {even:.1%} each; farthest from it by {distances[farthest]:.1%}: {farthest}"
    table = Table(title="Test part of each fold", caption=Text(caption), caption_justify="left")
    return _balance_rows(balance, "fold", table)


def _balance_rows(balance: Sequence[Mapping[str, Any]], name: str, table: Table) -> Table:
    table.add_column(name)
    for label in balance[0]["classes"]:
        for size in SIZES:
            table.add_column(Text(f"{label}\n{size}"), justify="right")
    for row in balance:
        counts = [
            f"{of_class[size]:,} ({of_class[f'{size}_share']:.1%})"
            for of_class in row["classes"].values()
            for size in SIZES
        ]
        table.add_row(str(row[name]), *counts)
    return table


def _shares(table: pd.DataFrame, totals: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, float]]:
    """The counts of `table` by class, each with its share of `totals`; 0 of none, where no subject has a name."""
    return {
        label: counts | {f"{size}_share": n / max(totals[label][size], 1) for size, n in counts.items()}
        for label, counts in _counts(table).items()
    }


def _counts(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """By class, in the order of their names: how many cells, subjects and groups."""
    return {
        str(label): {size: int(rows[column].nunique()) for size, column in SIZES.items()}
        for label, rows in table.groupby("label")
    }
