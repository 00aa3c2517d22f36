"""A negative control: labels that say nothing, with subjects and the clustering of their cells left as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from leukemia_lab.data.protocols import PARTS
from leukemia_lab.data.splits import Split, balance_notes

PERMUTED_LABELS = "PERMUTED LABELS"


def permute_labels(split: Split, seed: int) -> Split:
    """`split` with the labels of groups permuted inside each of its parts, stamped PERMUTED LABELS.

    All cells that a group has of one class in a part get the label of such cells of one group of that part, drawn
    without replacement: cells of a group stay together, and as many groups as before have each label. As groups differ
    in size, the classes' shares of the cells change, and the notes end with the new ones. Where no subjects are known
    every cell is a group, so that cells are permuted. Each part of each split is drawn by itself, so that what
    training sees of the labels says nothing of those of any test part.
    """
    table = split.table
    drawn = [
        _permuted(rows, np.random.default_rng([seed, int(split.hash, 16), place]))
        for place, (_, rows) in enumerate((part, table[table["part"] == part]) for part in PARTS)
    ]
    permuted = table.assign(label=pd.concat(drawn))
    return replace(
        split,
        table=permuted,
        stamps=(*split.stamps, PERMUTED_LABELS),
        notes=(
            *split.notes,
            _note(table, permuted, seed),
            *(f"after permuting, {note}" for note in balance_notes(permuted)),
        ),
    )


def _note(table: pd.DataFrame, permuted: pd.DataFrame, seed: int) -> str:
    """How many cells of each part have another label now: among few groups a permutation may leave all as they are."""
    changed = table["label"] != permuted["label"]
    n_changed = {part: int(changed[table["part"] == part].sum()) for part in PARTS}
    counts = [f"{n} of {(table['part'] == part).sum()} cells of {part}" for part, n in n_changed.items()]
    kept = [part for part, n in n_changed.items() if n == 0]
    more = f"; {' and '.join(kept)} kept all labels: its groups are few, take another seed" if kept else ""
    return f"permute_labels={seed}: labels of groups are permuted in every part; changed are {', '.join(counts)}{more}"


def _permuted(rows: pd.DataFrame, rng: np.random.Generator) -> pd.Series[str]:
    """A label for each of the rows of one part, with their index."""
    owners = rows.groupby(["group", "label"], sort=True)
    given = rng.permutation(owners["label"].first().to_numpy(dtype=object))
    return pd.Series(given[owners.ngroup().to_numpy()], index=rows.index)
