"""The plots of a run, of its tables, and those of a leaderboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.calibration import Calibration
from leukemia_lab.evaluation.metrics import ECE_BINS, confusion, truth_and_probs
from leukemia_lab.evaluation.reliability import reliability_table
from leukemia_lab.pages.formats import metric_name
from leukemia_lab.plots import gallery as plots
from leukemia_lab.reporting.contents import Drawing
from leukemia_lab.reporting.leaderboard import Leaderboard
from leukemia_lab.reporting.split_audit import SplitAudit
from leukemia_lab.results.run_result import RunResult
from leukemia_lab.runs.record import EXPLAINED

CHANCE = {"auroc": 0.5, "balanced_accuracy": 0.5, "mcc": 0.0}  # of two classes


def run_drawings(run: RunResult, part: str) -> dict[str, Drawing]:
    """The plots of one part of a run by name: roc, pr, reliability, confusion, curves, subjects, scatter, attribution.

    What the run has no table for is left out. Raises RunError where a table is there and cannot be read.
    """
    found: dict[str, plots.Plot] = {}
    ident = f"r{run.record['identity']}"
    if part == "test" or not run.is_cross_validation:  # only what is predicted once is pooled over folds
        found |= _of_predictions(run, part, ident)
    history = run.history
    if history is not None and not history.empty:
        columns = {str(name): [float(value) for value in history[name]] for name in history}
        best = run.record.get("best_epoch")
        found["curves"] = plots.training_curves(
            columns, ident=f"{ident}-curves", title="Training", best_epoch=best
        )
    found |= _subjects(run, part, ident) | _attribution(run, part, ident)
    return {name: Drawing(plot.svg, plot.alt) for name, plot in found.items()}


def forest(board: Leaderboard) -> Drawing | None:
    """Values and intervals of the leaderboard's metric, best first; None of a single run."""
    if len(board.rows) < 2:
        return None
    ranked = []
    for row in board.rows:
        metric: Mapping[str, Any] = row.run.metrics.get(board.part, {}).get(board.metric, {})
        low, high = metric.get("low"), metric.get("high")
        ranked.append(plots.Ranked(row.run.name, metric.get("value"), low, high, row.run.stamps))
    two = len(board.first.record["class_names"]) == 2
    plot = plots.forest(
        ranked,
        metric_name(board.metric),
        ident=f"forest-{board.number}",
        title=f"{metric_name(board.metric)} on {board.part}",
        chance=CHANCE.get(board.metric) if two else None,
    )
    return Drawing(plot.svg, plot.alt)


def split_drawing(board: Leaderboard, split: SplitAudit) -> Drawing | None:
    """Cells and subjects by part, or by fold's test part, and class; None where the split is not known."""
    if not split.rows:
        return None
    classes = [str(label) for label in dict.fromkeys(label for row in split.rows for label in row["classes"])]

    def counts(size: str) -> Any:
        return np.array(
            [[row["classes"].get(label, {size: 0})[size] for label in classes] for row in split.rows]
        )

    names = [f"fold {row['fold']}" if split.by == "fold" else str(row["part"]) for row in split.rows]
    plot = plots.split_counts(
        counts("cells"), counts("subjects"), names, classes, ident=f"parts-{board.number}", title="Split"
    )
    return Drawing(plot.svg, plot.alt)


def _of_predictions(run: RunResult, part: str, ident: str) -> dict[str, plots.Plot]:
    table = run.predictions[run.predictions["part"] == part]
    names = list(run.class_names)
    if table.empty:
        raise RunError(f"the predictions table has no cell of part {part}")
    at = None if run.positive is None else names.index(run.positive)
    truth, probs = truth_and_probs(table, names)
    threshold = run.metrics.get("operating_point", {}).get("threshold")
    drawings: dict[str, Callable[..., plots.Plot]] = {"roc": plots.roc, "pr": plots.precision_recall}
    titles = {"roc": "ROC", "pr": "Precision over recall"}
    found = {
        name: draw(
            truth,
            probs,
            names,
            at,
            ident=f"{ident}-{name}",
            title=f"{titles[name]} on {part}",
            threshold=threshold,
        )
        for name, draw in drawings.items()
    }
    found["reliability"] = _reliability(run, table, ident, f"Reliability on {part}")
    found["confusion"] = plots.confusion(
        confusion(table, names), names, ident=f"{ident}-confusion", title=f"Confusion on {part}"
    )
    return found


def _reliability(run: RunResult, table: pd.DataFrame, ident: str, title: str) -> plots.Plot:
    """As trained, with intervals by group, and calibrated as on validation, without, lest they hide each other."""
    names = list(run.class_names)
    truth, probs = truth_and_probs(table, names)
    bounds = np.full((2, ECE_BINS), np.nan)
    if table[["subject", "group"]].notna().all(axis=None):
        groups = pd.factorize(table["group"])[0]
        for row in reliability_table(truth, probs, None, groups=groups, level=run.level):
            bounds[:, round(row["low"] * ECE_BINS)] = row["accuracy_low"], row["accuracy_high"]
    before = _forecasts(truth, probs)._replace(low=bounds[0], high=bounds[1])
    described = run.metrics.get("calibration", {})
    after = None
    if described.get("method", "none") != "none":
        try:
            logits = table[[f"logit_{name}" for name in names]].to_numpy(dtype=np.float64)
            after = _forecasts(truth, Calibration.of(described).probs(logits))
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"the calibration in metrics.json is damaged ({error!r})") from error
    return plots.reliability(before, after, ident=f"{ident}-reliability", title=title)


def _forecasts(truth: Any, probs: Any) -> plots.Forecasts:
    return plots.Forecasts(probs.max(axis=1), probs.argmax(axis=1) == truth)


def _subjects(run: RunResult, part: str, ident: str) -> dict[str, plots.Plot]:
    """Accuracy by subject, and what is taken for the positive class; nothing where no subjects are known."""
    classes = list(run.class_names)
    rows = [row for row in run.subject_rows(part) if row["label"] and row["accuracy"] is not None]
    if not rows:
        return {}
    names = [str(row["subject"]) for row in rows]
    n_cells = np.array([row["n_cells"] for row in rows])
    of_class = np.array([classes.index(row["label"].split(", ")[0]) for row in rows])
    accuracy = np.array([row["accuracy"] for row in rows], dtype=np.float64)
    title = f"Subjects on {part}"
    ident = f"{ident}-subjects"
    found = {
        "subjects": plots.subject_accuracy(
            names, accuracy, n_cells, of_class, classes, ident=ident, title=title
        )
    }
    share, mean_logit = (
        np.array([row[key] for row in rows], dtype=np.float64) for key in ("positive_fraction", "mean_logit")
    )
    if run.positive is not None and np.isfinite([share, mean_logit]).all():
        at = classes.index(run.positive)
        found["scatter"] = plots.subject_scatter(
            names, share, mean_logit, n_cells, of_class, classes, at, ident=f"{ident}-scatter", title=title
        )
    return found


def _attribution(run: RunResult, part: str, ident: str) -> dict[str, plots.Plot]:
    """How much of the attribution is on the cell, over the sample that was measured; nothing without one."""
    explained = run.explained(part)
    if explained is None:
        return {}
    try:
        measured = [
            (cell["mass_on_cell"], cell["area_share"])
            for cell in explained.get("sample", ())
            if cell["mass_on_cell"] is not None and cell["area_share"] is not None
        ]
        mass, area = np.array(measured, dtype=np.float64).reshape(-1, 2).T
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{EXPLAINED}/{part}/cells.json is damaged ({error!r})") from error
    if not len(mass):
        return {}
    title = f"{explained.get('method', 'Attribution')} on {part}"
    return {"attribution": plots.attribution(mass, area, ident=f"{ident}-attribution", title=title)}
