"""Ensembles: the calibrated probabilities of several runs, averaged into one more predictions table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.calibration import fit_calibration
from leukemia_lab.evaluation.metrics import Floats, Ints, truth_and_probs
from leukemia_lab.evaluation.predictions import predictions_table

# Of logits [n, K] and class indices [n] of the validation cells: what turns logits into probabilities.
Calibrate = Callable[[Floats, Ints], Callable[[Floats], Floats]]
LEAST_PROB = 1e-12


class Member(NamedTuple):
    """A run's predictions of the validation cells, on which it is calibrated, and of those to average."""

    name: str
    validation: pd.DataFrame
    predictions: pd.DataFrame


def by_temperature(logits: Floats, truth: Ints) -> Callable[[Floats], Floats]:
    """Temperature scaling, fitted to these cells."""
    return fit_calibration("temperature", logits, truth).probs


def ensemble_table(
    members: Sequence[Member], class_names: Sequence[str], name: str, calibrate: Calibrate = by_temperature
) -> pd.DataFrame:
    """A predictions table of the members' mean calibrated probabilities; its logits are their logarithms.

    Each member is calibrated on its own validation cells, then all count alike. Rows are in the order of cell ids.
    Raises RunError where there are fewer than two members, or they are not of the same cells with the same labels.
    """
    if len(members) < 2:
        raise RunError(
            f"an ensemble of {len(members)} run(s) is none: name two or more, ensemble=[runs/x,runs/y]"
        )
    tables = [member.predictions.sort_values("cell_id", ignore_index=True) for member in members]
    for member, table in zip(members, tables, strict=True):
        if not table[["cell_id", "label"]].equals(tables[0][["cell_id", "label"]]):
            raise RunError(
                f"{members[0].name} and {member.name} cannot be averaged: they predict other cells. Members of an "
                "ensemble share a split."
            )
    probs = np.mean(
        [
            calibrated(member.validation, table, class_names, calibrate)
            for member, table in zip(members, tables, strict=True)
        ],
        axis=0,
    )
    return predictions_table(tables[0], np.log(np.maximum(probs, LEAST_PROB)), class_names, name)


def calibrated(
    validation: pd.DataFrame, table: pd.DataFrame, class_names: Sequence[str], calibrate: Calibrate
) -> Floats:
    """The probabilities [n, K] of `table` after calibration on `validation`, each `run_id` on its own cells.

    Pooled predictions of several folds are of several models. RunError where one has no validation cells.
    """
    probs = np.empty((len(table), len(class_names)))
    for run_id in table["run_id"].unique():
        own = validation[validation["run_id"] == run_id]
        if own.empty:
            raise RunError(
                f"run {run_id} has no predictions of the validation part, which calibrate it. Run it again."
            )
        rows = (table["run_id"] == run_id).to_numpy()
        probs[rows] = calibrate(*_logits_and_truth(own, class_names))(_logits(table[rows], class_names))
    return probs


def _logits_and_truth(table: pd.DataFrame, class_names: Sequence[str]) -> tuple[Floats, Ints]:
    return _logits(table, class_names), truth_and_probs(table, class_names)[0]


def _logits(table: pd.DataFrame, class_names: Sequence[str]) -> Floats:
    return table[[f"logit_{name}" for name in class_names]].to_numpy(dtype=np.float64)
