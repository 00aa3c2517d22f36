"""Split manifests on disk: the parquet of a run, and a CSV to be committed, shared and loaded back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from leukemia_lab.atomic import replacing
from leukemia_lab.data.csv_rows import read_text, text_table
from leukemia_lab.data.index import CellIndex
from leukemia_lab.data.splits import (
    LEAKY,
    NO_SUBJECTS,
    SCHEMA,
    TWINS_IGNORED,
    Split,
    balance_notes,
    check_split,
    from_arrow,
    to_arrow,
)
from leukemia_lab.errors import SplitError

METADATA_KEY = b"leukemia_lab.split"
CSV_HEAD = "# leukemia_lab split: "
MANIFEST = "manifest"
_ABOUT_TYPES = {"hash": str, "protocol": dict, "stamps": list, "notes": list}
_EXACT = 2**53  # below it a float64 tells whole numbers apart
_SHOWN = 5


def write_split(split: Split, path: Path) -> None:
    """Write a split to parquet or, by the suffix, to CSV; read it back with `read_split`.

    Hash, protocol, stamps and notes go into the schema metadata, or into a comment before the CSV's header
    (`pandas.read_csv(path, skiprows=1)`). The file appears whole or not at all. Raises SplitError as
    `check_split` does.
    """
    check_split(split)
    if path.suffix.lower() == ".csv":
        with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            file.write(f"{CSV_HEAD}{json.dumps(_about(split))}\n")
            split.table.to_csv(file, index=False)
        return
    rows = to_arrow(split.table).replace_schema_metadata({METADATA_KEY: json.dumps(_about(split))})
    with replacing(path) as partial:
        pq.write_table(rows, partial)


def _about(split: Split) -> dict[str, Any]:
    return {"hash": split.hash, "protocol": split.protocol, "stamps": split.stamps, "notes": split.notes}


def read_split(path: Path) -> Split:
    """Read what `write_split` wrote; raises SplitError where the content does not match the stored hash."""
    table, about = _read(path)
    missing = [name for name in SCHEMA.names if name not in table]
    if about is None or missing:
        what = f"lacks the columns {', '.join(missing)}" if missing else "does not say which protocol made it"
        raise SplitError(f"{path} is not a split written by leukemia_lab: it {what}. Draw the split again.")
    rows = from_arrow(to_arrow(_typed(table, path)))
    split = Split(rows, about["protocol"], tuple(about["stamps"]), tuple(about["notes"]))
    if split.hash != about["hash"]:
        raise SplitError(
            f"{path} was changed after it was written: stored hash {about['hash'][:12]}, content has "
            f"{split.hash[:12]}. Draw the split again, or delete the first line of a CSV to make it one of your own."
        )
    return split


def load_manifest(path: Path, index: CellIndex, *, leaky: bool, ignore_twins: bool) -> Split:
    """The split that a file describes, for the cells of `index`.

    A file written by `write_split` keeps its protocol and stamps, and where the groups are the same its hash. A CSV
    of one's own needs the columns `cell_id` and `part`; `fold` and others are optional. Subjects, classes and groups
    are the index's. `leaky` accepts subjects on both sides.

    Raises:
        SplitError: the file cannot be read, or does not fit the index: names what differs.
    """
    table, about = _read(path)
    missing = [name for name in ("cell_id", "part") if name not in table]
    if missing:
        raise SplitError(f"protocol.file={path} lacks the columns {', '.join(missing)}.")
    written = read_split(path) if about is not None else None
    table = _by_name(_typed(table, path), index.table)
    _refuse_misfit(table, index.table, path)
    cells = index.table.set_index("cell_id").loc[list(table["cell_id"])].reset_index()
    rows = cells[["cell_id", "subject", "group", "label"]].assign(
        part=table["part"].to_numpy(), fold=table["fold"].array
    )
    rows = from_arrow(to_arrow(rows.sort_values("cell_id")))
    stamps = {
        LEAKY: leaky or (written is not None and LEAKY in written.stamps),
        NO_SUBJECTS: bool(rows["subject"].isna().any()),
        TWINS_IGNORED: ignore_twins,
    }
    n_out = len(index.table) - len(rows)
    notes = (f"{n_out} cells of the data are not in {path.name} and are left out",) if n_out > 0 else ()
    split = Split(
        table=rows,
        protocol={"name": MANIFEST} if written is None else written.protocol,
        stamps=tuple(stamp for stamp, applies in stamps.items() if applies),
        notes=notes,
    )
    check_split(split)
    return replace(split, notes=notes + balance_notes(rows))


def _by_name(table: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """The rows with the cell ids of the data, where only file names agree and each is there once.

    A split drawn from a manifest, or from another layout of the same data, knows the names but not the folders.
    """
    names = cells["cell_id"].map(lambda cell_id: PurePosixPath(cell_id).name)
    given = table["cell_id"].map(lambda cell_id: PurePosixPath(cell_id).name)
    known = table["cell_id"].isin(cells["cell_id"]).any()
    if known or names.duplicated().any() or given.duplicated().any() or not given.isin(names).all():
        return table
    return table.assign(cell_id=given.map(dict(zip(names, cells["cell_id"], strict=True))))


def _read(path: Path) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """The rows of a file in the columns that a split has, and what its writer said of it."""
    if not path.exists():
        raise SplitError(f"there is no split at {path}. Train first, or give another file or folder.")
    if not path.is_file():
        raise SplitError(f"{path} is no file. Name the split itself: {path / 'split.parquet'}, or a CSV.")
    try:
        table, about = _read_csv(path) if path.suffix.lower() == ".csv" else _read_parquet(path)
    except (OSError, ValueError, pa.ArrowException) as fault:
        raise SplitError(f"{path} cannot be read as a split: {fault}. Draw the split again.") from fault
    names = list(table)
    twice = [name for name in SCHEMA.names if names.count(name) > 1]
    if twice:
        raise SplitError(f"{path} has {names.count(twice[0])} columns {twice[0]}: leave one.")
    if about is not None and not (
        isinstance(about, dict)
        and all(isinstance(about.get(name), kind) for name, kind in _ABOUT_TYPES.items())
    ):
        raise SplitError(
            f"{path}: what it says of its own protocol and hash is damaged. Draw the split again."
        )
    return table[[name for name in names if name in SCHEMA.names]], about


def _read_parquet(path: Path) -> tuple[pd.DataFrame, Any]:
    rows = pq.read_table(path, partitioning=None)
    metadata = rows.schema.metadata if rows.schema.metadata is not None else {}
    about = json.loads(metadata[METADATA_KEY]) if METADATA_KEY in metadata else None
    columns = [place for place, name in enumerate(rows.column_names) if name in SCHEMA.names]
    types = {pa.int64(): pd.Int64Dtype()}
    rows = rows.select(columns)
    rows.validate(full=True)  # text that is no UTF-8 would be met much later
    return rows.to_pandas(types_mapper=types.get, ignore_metadata=True), about


def _read_csv(path: Path) -> tuple[pd.DataFrame, Any]:
    text = read_text(path)
    head, _, rest = text.partition("\n")
    about = json.loads(head.removeprefix(CSV_HEAD)) if head.startswith(CSV_HEAD) else None
    return text_table(text if about is None else rest), about


def _typed(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The rows with the types of a split; empty text is absent, and so is a `fold` that is not there."""
    folds = table["fold"] if "fold" in table else [None] * len(table)
    try:
        table = table.assign(fold=pd.array([_whole(fold) for fold in folds], dtype="Int64"))
    except (TypeError, ValueError) as fault:
        raise SplitError(f"{path}: fold must be a whole number or empty: {fault}.") from fault
    for column in (name for name in table if name != "fold"):
        given = table[column].astype(object)
        text = given.where(given.notna() & (given != ""), None)
        odd = [value for value in text if not isinstance(value, str | None)]
        if odd:
            raise SplitError(f"{path}: {column} must be text, not {odd[0]!r}.")
        table[column] = text
    for column in ("cell_id", "part"):
        if table[column].isna().any():
            raise SplitError(f"{path}: {table[column].isna().sum()} rows have no {column}.")
    twice = table["cell_id"][table["cell_id"].duplicated()]
    if not twice.empty:
        raise SplitError(f"{path}: cell {twice.iloc[0]} is there more than once.")
    return table


def _whole(fold: Any) -> int | None:
    """The number that a fold's text or value is; None where there is none."""
    if pd.isna(fold) or fold == "":
        return None
    number = float(fold)
    if not number.is_integer() or abs(number) >= _EXACT:
        raise ValueError(repr(fold))
    return int(number)


def _refuse_misfit(table: pd.DataFrame, cells: pd.DataFrame, path: Path) -> None:
    """Raise SplitError naming the cells that the data do not have, or have with another class or subject."""
    known = cells.set_index("cell_id")
    absent = sorted(set(table["cell_id"]) - set(known.index))
    faults = []
    if absent:
        faults.append(f"{len(absent)} of its {len(table)} cells are not in the data: {_some(absent)}")
        if len(absent) == len(table):
            faults.append(
                f"the data's cells are named like {known.index[0]}: name them as the data do, or set data.root to "
                "another level"
            )
    there = table[~table["cell_id"].isin(absent)]
    for column in ("label", "subject"):
        if column in there:
            given = there[column].astype(object).where(there[column].notna(), None)
            now = known.loc[list(there["cell_id"]), column].astype(object)
            differs = there["cell_id"][
                [old != new for old, new in zip(given, now.where(now.notna(), None), strict=True)]
            ]
            if not differs.empty:
                first = differs.iloc[0]
                names = f"{there.at[differs.index[0], column]!s} there, {known.at[first, column]!s} here"
                faults.append(f"{len(differs)} cells have another {column}: {first} is {names}")
    if faults:
        raise SplitError(f"protocol.file={path} does not fit the data:\n  " + "\n  ".join(faults))


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
