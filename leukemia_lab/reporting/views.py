"""A run's tables turned into what its section of the report shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from leukemia_lab.checklists.results import MAX_ERRORS
from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.metrics import confusion
from leukemia_lab.evaluation.predictions import class_names_of
from leukemia_lab.reporting import wiring
from leukemia_lab.reporting.contents import Confusion, ErrorCell, Picture, RunView, Subject
from leukemia_lab.results.run_result import RunResult
from leukemia_lab.runs.record import EXPLAINED

MAX_SUBJECTS = 8  # worst subjects named
MAX_PICTURE_BYTES = 64_000
PICTURES = {"cell": "the cell", "input": "as the model sees it", "attribution": "attribution"}
Found = TypeVar("Found")


def view_of(run: RunResult, part: str) -> RunView:
    """What the tables of `run` say of `part`; what cannot be read is a fault of the view, not an error."""
    faults: list[str] = []
    predicted = None
    if not run.is_cross_validation or part == "test":  # only what is predicted once is pooled over folds
        predicted = _tried(faults, lambda: _predicted(run, part))
    explained = _tried(faults, lambda: run.explained(part))
    errors = _tried(faults, lambda: _errors(run, part, predicted, explained, faults))
    drawings = _tried(faults, lambda: wiring.drawings(run, part))
    return RunView(
        part,
        {} if drawings is None else drawings,
        None if predicted is None else _confusion(predicted),
        _worst_subjects(run, part),
        () if errors is None else errors,
        None if explained is None else {key: value for key, value in explained.items() if key != "cells"},
        tuple(faults),
    )


def _tried(faults: list[str], read: Callable[[], Found]) -> Found | None:
    try:
        return read()
    except RunError as error:
        if str(error) not in faults:
            faults.append(str(error))
        return None


def _predicted(run: RunResult, part: str) -> pd.DataFrame:
    rows = run.predictions[run.predictions["part"] == part]
    if rows.empty:
        raise RunError(f"the predictions table has no cell of part {part}")
    return rows


def _confusion(predicted: pd.DataFrame) -> Confusion:
    names = class_names_of(predicted)
    counts = confusion(predicted, names)
    return Confusion(names, tuple(tuple(int(n) for n in row) for row in counts))


def _worst_subjects(run: RunResult, part: str) -> tuple[Subject, ...]:
    """Subjects with a cell told wrong, the lowest share first, of equal ones the one with more cells."""
    subjects = [
        Subject(
            row["subject"],
            row["label"],
            row["n_cells"],
            row["accuracy"],
            row["positive_fraction"],
            row["decided"],
        )
        for row in run.subject_rows(part)
        if row["accuracy"] is not None and row["accuracy"] < 1
    ]
    return tuple(sorted(subjects, key=lambda subject: (subject.accuracy, -subject.n_cells))[:MAX_SUBJECTS])


def _errors(
    run: RunResult,
    part: str,
    predicted: pd.DataFrame | None,
    explained: Mapping[str, Any] | None,
    faults: list[str],
) -> tuple[ErrorCell, ...]:
    """The most confident errors: with their pictures where the run was explained, else from its predictions."""
    if explained is None:
        return () if predicted is None else _errors_of_table(predicted)
    try:
        cells = [_explained_cell(run, part, cell, faults) for cell in explained["cells"][:MAX_ERRORS]]
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{EXPLAINED}/{part}/cells.json is damaged ({error!r})") from error
    return tuple(cells)


def _explained_cell(run: RunResult, part: str, cell: Mapping[str, Any], faults: list[str]) -> ErrorCell:
    what = f"{cell['cell_id']}: {cell['label']} taken for {cell['predicted']}"
    pictures = []
    for kind, caption in PICTURES.items():
        name = cell["files"].get(kind)
        if name is None:
            continue
        path = run.path / EXPLAINED / part / name
        n_bytes = path.stat().st_size if Path(name).name == name and path.is_file() else 0
        if not 0 < n_bytes <= MAX_PICTURE_BYTES:
            faults.append(f"{EXPLAINED}/{part}/{name} is missing, empty or over {MAX_PICTURE_BYTES:,} bytes")
            continue
        pictures.append(Picture(path, n_bytes, f"{what}, {caption}", caption))
    mass = cell.get("mass_on_cell")
    return ErrorCell(
        str(cell["cell_id"]),
        None if cell.get("subject") is None else str(cell["subject"]),
        str(cell["label"]),
        str(cell["predicted"]),
        float(cell["prob_predicted"]),
        None if mass is None else float(mass),
        tuple(pictures),
    )


def _errors_of_table(predicted: pd.DataFrame) -> tuple[ErrorCell, ...]:
    names = class_names_of(predicted)
    probs = predicted[[f"prob_{name}" for name in names]].to_numpy()
    table = predicted[["cell_id", "subject", "label"]].assign(  # in the order of ErrorCell
        predicted=[names[k] for k in probs.argmax(axis=1)], probability=probs.max(axis=1)
    )
    wrong = table[table["label"] != table["predicted"]]
    wrong = wrong.sort_values(["probability", "cell_id"], ascending=[False, True]).head(MAX_ERRORS)
    return tuple(
        ErrorCell(cell, None if pd.isna(subject) else str(subject), label, predicted, probability, None, ())
        for cell, subject, label, predicted, probability in zip(*(wrong[name] for name in wrong), strict=True)
    )
