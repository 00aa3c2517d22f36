"""What each stamp of a result means, in words that a checklist and a page share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Meaning(NamedTuple):
    """How grave a stamp is, `act` (may change the conclusion) or `know`, and what it means for a number."""

    level: str
    text: str


MEANINGS = {  # by what a stamp begins with
    "SYNTHETIC": Meaning(
        "act", "the cells are drawn by a program: the results say nothing of how a model does on patients"
    ),
    "LEAKY": Meaning(
        "act",
        "cells of one subject are on both sides of the split, so that a model may know a patient again: the values "
        "are too good, by an amount that nobody knows, and are no performance to quote",
    ),
    "NO SUBJECTS": Meaning(
        "act",
        "the data name no subjects: the split may part a patient's cells, and there are no intervals by subject",
    ),
    "TWINS IGNORED": Meaning(
        "act", "names of subjects that share cells were not merged: copies may be in more than one part"
    ),
    "PERMUTED LABELS": Meaning(
        "act",
        "the labels were permuted across subjects, a negative control: whatever is better than chance here is a fault "
        "of the method or luck, and no value says how well classes are told apart",
    ),
    "TEST SEEN": Meaning(
        "know",
        "the test part was opened more than once: every look that leads to a choice makes its values optimistic",
    ),
    "DIHEDRAL AVERAGING": Meaning(
        "know", "the probabilities are means over the eight flips and turns of each cell"
    ),
}
UNKNOWN = Meaning("act", "the results bear this stamp")
OF_DATA = ("SYNTHETIC", "NO SUBJECTS")
OF_SPLIT = ("LEAKY", "NO SUBJECTS", "TWINS IGNORED")
OF_LABELS = ("PERMUTED LABELS",)
OF_TEST = ("TEST SEEN",)
OF_PREDICTION = ("DIHEDRAL AVERAGING",)


def known(stamp: str) -> Meaning | None:
    """The meaning of a stamp: `TEST SEEN 2 TIMES` is a `TEST SEEN`; None where it is not known here."""
    return next((found for name, found in MEANINGS.items() if stamp.startswith(name)), None)


def meaning(stamp: str) -> str:
    """`[LEAKY] cells of one subject …`; a stamp that is not known here stands alone."""
    found = known(stamp)
    return f"[{stamp}]" if found is None else f"[{stamp}] {found.text}"


def chosen(stamps: Sequence[str], names: Sequence[str]) -> list[str]:
    """Those of `stamps` that begin with one of `names`: `TEST SEEN 2 TIMES` is a `TEST SEEN`."""
    return [stamp for stamp in stamps if stamp.startswith(tuple(names))]
