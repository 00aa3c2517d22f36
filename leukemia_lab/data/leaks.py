"""The leakage gate: no group, no duplicate and no near copy on both sides of a split."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from leukemia_lab.data.copies import clusters
from leukemia_lab.data.splits import LEAKY, TWINS_IGNORED, Split, refuse_parted
from leukemia_lab.errors import SplitError

_SHOWN = 5


def refuse_leaks(split: Split, cells: pd.DataFrame, copies: pd.DataFrame) -> None:
    """Hold `split` against the index as it is now, unless it is stamped LEAKY or TWINS IGNORED.

    `cells` is the table of an index with twins merged, `copies` what `copies.find_copies` returns for it.

    Raises:
        SplitError: a cell is not in the index; cells of one group, or copies of one cell, are in several parts: names
            cells and subjects.
    """
    group_of = dict(zip(cells["cell_id"], cells["group"], strict=True))
    absent = split.table["cell_id"][~split.table["cell_id"].isin(cells["cell_id"])]
    if not absent.empty:
        raise SplitError(
            f"{len(absent)} of the {len(split.table)} cells of the split are not in the data (first: "
            f"{absent.iloc[0]}). Draw the split again."
        )
    if LEAKY in split.stamps or TWINS_IGNORED in split.stamps:
        return
    regrouped = split.table.assign(group=[group_of[cell] for cell in split.table["cell_id"]])
    refuse_parted(replace(split, table=regrouped), "group")
    parted = parted_copies(split, copies)
    if parted.empty:
        return
    shown = [
        f"\n  {pair.a} ({_owner(pair.subject_a)}{pair.part_a}) and {pair.b} ({_owner(pair.subject_b)}{pair.part_b}): "
        f"{pair.kind}"
        for pair in parted.head(_SHOWN).itertuples(index=False)
    ]
    more = f"\n  and {len(parted) - len(shown)} more" if len(parted) > len(shown) else ""
    raise SplitError(
        f"{len(parted)} cells have copies in several parts of the split:{''.join(shown)}{more}\n"
        "Draw the split, or the one in the file, anew with protocol.twins=merge, which keeps them in one part, or "
        f"accept them with protocol.twins=ignore (its results are stamped {TWINS_IGNORED})."
    )


def parted_copies(split: Split, copies: pd.DataFrame) -> pd.DataFrame:
    """One row for each cell whose copies are in several parts.

    Returns:
        Columns `a`, `b` (two of the copies, in different parts), `part_a`, `part_b`, `subject_a`, `subject_b`
        (None where unknown), and `kind`: that of the pair, or `through other copies`, which need not be in the split.
    """
    cluster = clusters(sorted({*copies["a"], *copies["b"]}), copies)
    kinds = dict(zip(zip(copies["a"], copies["b"], strict=True), copies["kind"], strict=True))
    rows = split.table[split.table["cell_id"].isin(cluster.index)].sort_values("cell_id")
    rows = rows.assign(subject=rows["subject"].astype(object).where(rows["subject"].notna(), None))
    found = []
    for _, members in rows.groupby(rows["cell_id"].map(cluster)):
        others = members[members["part"] != members["part"].iloc[0]]
        if not others.empty:
            a, b = members.iloc[0], others.iloc[0]
            kind = kinds.get((a["cell_id"], b["cell_id"]), "through other copies")
            found.append((*(end[name] for name in ("cell_id", "part", "subject") for end in (a, b)), kind))
    columns = ["a", "b", "part_a", "part_b", "subject_a", "subject_b", "kind"]
    return pd.DataFrame(found, columns=columns, dtype=object)


def _owner(subject: object) -> str:
    return "" if subject is None else f"subject {subject}, "
