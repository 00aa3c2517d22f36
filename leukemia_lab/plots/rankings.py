"""Plots of many runs: one metric with its intervals, differences of pairs, and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from leukemia_lab.errors import RunError
from leukemia_lab.plots.canvas import (
    Floats,
    Margins,
    Panel,
    Sample,
    Scale,
    blank,
    counted,
    in_style,
    key_above,
    nothing,
    number,
    numbers,
    shortened,
)
from leukemia_lab.plots.svg import CHARACTER_WIDTH, INK, QUIET, SERIES, Plot, drawn

ROW = 15.0
NAME_CHARACTERS = 34
MOST_RUNS = 200
MOST_COMPARED = 30
WRITTEN = 10  # runs at most whose differences stand as numbers
TINT, STEPS = 0.4, 4
MOST_GROUPS = 12  # beside a comparison
BETTER, WORSE = SERIES[0], SERIES[1]


class Ranked(NamedTuple):
    """A run in a ranking: the value of a metric, its interval where known, and the stamps of the run."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    stamps: Sequence[str] = ()


@in_style
def forest(
    rows: Sequence[Ranked], metric: str, *, ident: str, title: str, chance: float | None = None
) -> Plot:
    """The value and interval of `metric`, one run a line in the order given; stamped runs have a diamond.

    At most 200 runs are drawn, the first; the alternative text says so. A run without a value is named alone.
    """
    shown = rows[:MOST_RUNS]
    ends = [
        end for row in shown for end in (row.value, row.low, row.high) if end is not None and np.isfinite(end)
    ]
    if not ends:
        return nothing(ident, title, f"no run has a value of {metric}")
    left = 14 + CHARACTER_WIDTH * 9 * max(len(shortened(row.name, NAME_CHARACTERS)) for row in shown)
    figure = blank(440, 62 + ROW * len(shown))
    labels = [(float(at), shortened(row.name, NAME_CHARACTERS)) for at, row in enumerate(shown)]
    low, high = min(ends), max(ends)
    room = max(0.04 * (high - low), 0.005)
    x = numbers(low - room, high + room, metric, 4)
    places = Margins(left, 44, 22, 36)
    panel = Panel(figure, places, x, Scale(len(shown) - 0.4, -0.6, labels, grid=False))
    if chance is not None and x.low <= chance <= x.high:
        panel.line([chance, chance], [0, 1], QUIET, linewidth=1, linestyle="--", on=panel.across)
    for stamped, look, colour in ((False, "o", SERIES[0]), (True, "D", SERIES[1])):
        of_kind = [
            (at, row) for at, row in enumerate(shown) if bool(row.stamps) is stamped and _known(row.value)
        ]
        whole = [(at, row) for at, row in of_kind if _known(row.low) and _known(row.high)]
        panel.segments([[row.low, row.high] for _, row in whole], [[at, at] for at, _ in whole], colour)
        panel.line(
            [row.value for _, row in of_kind], [at for at, _ in of_kind], colour, marker=look, linewidth=0
        )
    for at, row in enumerate(shown):
        panel.text(
            1 + 6 / panel.width, at, f"{row.value:.3f}" if _known(row.value) else "none", on=panel.along
        )
    kinds = {bool(row.stamps) for row in shown}
    if True in kinds:
        plain = [Sample("no stamp", SERIES[0], "-", "o")] if False in kinds else []
        key_above(panel, [*plain, Sample("stamped", SERIES[1], "-", "D")])
    return drawn(figure, ident, _forest_words(rows, metric, title))


@in_style
def comparison_matrix(
    names: Sequence[str],
    differences: Floats,
    p_values: Floats,
    metric: str,
    *,
    ident: str,
    title: str,
    groups: Sequence[Sequence[int]] = (),
    level: float = 0.05,
    less_is_better: bool = False,
) -> Plot:
    """Differences of pairs of runs, row minus column: tinted with a sign where p is below `level`.

    Args:
        names: of the R runs, the best first.
        differences: [R, R] of the metric; NaN where a pair cannot be compared.
        p_values: [R, R], corrected for the number of pairs (Holm).
        metric: its name.
        ident: begins the ids of the plot; unique on its page.
        title: what the plot is of.
        groups: runs that cannot be told apart, as indices; each is a line of dots at the right.
        level: of significance.
        less_is_better: whether a row is the better one where its difference is negative.

    With up to ten runs the differences stand in the squares, in hundredths. Raises RunError where the shapes
    differ; of more than 30 runs the first 30 are drawn.
    """
    n_runs = len(names)
    _check_square(n_runs, differences, p_values)
    shown = min(n_runs, MOST_COMPARED)
    if shown < 2:
        return nothing(ident, title, "no comparison, as there are fewer than two runs")
    apart = np.isfinite(differences) & (p_values < level)
    np.fill_diagonal(apart, False)
    drawn_groups = [group for group in groups if sum(run < shown for run in group) > 1][:MOST_GROUPS]
    panel = _matrix_panel(names[:shown], len(drawn_groups))
    _differences(panel, differences[:shown, :shown], apart[:shown, :shown], less_is_better)
    for column, group in enumerate(drawn_groups):
        at = np.array([run for run in group if run < shown]) + 0.5
        panel.line(
            np.full(len(at), shown + 0.7 + 0.6 * column), at, INK, marker="o", markersize=4, linewidth=1
        )
    n_pairs = n_runs * (n_runs - 1) // 2
    n_apart = int(np.triu(apart, 1).sum())
    tail = f", {counted(len(groups), 'group')} of runs that cannot be told apart" if groups else ""
    of = f" (the first {shown} of {n_runs} runs drawn)" if shown < n_runs else ""
    alt = f"{title}: {n_apart} of {counted(n_pairs, 'pair')} differ in {metric} at p < {level:g}{tail}{of}."
    return drawn(panel.figure, ident, alt)


@in_style
def seeds(values: Mapping[str, Sequence[float]], metric: str, *, ident: str, title: str) -> Plot:
    """The metric of each seed as a dot, one line a set of runs that differ only in the seed; mean and SD.

    Values that are not finite are left out; a set of one seed has no SD.
    """
    known = {name: np.array([v for v in own if np.isfinite(v)], dtype=float) for name, own in values.items()}
    known = dict(list({name: own for name, own in known.items() if len(own)}.items())[:MOST_RUNS])
    if not known:
        return nothing(ident, title, f"no seed has a value of {metric}")
    every = np.concatenate(list(known.values()))
    room = max(0.05 * (every.max() - every.min()), 0.005)
    short = [shortened(name, NAME_CHARACTERS) for name in known]
    figure = blank(440, 62 + ROW * len(known))
    x = numbers(every.min() - room, every.max() + room, metric, 4)
    y = Scale(len(known) - 0.4, -0.6, list(enumerate(short)), grid=False)
    left = 14 + CHARACTER_WIDTH * 9 * max(map(len, short))
    panel = Panel(figure, Margins(left, 84, 22, 36), x, y)
    for row, own in enumerate(known.values()):
        spread = float(own.std(ddof=1)) if len(own) > 1 else 0.0
        panel.line(np.clip(own.mean() + spread * np.array([-1, 1]), x.low, x.high), [row, row], SERIES[0])
        panel.line(own, [row] * len(own), SERIES[0], marker="o", markersize=6, alpha=0.6, linewidth=0)
        panel.line([own.mean()], [row], INK, marker="|", markersize=11, linewidth=0)
        words = f"{own.mean():.3f}" + (f" ± {spread:.3f}" if len(own) > 1 else "")
        panel.text(1 + 6 / panel.width, row, words, on=panel.along)
    key_above(
        panel,
        [Sample("a seed", SERIES[0], "", "o"), Sample("mean", INK, "", "|"), Sample("± SD", SERIES[0], "-")],
    )
    return drawn(figure, ident, f"{title}: {_seeds_words(known, metric)}.")


def _check_square(n_runs: int, *matrices: Floats) -> None:
    for matrix in matrices:
        if matrix.shape != (n_runs, n_runs):
            wanted = f"[{n_runs}, {n_runs}]"
            raise RunError(f"{n_runs} runs have {wanted} differences and p-values; given is {matrix.shape}.")


def _known(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))


def _forest_words(rows: Sequence[Ranked], metric: str, title: str) -> str:
    ranked = [row for row in rows if _known(row.value)]
    values = np.array([row.value for row in ranked], dtype=float)
    best, worst = ranked[values.argmax()], ranked[values.argmin()]
    interval = (
        f" ({number(best.low)} to {number(best.high)})" if _known(best.low) and _known(best.high) else ""
    )
    stamped = sum(bool(row.stamps) for row in rows)
    cut = f", the first {MOST_RUNS} drawn" if len(rows) > MOST_RUNS else ""
    return (
        f"{title}: {metric} of {counted(len(rows), 'run')}{cut}, from {number(worst.value)} to {number(best.value)}"
        f"{interval} of {best.name}; {stamped} with stamps."
    )


def _seeds_words(known: Mapping[str, Floats], metric: str) -> str:
    facts = [
        f"{name} {own.mean():.3f} over {counted(len(own), 'seed')}" for name, own in list(known.items())[:5]
    ]
    more = f", and {len(known) - 5} more" if len(known) > 5 else ""
    return f"mean {metric} of {', '.join(facts)}{more}"


def _matrix_panel(names: Sequence[str], n_groups: int) -> Panel:
    n_runs = len(names)
    side = 34.0 if n_runs <= WRITTEN else 14.0
    short = [f"{shortened(name, NAME_CHARACTERS)}  {row + 1}" for row, name in enumerate(names)]
    left = 12 + CHARACTER_WIDTH * 9 * max(map(len, short))
    across = n_runs + (0.6 * n_groups + 0.7 if n_groups else 0.0)
    figure = blank(left + side * across + 6, side * n_runs + 30)
    x = Scale(0, across, [(run + 0.5, f"{run + 1}") for run in range(n_runs)], grid=False)
    y = Scale(n_runs, 0, [(run + 0.5, name) for run, name in enumerate(short)], grid=False)
    return Panel(figure, Margins(left, 6, 6, 24), x, y)


def _differences(
    panel: Panel, differences: Floats, apart: npt.NDArray[np.bool_], less_is_better: bool
) -> None:
    """Squares in two colours by sign, their tint by size; a sign in each, or the difference in hundredths."""
    n_runs = len(differences)
    written = n_runs <= WRITTEN
    panel.boxes(0, n_runs, 0, n_runs, QUIET, alpha=0.08)
    largest = float(np.abs(differences[apart]).max()) if apart.any() else 1.0
    steps = np.ceil(np.nan_to_num(np.abs(differences)) / max(largest, 1e-12) * STEPS).clip(1, STEPS)
    colours = (WORSE, BETTER) if less_is_better else (BETTER, WORSE)
    for colour, side in zip(colours, (differences > 0, differences < 0), strict=True):
        for step in range(1, STEPS + 1):
            row, column = np.nonzero(apart & side & (steps == step))
            if len(row):
                panel.boxes(column, column + 1, row, row + 1, colour, alpha=TINT * step / STEPS)
    if not written:
        for side, sign in ((differences > 0, "+"), (differences < 0, "_")):
            row, column = np.nonzero(apart & side)
            panel.line(
                column + 0.5, row + 0.5, INK, marker=sign, markersize=5, markeredgewidth=1, linewidth=0
            )
        return
    for row, column in zip(*np.nonzero(np.isfinite(differences)), strict=True):
        if row != column:
            words = f"{100 * differences[row, column]:+.1f}".replace("-", "−")
            words = "0.0" if words[1:] == "0.0" else words  # what rounds to nothing has no sign
            weight = "bold" if apart[row, column] else "normal"
            panel.text(column + 0.5, row + 0.5, words, ha="center", weight=weight)
