"""Several trees as one data set: cells, subjects and classes under the name of their source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from leukemia_lab.data.index import (
    CellIndex,
    Scan,
    Tree,
    positive_of,
    refuse_faults,
    require_classes,
    scan_tree,
)
from leukemia_lab.data.layouts import Fault
from leukemia_lab.errors import DataError
from leukemia_lab.wording import nearest


@dataclass(frozen=True)
class CombinedTree:
    """One tree of a combined data set. `classes` renames its classes; None leaves one out; others keep their name."""

    source: str
    tree: Tree
    classes: Mapping[str, str | None]


def combine(
    trees: Sequence[CombinedTree],
    positive_class: str | None,
    bad_files: Literal["error", "skip"],
    cache_dir: Path,
) -> CellIndex:
    """Index several trees as one data set, with the source as a column.

    A cell's id is `<source>/<path below that tree's root>`, a subject's name `<SOURCE>:<name>`, so that equal names
    of two sources stay two subjects; near copies between sources are found all the same.

    Raises:
        DataError: as `index.read_index`, for any tree; or `classes` names a class that a tree does not have.
    """
    scans = {part.source: scan_tree(part.tree, cache_dir) for part in trees}
    index = combine_scans(trees, scans)
    if bad_files == "error":
        refuse_faults(index.where, index.faults)
    require_classes(index)
    if positive_class is None and any(part.tree.layout == "cnmc" for part in trees):
        positive_class = "ALL"
    return replace(index, positive=positive_of(positive_class, index.class_names))


def combine_scans(trees: Sequence[CombinedTree], scans: Mapping[str, Scan]) -> CellIndex:
    """The index of what can be used of several trees; it names no positive class."""
    parts = [_table(part, scans[part.source].table) for part in trees]
    table = pd.concat(parts).sort_values("cell_id", ignore_index=True)
    return CellIndex(
        root=Path(),
        table=table,
        class_names=tuple(sorted(set(table["label"]))),
        positive=None,
        has_subjects=bool(table["subject"].notna().any()),
        faults=tuple(fault for source, scan in scans.items() for fault in _faults(source, scan)),
        notes=tuple(f"{source}: {note}" for source, scan in scans.items() for note in scan.listing.notes),
        trees={source: scan.tree.root for source, scan in scans.items()},
    )


def _faults(source: str, scan: Scan) -> list[Fault]:
    return [Fault(f"{source}/{fault.file}", fault.fault, fault.detail) for fault in scan.faults]


def _table(part: CombinedTree, table: pd.DataFrame) -> pd.DataFrame:
    present = sorted(set(table["label"]))
    for name in part.classes:
        if name not in present:
            raise DataError(
                f"data.trees.{part.source}.classes names {name}, which is no class of that tree: "
                f"{', '.join(present)}.{nearest(name, present)}"
            )
    label = table["label"].map(lambda name: part.classes.get(name, name))
    prefix = f"{part.source.upper()}:"
    names = [None if name is None else prefix + name for name in table["subject"]]
    subject = pd.Series(names, index=table.index, dtype=object)  # text columns turn None into NaN
    cell_id = f"{part.source}/" + table["cell_id"]
    renamed = table.assign(
        cell_id=cell_id,
        label=label,
        subject=subject,
        group=subject.where(subject.notna(), cell_id),
        source=part.source,
    )
    return renamed[label.notna()]
