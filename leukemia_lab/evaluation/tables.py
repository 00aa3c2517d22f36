"""Tables for the terminal, and the CSV of a sweep."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from rich import box
from rich.table import Table
from rich.text import Text

from leukemia_lab.atomic import replacing
from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.metrics import METRICS

SWEEP_METRICS = ("balanced_accuracy", "sensitivity", "specificity", "weighted_f1", "auroc")
BOUNDS = {"value": "", "low": "_low", "high": "_high"}
WHAT_COLUMNS = ("model", "protocol")
METRIC_COLUMNS = tuple(f"{metric}{suffix}" for metric in METRICS for suffix in BOUNDS.values())
JOB_COLUMNS = ("run", "status", "epochs", "overrides", "objective", "stamps", "error", "job")
_LONG_NUMBER = re.compile(r"-?\d*\.\d{5,}(e-?\d+)?")
NO_INTERVALS = "point estimates without intervals"
WILSON_TYPE = "* Wilson's bounds, as the jackknife says nothing here; metrics.json says why"
MEAN_OF_FOLDS = "mean ± SD over the folds"
POOLED = (
    "test: the predictions of all folds pooled, each cell by the model that never saw it; AUROC and AUPRC then rank "
    "scores of different models against each other, test_mean does not"
)


class SweepRow(TypedDict):
    """One run of a sweep, or the job that left none; `metrics` is one part of its `metrics.json`, None without one.

    `job` is the key of its file in `jobs/`, `epochs` how many its net was trained for so far.
    """

    model: str
    protocol: str
    job: str
    run: str
    status: str
    epochs: int | None
    overrides: Sequence[str]
    objective: float | None
    stamps: Sequence[str]
    error: str | None
    metrics: dict[str, dict[str, Any]] | None


def metrics_table(document: dict[str, Any], parts: Sequence[str]) -> Table:
    """A table of `metrics.json`: metrics by parts, stamps in the title, reasons of missing values below.

    Raises RunError where the document lacks one of the parts.
    """
    for part in parts:
        if part not in document:
            raise RunError(f"there are no metrics of part {part}. Only `evaluate` opens the test part.")
    notes = [
        f"{part} {metric} n/a: {document[part][metric]['reason']}"
        for part in parts
        for metric in METRICS
        if document[part][metric]["value"] is None
    ]
    bounded = any(document[part][metric]["low"] is not None for part in parts for metric in METRICS)
    notes.insert(0, _intervals_note(document) if bounded else NO_INTERVALS)
    if any("note" in document[part][metric] for part in parts for metric in METRICS):
        notes.append(WILSON_TYPE)
    notes += [MEAN_OF_FOLDS] if any(_n_folds(document[part]) is not None for part in parts) else []
    notes += [POOLED] if "per_fold" in document else []
    # As Text: Rich would take a stamp in brackets, or an error's text, for markup.
    title = Text(f"Metrics {_bracketed(document['stamps'])}".strip())
    table = Table(title=title, caption=Text("\n".join(notes)), caption_justify="left")
    table.add_column("metric")
    for part in parts:
        table.add_column(_part_header(document, part), justify="right")
    for metric in METRICS:
        table.add_row(metric, *(estimate(document[part][metric]) for part in parts))
    return table


def sweep_table(rows: Sequence[SweepRow]) -> Table:
    """A table of a sweep's jobs in the given order: the overrides in which they differ, validation metrics.

    What all jobs share (overrides, stamps) stands once, in the title and below; so do errors.
    """
    given = [_given(row) for row in rows]
    varying = _varying(given)
    keys = dict.fromkeys(key for overrides in given for key in overrides)
    fixed = [f"{key}={given[0].get(key)}" for key in keys if key not in varying]
    stamps = {_bracketed(row["stamps"]) for row in rows if row["metrics"] is not None}
    measured = [row["metrics"] for row in rows if row["metrics"] is not None]
    notes = [f"{' '.join(row['overrides'])}: {row['error']}" for row in rows if row["error"] is not None]
    if all(metrics[metric]["low"] is None for metrics in measured for metric in SWEEP_METRICS):
        notes.insert(0, NO_INTERVALS)
    notes += sorted({f"mean ± SD of {n} folds" for n in map(_n_folds, measured) if n is not None})
    notes += (
        [WILSON_TYPE]
        if any("note" in found[metric] for found in measured for metric in SWEEP_METRICS)
        else []
    )
    if fixed:
        notes.insert(0, f"in all runs: {' '.join(fixed)}")
    shared = stamps.pop() if len(stamps) == 1 else ""
    title = f"{len(rows)} runs, validation {shared}".strip()
    table = Table(
        title=Text(title), caption=Text("\n".join(notes)), caption_justify="left", box=box.SIMPLE_HEAD
    )
    about_columns = [*varying, *(["status"] if len(measured) < len(rows) else [])]
    for key in about_columns:
        table.add_column(key.replace(".", ".\n"), overflow="fold")
    for column in SWEEP_METRICS:
        table.add_column(column.replace("_", "\n"), justify="right")
    if stamps:
        table.add_column("stamps", overflow="fold")
    for row, overrides in zip(rows, given, strict=True):
        metrics = row["metrics"]
        words = {key: _shortened(value) for key, value in overrides.items()} | {"status": _status(row)}
        about = [Text(words.get(key, "")) for key in about_columns]
        estimates = ["" if metrics is None else _two_lines(metrics[metric]) for metric in SWEEP_METRICS]
        own_stamps = [Text(_bracketed(row["stamps"]))] if stamps else []
        table.add_row(*about, *estimates, *own_stamps)
    return table


def _status(row: SweepRow) -> str:
    """The status; of a run that is not finished how far it came, and the objective of what was trained by then."""
    if row["metrics"] is not None or row["epochs"] is None:
        return row["status"]
    objective = "" if row["objective"] is None else f", {row['objective']:.4f}"
    return f"{row['status']}\n(epoch {row['epochs']}{objective})"


def _shortened(value: str) -> str:
    """A number of many digits, as searches propose them, with four."""
    return f"{float(value):.4g}" if _LONG_NUMBER.fullmatch(value) else value


def write_sweep_csv(rows: Sequence[SweepRow], path: Path) -> None:
    """Write `table.csv`: model, protocol, `<metric>, <metric>_low, <metric>_high` in full precision, the rest.

    The last columns are the keys in which the runs differ (`optim.lr`). A missing value is an empty field; stamps are
    joined by `;`. The file appears whole or not at all.
    """
    columns = [*WHAT_COLUMNS, *METRIC_COLUMNS, *JOB_COLUMNS]
    given = [_given(row) for row in rows]
    varying = [key for key in _varying(given) if key not in columns]
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*columns, *varying])
        writer.writeheader()
        for row, overrides in zip(rows, given, strict=True):
            writer.writerow(_csv_row(row) | {key: overrides.get(key, "") for key in varying})


def _given(row: SweepRow) -> dict[str, str]:
    """The row's overrides by their keys."""
    return dict(override.partition("=")[::2] for override in row["overrides"])


def _varying(given: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys in which the overrides differ."""
    keys = dict.fromkeys(key for overrides in given for key in overrides)
    return [key for key in keys if len({overrides.get(key) for overrides in given}) > 1]


def _csv_row(row: SweepRow) -> dict[str, Any]:
    about = {name: value for name, value in row.items() if name != "metrics"}
    metrics = row["metrics"]
    estimates = (
        {}
        if metrics is None
        else {
            f"{metric}{suffix}": metrics[metric][bound]
            for metric in METRICS
            for bound, suffix in BOUNDS.items()
        }
    )
    joined = {"overrides": " ".join(row["overrides"]), "stamps": ";".join(row["stamps"])}
    return {**about, **estimates, **joined}


def _intervals_note(document: Mapping[str, Any]) -> str:
    how = document.get("intervals")
    return (
        ""
        if how is None
        else f"({100 * how['level']:g} % interval over new subjects: {how['method']} of whole groups)"
    )


def _bracketed(stamps: Sequence[str]) -> str:
    return " ".join(f"[{stamp}]" for stamp in stamps)


def _part_header(document: dict[str, Any], part: str) -> Text:
    n_folds, n_cells = _n_folds(document[part]), document[part]["accuracy"]["n_cells"]
    if n_folds is not None:
        return Text(f"{part}\nmean of {n_folds} folds\n{n_cells:,} cells")
    n_subjects = len(document["per_subject"][part])
    subjects = f"{n_subjects} subjects" if n_subjects > 0 else "no subjects"
    return Text(f"{part}\n{n_cells:,} cells\n{subjects}")


def _n_folds(metrics: dict[str, dict[str, Any]]) -> int | None:
    """How many folds these metrics are the mean of; None where they are those of one run."""
    return len(metrics["accuracy"]["folds"]) if "folds" in metrics["accuracy"] else None


def estimate(metric: Mapping[str, Any]) -> str:
    """`0.9000 (0.800–0.950)`; bounds that a note is on have a star."""
    star = "*" if "note" in metric else ""
    interval = "" if metric["low"] is None else f" ({metric['low']:.3f}–{metric['high']:.3f}){star}"
    spread = "" if metric.get("sd_over_folds") is None else f" ± {metric['sd_over_folds']:.4f}"
    return number(metric["value"]) + spread + interval


def _two_lines(metric: dict[str, Any]) -> str:
    return estimate(metric).replace(" (", "\n(")


def number(value: float | None) -> str:
    """Four digits; `n/a` where there is no value."""
    return "n/a" if value is None else f"{value:.4f}".replace("-0.0000", "0.0000")
