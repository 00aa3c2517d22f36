"""What a paper claims beside what its models give here, one model a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from leukemia_lab.plots.canvas import (
    Margins,
    Panel,
    Sample,
    Scale,
    blank,
    in_style,
    key_above,
    nothing,
    numbers,
    shortened,
    width_above,
)
from leukemia_lab.plots.svg import CHARACTER_WIDTH, INK, SERIES, Plot, drawn

ROW, PANEL = 40.0, 300.0  # units of the drawing: a model's height, the axis
NAME_CHARACTERS = 24
CLAIM_AT, FIRST_AT, LAST_AT = -0.3, -0.02, 0.28  # places in a row
MARKERS = ("D", "o", "s", "^")


class Estimate(NamedTuple):
    """A value with its interval, as far as they are known."""

    value: float | None
    low: float | None = None
    high: float | None = None


class ClaimedRow(NamedTuple):
    """A model: the value claimed for it, and ours under each arm in their order."""

    name: str
    claimed: float | None
    ours: Sequence[Estimate]


@in_style
def claimed_and_ours(
    rows: Sequence[ClaimedRow], arms: Sequence[str], metric: str, *, ident: str, title: str
) -> Plot:
    """The claimed value of `metric` as a cross, ours under each of the `arms` with its interval below it."""
    ends = [end for row in rows for own in row.ours for end in own if end is not None]
    ends += [row.claimed for row in rows if row.claimed is not None]
    if not ends:
        return nothing(ident, title, f"no row has a value of {metric}")
    names = [shortened(row.name, NAME_CHARACTERS) for row in rows]
    left = 14 + CHARACTER_WIDTH * 9 * max(map(len, names))
    key = [Sample("claimed", INK, "", "X")]
    looks = [(SERIES[(len(arms) - 1 - k) % len(SERIES)], MARKERS[k % len(MARKERS)]) for k in range(len(arms))]
    key += [Sample(arm, colour, "-", marker) for arm, (colour, marker) in zip(arms, looks, strict=True)]
    figure = blank(max(left + max(PANEL, width_above(key)) + 12, 470), 66 + ROW * len(rows))
    room = max(0.04 * (max(ends) - min(ends)), 0.005)
    x = numbers(min(ends) - room, min(max(ends) + room, 1.005), metric, 5)
    y = Scale(len(rows) - 0.45, -0.55, list(enumerate(names)), grid=False)
    panel = Panel(figure, Margins(left, 12, 26, 36), x, y)
    claimed = [(at + CLAIM_AT, row.claimed) for at, row in enumerate(rows) if row.claimed is not None]
    panel.line([value for _, value in claimed], [at for at, _ in claimed], INK, marker="X", linewidth=0)
    for number, (colour, marker) in enumerate(looks):
        place = FIRST_AT + (LAST_AT - FIRST_AT) * number / max(len(arms) - 1, 1)
        own = [(at + place, row.ours[number]) for at, row in enumerate(rows)]
        whole = [(at, found) for at, found in own if found.low is not None and found.high is not None]
        panel.segments([[found.low, found.high] for _, found in whole], [[at, at] for at, _ in whole], colour)
        known = [(at, found.value) for at, found in own if found.value is not None]
        panel.line([value for _, value in known], [at for at, _ in known], colour, marker=marker, linewidth=0)
    key_above(panel, key, lift=12)
    return drawn(figure, ident, f"{title}: {'; '.join(_words(row, arms) for row in rows)}.")


def _words(row: ClaimedRow, arms: Sequence[str]) -> str:
    claimed = "no claim" if row.claimed is None else f"claimed {row.claimed:.3f}"
    ours = [
        f"{arm} {'none' if own.value is None else f'{own.value:.3f}'}"
        for arm, own in zip(arms, row.ours, strict=True)
    ]
    return f"{row.name} {claimed}, {', '.join(ours)}"
