"""The predictions table: one row a cell, all that metrics, comparisons and reports ever read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from scipy.special import softmax

from leukemia_lab.atomic import replacing
from leukemia_lab.errors import RunError, TrainingError

CELL_COLUMNS = ("cell_id", "subject", "group", "part", "fold", "label")


def predictions_table(
    cells: pd.DataFrame, logits: npt.ArrayLike, class_names: Sequence[str], run_id: str
) -> pd.DataFrame:
    """Build the table `cell_id, subject, group, part, fold, label, logit_<class>…, prob_<class>…, run_id`.

    `cells` has the columns of a split, one row a row of `logits` [n, K]; the probabilities are their softmax
    in float64. Raises RunError where shapes or labels do not fit, TrainingError where a logit is not finite.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if logits.shape != (len(cells), len(class_names)):
        raise RunError(
            f"the logits have shape {logits.shape}; {len(cells)} cells of {len(class_names)} classes need "
            f"{(len(cells), len(class_names))}."
        )
    unfit = ~np.isfinite(logits).all(axis=1)
    if unfit.any():
        raise TrainingError(
            f"{unfit.sum()} of {len(cells)} cells have logits that are not finite "
            f"(first: {cells['cell_id'].iloc[unfit.argmax()]}): training diverged. Lower optim.lr."
        )
    table = cells.loc[:, list(CELL_COLUMNS)].reset_index(drop=True)
    table["fold"] = table["fold"].astype("Int64")
    probs = softmax(logits, axis=1)
    columns = {f"logit_{name}": logits[:, k] for k, name in enumerate(class_names)}
    columns |= {f"prob_{name}": probs[:, k] for k, name in enumerate(class_names)}
    table = table.assign(**columns, run_id=run_id)
    _check(table, "the predictions")
    return table


def class_names_of(table: pd.DataFrame) -> tuple[str, ...]:
    """The classes in the order of the table's logit columns."""
    columns = map(str, table.columns)
    return tuple(name.removeprefix("logit_") for name in columns if name.startswith("logit_"))


def write_predictions(table: pd.DataFrame, path: Path) -> None:
    """Write `table`; parts it does not hold stay as they are in the file, those it holds are replaced.

    The file changes whole or not at all. Raises RunError where the file belongs to another run or has other
    classes.
    """
    _check(table, "the predictions")
    if path.exists():
        kept = read_predictions(path)
        kept = kept[~kept["part"].isin(table["part"])]
        same_run = set(kept["run_id"]) <= set(table["run_id"])
        if not kept.empty and not (same_run and class_names_of(kept) == class_names_of(table)):
            raise RunError(
                f"{path} holds predictions of run {', '.join(sorted(set(kept['run_id'])))} for the classes "
                f"{', '.join(class_names_of(kept))}, not of this run. Write to another folder."
            )
        table = table if kept.empty else pd.concat([kept, table], ignore_index=True)
        _check(table, str(path))
    with replacing(path) as partial:
        table.to_parquet(partial, engine="pyarrow", index=False)


def read_predictions(path: Path) -> pd.DataFrame:
    """Read a predictions table; raises RunError naming what is missing or wrong in it."""
    try:
        table = pd.read_parquet(path, engine="pyarrow")
    except FileNotFoundError:
        raise RunError(
            f"there are no predictions at {path}. Finish the run first: the same train command resumes it."
        ) from None
    except pa.ArrowInvalid as fault:
        raise RunError(f"{path} cannot be read as a predictions table: {fault}. Run again.") from fault
    _check(table, str(path))
    return table


def _check(table: pd.DataFrame, where: str) -> None:
    classes = class_names_of(table)
    needed = (*CELL_COLUMNS, "run_id", *(f"prob_{name}" for name in classes))
    missing = [column for column in needed if column not in table]
    if missing:
        raise RunError(f"{where}: columns {', '.join(missing)} are missing. Run again to write them anew.")
    if len(classes) < 2:
        raise RunError(f"{where}: two or more columns logit_<class> are needed, there are {len(classes)}.")
    unknown = sorted(set(table["label"]) - set(classes))
    if unknown:
        raise RunError(f"{where}: label {unknown[0]!r} is none of the classes {', '.join(classes)}.")
    if table["cell_id"].duplicated().any():
        twice = table.loc[table["cell_id"].duplicated(), "cell_id"].iloc[0]
        raise RunError(
            f"{where}: cell {twice} has more than one row. A cell has one part and one prediction."
        )
    probs = table[[f"prob_{name}" for name in classes]].to_numpy(dtype=np.float64)
    if not np.allclose(probs.sum(axis=1), 1):
        row = int(np.argmin(np.isclose(probs.sum(axis=1), 1)))
        raise RunError(f"{where}: the probabilities of cell {table['cell_id'].iloc[row]} do not sum to 1.")
