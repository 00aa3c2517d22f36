"""Means over folds and their balance, on numbers small enough to know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from leukemia_lab.evaluation.folds import balance_table, fold_balance, mean_metrics
from leukemia_lab.evaluation.metrics import METRICS


def metrics(values: Mapping[str, float | None], n_cells: int) -> dict[str, dict[str, Any]]:
    return {
        name: {"value": values[name], "low": None, "high": None, "n_cells": n_cells, "n_groups": 2}
        | ({"reason": f"no {name}"} if values[name] is None else {})
        for name in METRICS
    }


def test_means_and_standard_deviations_are_numpys() -> None:
    drawn = np.random.default_rng(0).random((4, len(METRICS)))
    folds = [metrics(dict(zip(METRICS, map(float, row), strict=True)), 10 + k) for k, row in enumerate(drawn)]
    means = mean_metrics(folds)
    assert tuple(means) == METRICS
    for name, column in zip(METRICS, drawn.T, strict=True):
        assert means[name]["value"] == pytest.approx(column.mean(), abs=1e-12)
        assert means[name]["sd_over_folds"] == pytest.approx(column.std(ddof=1), abs=1e-12)
        assert means[name]["folds"] == column.tolist()
        assert (means[name]["n_cells"], means[name]["n_groups"]) == (46, 8)
        assert means[name]["low"] is means[name]["high"] is None


def test_what_is_undefined_in_a_fold_has_no_mean_and_zero_is_a_value() -> None:
    whole = dict.fromkeys(METRICS, 0.0)
    means = mean_metrics([metrics(whole, 5), metrics(whole | {"auroc": None}, 5)])
    assert (means["auroc"]["value"], means["auroc"]["sd_over_folds"]) == (None, None)
    assert means["auroc"]["reason"] == "fold 1: no auroc"
    assert (means["accuracy"]["value"], means["accuracy"]["sd_over_folds"]) == (0.0, 0.0)
    assert means["accuracy"]["reason"].startswith("a mean over folds has no interval")


def split(test_groups: set[str]) -> pd.DataFrame:
    rows = [("ALL", "1", "1+2", 3), ("ALL", "2", "1+2", 2), ("ALL", "3", "3", 15), ("HEM", "H1", "H1", 4)]
    rows.append(("HEM", "H2", "H2", 4))
    cells = [(f"{subject}/{k}", *about) for *about, n in rows for subject in [about[1]] for k in range(n)]
    table = pd.DataFrame(cells, columns=["cell_id", "label", "subject", "group"])
    return table.assign(part=np.where(table["group"].isin(test_groups), "test", "train"))


def test_the_balance_counts_cells_subjects_and_groups_of_the_test_parts() -> None:
    balance = fold_balance([split({"1+2", "H1"}), split({"3", "H2"})])
    assert [fold["fold"] for fold in balance] == [0, 1]
    first = balance[0]["classes"]["ALL"]
    assert (first["cells"], first["subjects"], first["groups"]) == (5, 2, 1)
    assert (first["cells_share"], first["groups_share"]) == (0.25, 0.5)
    assert first["subjects_share"] == pytest.approx(2 / 3)
    assert balance[1]["classes"]["HEM"]["cells_share"] == 0.5
    console = Console(width=140)
    with console.capture() as capture:
        console.print(balance_table(balance))
    printed = capture.get()
    assert "15 (75.0%)" in printed
    assert "even: 50.0% each; farthest from it by 25.0%: cells of ALL in fold 0" in printed
