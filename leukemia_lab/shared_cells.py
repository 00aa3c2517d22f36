"""Cells that are searched for twins, and split, once for all runs of a process with the same data and protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pandas as pd

from leukemia_lab.cells import (
    Cells,
    KnownCells,
    draw_cells,
    say_what_was_read,
    search_twins,
    twins_policy,
)
from leukemia_lab.data.index import CellIndex
from leukemia_lab.indexing import known_twins, read_data
from leukemia_lab.progress import CONSOLE
from leukemia_lab.schema import CellSettings
from leukemia_lab.sharing import LastOne

_KNOWN: LastOne[KnownCells] = LastOne()
_CELLS: LastOne[Cells] = LastOne()


def shared_known_cells(settings: CellSettings) -> KnownCells:
    """`read_cells`, or its result in the run before where the data are the same and twins are treated the same.

    The data are indexed for each run, so that files that have changed since are seen.
    """
    index = read_data(settings.data)
    key = _key(index, settings)
    if key == _KNOWN.key:
        CONSOLE.print("cells and twins: those of the run before")
        say_what_was_read(index)
    return _KNOWN.get(key, lambda: search_twins(index, settings))


def shared_cells(settings: CellSettings) -> Cells:
    """`prepare_cells`, or its result in the run before where the protocol too is the same."""
    known = shared_known_cells(settings)
    file = getattr(settings.protocol, "file", None)
    content = b"" if file is None else file.read_bytes()
    key = _hash([str(_KNOWN.key).encode(), repr(settings.protocol.model_dump()).encode(), content])
    return _CELLS.get(key, lambda: draw_cells(known, settings.protocol))


def _key(index: CellIndex, settings: CellSettings) -> str:
    """A hash of the index whole and of what else twins are merged by."""
    table = index.table
    of_index = (index.roots, index.class_names, index.positive, index.faults, index.notes, list(table))
    merged_by = (known_twins(settings.data), twins_policy(settings.protocol))
    return _hash(
        [repr((of_index, merged_by)).encode(), pd.util.hash_pandas_object(table).to_numpy().tobytes()]
    )


def _hash(parts: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
