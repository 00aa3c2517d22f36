"""What is odd about cells that can be read, and the counts of what was found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from leukemia_lab.data.copies import COPY_COLUMNS
from leukemia_lab.data.images import WHOLE_FRAME
from leukemia_lab.data.index import Fault


def suspicions(table: pd.DataFrame, copies: pd.DataFrame) -> list[Fault]:
    """Faults of cells that can be used, by file: `wrong mode`, `several components`, `touches the border`,
    `subject in two classes`, `contradicting copies`.

    A file's mode is wrong where it is neither RGB nor what most files are. An image without a black background has
    neither components nor a border to touch.
    """
    found = [*_modes(table), *_outlines(table), *_two_classes(table), *_contradictions(table, copies)]
    return sorted(found, key=lambda fault: (fault.file, fault.fault))


def _modes(table: pd.DataFrame) -> Iterator[Fault]:
    modes = table["mode"].dropna()
    if modes.empty:
        return
    usual = modes.mode().iloc[0]
    for cell_id, mode in zip(table["cell_id"], table["mode"], strict=True):
        if mode not in ("RGB", usual):
            yield Fault(cell_id, "wrong mode", f"{mode}, most files are {usual}")


def _outlines(table: pd.DataFrame) -> Iterator[Fault]:
    cut_out = table[(table["foreground_px"] < WHOLE_FRAME * table["width"] * table["height"]).fillna(False)]
    columns = ["cell_id", "n_components", "width", "height", "box_x", "box_y", "box_w", "box_h"]
    for cell_id, n, width, height, x, y, w, h in cut_out[columns].itertuples(index=False):
        if n > 1:
            yield Fault(cell_id, "several components", f"{n} separate pieces")
        sides = {"left": x == 0, "top": y == 0, "right": x + w == width, "bottom": y + h == height}
        touched = [side for side, touches in sides.items() if touches]
        if touched:
            yield Fault(cell_id, "touches the border", ", ".join(touched))


def _two_classes(table: pd.DataFrame) -> Iterator[Fault]:
    named = table[table["subject"].notna()]
    labels = named.groupby("subject")["label"].agg(lambda label: ", ".join(sorted(set(label))))
    for cell_id, subject in zip(named["cell_id"], named["subject"], strict=True):
        if ", " in labels[subject]:
            yield Fault(cell_id, "subject in two classes", f"{subject}: {labels[subject]}")


def _contradictions(table: pd.DataFrame, copies: pd.DataFrame) -> Iterator[Fault]:
    label = dict(zip(table["cell_id"], table["label"], strict=True))
    for a, b in zip(copies["a"], copies["b"], strict=True):
        if label[a] != label[b]:
            yield Fault(a, "contradicting copies", f"{label[a]}, its copy {b} is {label[b]}")
            yield Fault(b, "contradicting copies", f"{label[b]}, its copy {a} is {label[a]}")


def part_names(table: pd.DataFrame) -> pd.Series[str]:
    """The part of the data set that each cell belongs to: fold_0, prelim, train, or `all` where nothing is known."""
    folds = table["official_fold"].astype("Int64").astype(object)
    named = [
        part if part == "prelim" else f"fold_{fold}" if not pd.isna(fold) else "all" if part is None else part
        for part, fold in zip(table["official_part"], folds, strict=True)
    ]
    return pd.Series(named, index=table.index, dtype=object)


def inventory(
    table: pd.DataFrame, expected: Mapping[tuple[str, str], tuple[int, int]]
) -> list[dict[str, Any]]:
    """Cells and subjects by source, part and class, beside those `expected` by part and class, where they are known."""
    keys = zip(table["source"].fillna(""), part_names(table), table["label"], strict=True)
    subjects: defaultdict[tuple[str, str, str], list[str | None]] = defaultdict(list)
    for key, subject in zip(keys, table["subject"], strict=True):
        subjects[key].append(subject)
    rows = []
    for source, part, label in sorted(set(subjects) | {("", *key) for key in expected}):
        members = subjects[source, part, label]
        known = expected.get((part, label))
        rows.append(
            {
                "part": f"{source}: {part}" if source else part,
                "label": label,
                "cells": len(members),
                "subjects": len(set(members) - {None}),
                "expected_cells": None if known is None else known[0],
                "expected_subjects": None if known is None else known[1],
            }
        )
    return rows


def crossings(copies: pd.DataFrame, table: pd.DataFrame) -> list[dict[str, Any]]:
    """The pairs of copies with what they cross: subject, fold, part, class, source."""
    about = table.set_index("cell_id")
    crossed = {
        "subject": about["subject"],
        "fold": about["official_fold"].astype(object),
        "part": about["official_part"],
        "class": about["label"],
        "source": about["source"],
    }
    values = {
        what: dict(zip(about.index, column.where(column.notna(), None), strict=True))
        for what, column in crossed.items()
    }
    rows = zip(*(copies[name] for name in COPY_COLUMNS), strict=True)
    return [
        {
            "a": a,
            "b": b,
            "kind": kind,
            "distance": round(float(distance), 4),
            "crosses": [what for what, value in values.items() if value[a] != value[b]],
            "subject_a": values["subject"][a],
            "subject_b": values["subject"][b],
        }
        for a, b, kind, distance in rows
    ]
