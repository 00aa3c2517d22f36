"""The split manifest: made once by a protocol, checked for leaks, written with its hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from leukemia_lab.data.protocols import PARTS, Protocol, assign, check_protocol
from leukemia_lab.errors import SplitError

LEAKY = "LEAKY"
NO_SUBJECTS = "NO SUBJECTS"
TWINS_IGNORED = "TWINS IGNORED"

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("cell_id", "subject", "group", "label", "part")]
    + [("fold", pa.int64())]
)
CELL_COLUMNS = ("cell_id", "label", "subject", "group", "official_fold", "official_part")


@dataclass(frozen=True)
class Split:
    """Part and fold of every cell in use.

    `table` has one row a cell, sorted by `cell_id`: `cell_id, subject, group, label, part, fold`, where
    `part` is train, val or test and `fold` the fold in which the cell is tested (<NA> where the protocol
    has none). `protocol` holds the name and the values that shaped the split, `stamps` what makes it less
    than honest, `notes` what happened and the balance reached.
    """

    table: pd.DataFrame
    protocol: dict[str, str | int | float]
    stamps: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def hash(self) -> str:
        """SHA-256 over rows, protocol and stamps, 64 hexadecimal digits."""
        content = [to_arrow(self.table).to_pylist(), self.protocol, self.stamps]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def make_split(cells: pd.DataFrame, protocol: Protocol) -> Split:
    """Split `cells` by `protocol`, the same for any row order.

    `cells` has one row a cell: `cell_id`, `label`, `subject` (null where unknown), `group` (subjects that
    share cells have one group), `official_fold` (nullable), `official_part` (train or prelim), and may have
    `block` (groups that must not be parted; by default the group) and `source` (of a combined data set).
    Raises SplitError where the protocol does not fit the data.
    """
    check_protocol(protocol)
    _check_cells(cells)
    cells = cells.assign(**{name: default for name, default in _defaults(cells).items() if name not in cells})
    cells = cells.sort_values("cell_id", ignore_index=True)
    no_subjects = bool(cells["subject"].isna().any())
    if protocol.grouped:
        _require_subjects(cells, protocol)
    assignment = assign(cells, protocol)
    stamps = {
        LEAKY: not protocol.grouped,
        NO_SUBJECTS: no_subjects,
        TWINS_IGNORED: protocol.grouped and protocol.twins == "ignore",
    }
    table = from_arrow(to_arrow(assignment.cells.sort_values("cell_id")))
    split = Split(
        table=table,
        protocol=protocol.shape(),
        stamps=tuple(stamp for stamp, applies in stamps.items() if applies),
        notes=assignment.notes + balance_notes(table),
    )
    check_split(split)
    return split


def check_split(split: Split) -> None:
    """Raise SplitError where the parts are no partition, lack a class, or (unless LEAKY) share subjects."""
    table = split.table
    if table.empty:
        raise SplitError("there are no cells in the split.")
    if table["cell_id"].duplicated().any():
        twice = table.loc[table["cell_id"].duplicated(), "cell_id"].iloc[0]
        raise SplitError(f"cell {twice} is in the split more than once. Draw the split again.")
    if not table["part"].isin(PARTS).all():
        wrong = table.loc[~table["part"].isin(PARTS), ["cell_id", "part"]].iloc[0]
        raise SplitError(f"cell {wrong['cell_id']} is in part {wrong['part']!r}; parts are train, val, test.")
    cells = pd.crosstab(table["part"], table["label"]).reindex(PARTS, fill_value=0)
    for part, counts in cells.iterrows():
        if (counts == 0).any():
            raise SplitError(
                f"{part} has no {counts.idxmin()} cells under protocol {split.protocol.get('name')}. "
                "Choose another fold, share or protocol: every part needs every class."
            )
    if LEAKY not in split.stamps:
        refuse_parted(split, "subject")
        refuse_parted(split, "group")


def _defaults(cells: pd.DataFrame) -> dict[str, pd.Series[Any]]:
    """What stands for the columns that a table of cells need not have."""
    return {"block": cells["group"], "source": pd.Series(None, index=cells.index, dtype=object)}


def to_arrow(table: pd.DataFrame) -> pa.Table:
    """A split's rows in the types of its file."""
    return pa.Table.from_pandas(table[SCHEMA.names], schema=SCHEMA, preserve_index=False)


def from_arrow(rows: pa.Table) -> pd.DataFrame:
    """A split's rows as a table; `fold` is a nullable integer."""
    frame: pd.DataFrame = rows.select(SCHEMA.names).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    return frame


def _check_cells(cells: pd.DataFrame) -> None:
    missing = [column for column in CELL_COLUMNS if column not in cells]
    if missing:
        raise SplitError(f"the table of cells lacks the columns {', '.join(missing)}. Index the data again.")
    if cells.empty:
        raise SplitError("there are no cells to split. Check data.root.")
    for column in ("cell_id", "label", "group"):
        if cells[column].isna().any():
            raise SplitError(f"{cells[column].isna().sum()} of {len(cells)} cells have no {column}.")
    if cells["cell_id"].duplicated().any():
        twice = cells.loc[cells["cell_id"].duplicated(), "cell_id"].iloc[0]
        raise SplitError(f"cell {twice} is in the table of cells more than once. Index the data again.")
    groups = cells.groupby("subject")["group"].nunique()
    if (groups > 1).any():
        raise SplitError(f"subject {groups.idxmax()} is in {groups.max()} groups; a subject has one group.")


def _require_subjects(cells: pd.DataFrame, protocol: Protocol) -> None:
    unknown = cells["subject"].isna()
    if unknown.any():
        raise SplitError(
            f"protocol {protocol.name} keeps subjects apart, but {unknown.sum()} of {len(cells)} cells have "
            f"no subject (first: {cells.loc[unknown, 'cell_id'].iloc[0]}). Set data.subject_pattern (of a combined "
            "data set data.trees.<source>.subject_pattern) so that it finds the subject in each name, or "
            "protocol=random_cells (its results are stamped LEAKY)."
        )


def refuse_parted(split: Split, column: str) -> None:
    """Raise SplitError where cells of one subject, or of one group, are in several parts."""
    table = split.table
    n_parts = table.groupby(column)["part"].nunique()
    leaks = sorted(n_parts.index[n_parts > 1])
    if not leaks:
        return
    members = table[table[column] == leaks[0]]
    parts = [part for part in PARTS if (members["part"] == part).any()]
    others = f", and {len(leaks) - 1} more such {column}s" if len(leaks) > 1 else ""
    with_subjects = ""
    if column == "group":
        where = members.groupby("subject")["part"].agg(lambda part: " and ".join(sorted(set(part))))
        with_subjects = f" with the subjects {', '.join(f'{name} ({part})' for name, part in where.items())}"
    raise SplitError(
        f"{column} {leaks[0]}{with_subjects} is in {' and '.join(parts)} ({len(members)} cells, first "
        f"{members['cell_id'].iloc[0]}){others}. {_advice(split, column)}"
    )


def _advice(split: Split, column: str) -> str:
    if column == "group":
        return (
            "Twins were not merged: draw the split, or the one in the file, anew with protocol.twins=merge, or "
            f"accept it with protocol.twins=ignore (its results are stamped {TWINS_IGNORED})."
        )
    advice = "Draw the split again with a protocol that keeps subjects apart, e.g. protocol=subject_holdout"
    if split.protocol.get("name") == "manifest":
        return f"{advice}, or accept it with protocol.leaky=true (its results are stamped {LEAKY})."
    return f"{advice}."


def balance_notes(table: pd.DataFrame) -> tuple[str, ...]:
    """One line a part: its cells, subjects and classes."""
    notes = []
    for part in PARTS:
        rows = table[table["part"] == part]
        classes = ", ".join(
            f"{label} {share:.1%}"
            for label, share in rows["label"].value_counts(normalize=True).sort_index().items()
        )
        subjects = f", {rows['subject'].nunique()} subjects" if rows["subject"].notna().any() else ""
        notes.append(f"{part}: {len(rows)} cells ({len(rows) / len(table):.1%}){subjects}, {classes}")
    return tuple(notes)
