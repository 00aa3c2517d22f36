"""How much of each run fits into one page: everything of the best runs first, the text of all before any picture."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

MAX_BYTES = 8_000_000
PER_PICTURE = 400  # bytes of markup around one


class Detail(IntEnum):
    """What of a run is in the page: only its row, its text too, its plots too, its pictures too."""

    ROW = 0
    TEXT = 1
    PLOTS = 2
    PICTURES = 3


class Size(NamedTuple):
    """Bytes that a run's text, plots and pictures take."""

    text: int
    plots: int
    pictures: int


def allot(sizes: Sequence[Size], room: int) -> list[Detail]:
    """The detail of each run such that all together take at most `room` bytes; earlier runs come first.

    A run has plots only with its text and pictures only with its plots, and no run has a kind that an earlier one had
    no room for.
    """
    details = [Detail.ROW] * len(sizes)
    for detail, kind in ((Detail.TEXT, 0), (Detail.PLOTS, 1), (Detail.PICTURES, 2)):
        for at, size in enumerate(sizes):
            if details[at] != detail - 1 or size[kind] > room:
                break
            details[at] = detail
            room -= size[kind]
    return details


def lowered(details: Sequence[Detail]) -> list[Detail]:
    """The same with one kind less of the last run that has the most; for when an estimate was too low."""
    most = max(details)
    at = len(details) - 1 - list(reversed(details)).index(most)
    return [
        Detail(detail - 1) if place == at and detail > 0 else detail for place, detail in enumerate(details)
    ]


def encoded(n_bytes: int) -> int:
    """Bytes that a picture of `n_bytes` takes in a page, as base64 in its markup."""
    return 4 * -(-n_bytes // 3) + PER_PICTURE
