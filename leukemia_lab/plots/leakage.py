"""What leakage costs, at a glance: each model under three protocols, and how much too good the leaky one is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leukemia_lab.evaluation.leakage import ARMS, Arm, Gap, LeakagePrice
from leukemia_lab.evaluation.multiplicity import ALPHA
from leukemia_lab.plots.canvas import (
    Margins,
    Panel,
    Sample,
    Scale,
    blank,
    in_style,
    key_above,
    nothing,
    number,
    numbers,
    shortened,
)
from leukemia_lab.plots.svg import CHARACTER_WIDTH, QUIET, SERIES, Plot, drawn

ROW, PANEL, WORDS = (
    46.0,
    250.0,
    190.0,
)  # units of the drawing: a model's height, the axis, the words at the right
NAME_CHARACTERS = 24
LOOKS: dict[Arm, tuple[float, str, str, str]] = {  # place in the row, colour, marker, words
    "random": (-0.24, SERIES[1], "D", "random cells (leaks)"),
    "apart": (0.0, SERIES[2], "s", "subjects, twins apart"),
    "merged": (0.24, SERIES[0], "o", "subjects, twins merged"),
}


@in_style
def leakage_price(prices: Sequence[LeakagePrice], *, ident: str, title: str) -> Plot:
    """AUROC and interval of each arm, three lines a model, and the gap random - merged in words beside them."""
    ends = [
        end
        for price in prices
        for arm in price.arms.values()
        for end in (arm.value, arm.low, arm.high)
        if end is not None
    ]
    if not ends:
        return nothing(ident, title, "no model has an AUROC in any arm")
    names = [shortened(price.model, NAME_CHARACTERS) for price in prices]
    left = 14 + CHARACTER_WIDTH * 9 * max(map(len, names))
    figure = blank(max(left + PANEL + WORDS, 470), 66 + ROW * len(prices))
    room = max(0.04 * (max(ends) - min(ends)), 0.005)
    x = numbers(min(ends) - room, min(max(ends) + room, 1.005), "AUROC within folds", 5)
    y = Scale(len(prices) - 0.45, -0.55, list(enumerate(names)), grid=False)
    panel = Panel(figure, Margins(left, WORDS, 26, 36), x, y)
    borders = np.arange(1, len(prices)) - 0.5
    panel.segments(
        [[0, 1]] * len(borders), np.stack([borders] * 2, axis=1), QUIET, on=panel.along, linewidth=0.5
    )
    if x.low <= 0.5 <= x.high:
        panel.line([0.5, 0.5], [0, 1], QUIET, linewidth=1, linestyle="--", on=panel.across)
    for arm in ARMS:
        _arm(panel, prices, arm)
    for row, price in enumerate(prices):
        _words(panel, row, price)
    key_above(
        panel, [Sample(words, colour, "-", marker) for _, colour, marker, words in LOOKS.values()], lift=12
    )
    return drawn(figure, ident, f"{title}: {'; '.join(map(_sentence, prices))}.")


def _arm(panel: Panel, prices: Sequence[LeakagePrice], arm: Arm) -> None:
    """The values and intervals of one arm, a line in each model's row."""
    place, colour, marker, _ = LOOKS[arm]
    found = [(row + place, price.arms[arm]) for row, price in enumerate(prices) if arm in price.arms]
    whole = [(at, own) for at, own in found if own.low is not None and own.high is not None]
    panel.segments([[own.low, own.high] for _, own in whole], [[at, at] for at, _ in whole], colour)
    known = [(at, own) for at, own in found if own.value is not None]
    panel.line([own.value for _, own in known], [at for at, _ in known], colour, marker=marker, linewidth=0)


def _words(panel: Panel, row: int, price: LeakagePrice) -> None:
    """The gap between the leaky and the honest arm, with the interval that the verdict is by: Holm's."""
    gap = price.gaps.get(("random", "merged"))
    after = 1 + 10 / panel.width
    if gap is None or gap.value is None:
        panel.text(after, row, "no gap: an arm is missing", on=panel.along, color=QUIET)
        return
    found, words = _verdict(gap)
    interval = (
        "no interval" if gap.low_holm is None else f"{_signed(gap.low_holm)} to {_signed(gap.high_holm)}"
    )
    weight = "bold" if found else "normal"
    panel.text(after, row - 0.13, f"{_signed(gap.value)} {words}", on=panel.along, weight=weight, size=11.0)
    panel.text(after, row + 0.2, f"random − merged, {interval}", on=panel.along, color=QUIET)


def _verdict(gap: Gap) -> tuple[bool, str]:
    """Whether the gap stands after Holm's correction, and what that says of the random split."""
    if gap.p_holm is None or gap.value is None:
        return False, "by these cells"
    if gap.p_holm >= ALPHA:
        return False, "no gap shown"
    return True, "too good" if gap.value > 0 else "too low"


def _signed(value: float | None) -> str:
    """`+0.083`, `−0.020`, and `0.000` of what rounds to nothing."""
    text = number(value) if value is None else f"{value:+.3f}".replace("-", "−")
    return text[1:] if text[1:] == "0.000" else text


def _sentence(price: LeakagePrice) -> str:
    arms = ", ".join(f"{arm} {number(own.value)}" for arm, own in price.arms.items())
    gap = price.gaps.get(("random", "merged"))
    if gap is None or gap.value is None:
        return f"{price.model} has AUROC {arms}"
    interval = (
        ""
        if gap.low_holm is None
        else f" ({_signed(gap.low_holm)} to {_signed(gap.high_holm)} with Holm's correction)"
    )
    return f"{price.model} has AUROC {arms}, random less merged {_signed(gap.value)}{interval}: {_verdict(gap)[1]}"
