"""What the plots share: empty axes in the style of the page, keys, ticks and words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple, ParamSpec

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Affine2D

from leukemia_lab.plots.svg import CHARACTER_WIDTH, FONT_SIZE, GRID, HALO, INK, QUIET, SERIES, Plot, drawn

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Given = ParamSpec("Given")

WIDTH = 400.0
SMALL = 9.0
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)))
STYLE: dict[Any, Any] = {
    "figure.facecolor": "none",
    "figure.edgecolor": "none",
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
    "font.size": FONT_SIZE,
    "lines.linewidth": 1.5,
    "lines.markersize": 5.0,
    "text.color": INK,
    "text.usetex": False,
    "text.parse_math": False,
}


class Margins(NamedTuple):
    """Room around axes, in units of the drawing."""

    left: float = 44.0
    right: float = 10.0
    top: float = 8.0
    bottom: float = 34.0


@contextmanager
def styled() -> Iterator[None]:
    """The style of the page, whatever the user's own matplotlibrc says."""
    with mpl.rc_context(STYLE):
        yield


def in_style(plot: Callable[Given, Plot]) -> Callable[Given, Plot]:
    """A plot function that draws in the style of the page."""

    @wraps(plot)
    def styled_plot(*args: Given.args, **kwargs: Given.kwargs) -> Plot:
        with styled():
            return plot(*args, **kwargs)

    return styled_plot


class Scale(NamedTuple):
    """An axis from `low` to `high` with ticks (place, words) and a name."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    name: str = ""
    grid: bool = True


def shares(name: str = "", at: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0)) -> Scale:
    """An axis from 0 to 1."""
    return Scale(-0.02, 1.02, [(tick, f"{tick:g}") for tick in at], name)


def numbers(low: float, high: float, name: str = "", most: int = 5, whole: bool = False) -> Scale:
    """An axis from `low` to `high` with about `most` round ticks, whole numbers only where asked for."""
    locator = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10], integer=whole)
    ticks = [tick for tick in np.asarray(locator.tick_values(low, high)).tolist() if low <= tick <= high]
    words = [f"{tick:,.0f}" if abs(tick) >= 1000 else f"{tick:.4g}" for tick in ticks]
    return Scale(
        low, high, [(tick, word.replace("-", "−")) for tick, word in zip(ticks, words, strict=True)], name
    )


def blank(width: float, height: float) -> Figure:
    """A figure without axes, in units of the drawing."""
    return Figure(figsize=(width / 72, height / 72), dpi=72)


class Panel:
    """Axes in a figure: a grid, labels, and marks in the units of the data.

    Matplotlib's own Axes take longer to make than all the marks of a plot to draw, so that the marks hang on
    the figure. `margins` reach from the edges of the figure, in units of the drawing.

    Attributes:
        data: transform of marks in units of both scales; `across` has y, and `along` x, as a share of the
            panel instead, and `inside` both.
        width, height: in units of the drawing.
    """

    def __init__(self, figure: Figure, margins: Margins, x: Scale, y: Scale) -> None:
        whole_width, whole_height = figure.get_size_inches() * 72
        self.figure = figure
        self.width = float(whole_width - margins.left - margins.right)
        self.height = float(whole_height - margins.top - margins.bottom)
        self._corner = margins.left, margins.bottom
        self.data = self._transform((x.low, x.high), (y.low, y.high))
        self.across = self._transform((x.low, x.high), (0, 1))
        self.along = self._transform((0, 1), (y.low, y.high))
        self.inside = self._transform((0, 1), (0, 1))
        self._frame(x, y)

    def line(self, x: Any, y: Any, colour: str, *, on: Affine2D | None = None, **style: Any) -> None:
        """A line, its markers, or both, as matplotlib's Line2D has them; NaN are gaps."""
        transform = self.data if on is None else on
        self.figure.add_artist(Line2D(x, y, color=colour, transform=transform, **style))

    def segments(self, x: Any, y: Any, colour: str, *, on: Affine2D | None = None, **style: Any) -> None:
        """Lines from x [n, 2] and y [n, 2]."""
        ends = [np.c_[np.asarray(at, dtype=float), np.full(len(at), np.nan)].ravel() for at in (x, y)]
        self.line(ends[0], ends[1], colour, on=on, **style)

    def text(self, x: float, y: float, words: str, *, on: Affine2D | None = None, **style: Any) -> None:
        """A line of text; centred upright unless told otherwise."""
        transform = self.data if on is None else on
        look: dict[str, Any] = {"va": "center", "size": SMALL} | style
        self.figure.add_artist(Text(x, y, words, transform=transform, **look))

    def boxes(
        self, left: Any, right: Any, low: Any, high: Any, colour: str, *, alpha: float | None = None
    ) -> None:
        """Filled rectangles, all in one; each edge a number or [n]. `alpha` is of the fill."""
        left, right, low, high = np.broadcast_arrays(
            *(np.atleast_1d(edge) for edge in (left, right, low, high))
        )
        corners = np.stack(
            [np.c_[left, low], np.c_[right, low], np.c_[right, high], np.c_[left, high]], axis=1
        )
        vertices = np.concatenate([corners, corners[:, :1]], axis=1).reshape(-1, 2)
        codes = np.tile([Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY], len(left))
        self.shape(Path(vertices, codes), colour, alpha)

    def shape(self, path: Path, colour: str, alpha: float | None = None) -> None:
        """A filled path."""
        face = to_rgba(colour, alpha)
        self.figure.add_artist(
            PathPatch(path, facecolor=face, edgecolor="none", linewidth=0, transform=self.data)
        )

    def _transform(self, x: tuple[float, float], y: tuple[float, float]) -> Affine2D:
        scales = self.width / (x[1] - x[0]), self.height / (y[1] - y[0])
        return Affine2D().translate(-x[0], -y[0]).scale(*scales).translate(*self._corner)

    def _frame(self, x: Scale, y: Scale) -> None:
        if x.grid and x.ticks:
            at = [[tick, tick] for tick, _ in x.ticks]
            self.segments(at, [[0, 1]] * len(at), GRID, on=self.across, linewidth=0.8, zorder=0.5)
        if y.grid and y.ticks:
            at = [[tick, tick] for tick, _ in y.ticks]
            self.segments([[0, 1]] * len(at), at, GRID, on=self.along, linewidth=0.8, zorder=0.5)
        for tick, words in x.ticks:
            self.text(tick, -6 / self.height, words, on=self.across, ha="center", va="top")
        for tick, words in y.ticks:
            self.text(-6 / self.width, tick, words, on=self.along, ha="right")
        if x.name:
            below = -20 if x.ticks else -8
            self.text(0.5, below / self.height, x.name, on=self.inside, ha="center", va="top", size=FONT_SIZE)
        if y.name:
            turned = {"rotation": 90, "rotation_mode": "anchor", "size": FONT_SIZE}
            longest = max((len(words) for _, words in y.ticks), default=0) * CHARACTER_WIDTH * SMALL
            self.text(-(15 + longest) / self.width, 0.5, y.name, on=self.inside, ha="center", **turned)


def nothing(ident: str, title: str, why: str) -> Plot:
    """A small plot that says why there is none."""
    figure = blank(WIDTH, 60)
    figure.text(0.5, 0.5, why, ha="center", va="center", color=QUIET)
    return drawn(figure, ident, f"{title}: {why}.")


class Sample(NamedTuple):
    """A line of a key: words beside a piece of line, a marker, or both."""

    words: str
    colour: str
    line: Any = "-"
    marker: str = ""


def key(panel: Panel, samples: Sequence[Sample], corner: str = "lower right") -> None:
    """What the marks mean, one a line, in a corner of the panel, or at its right (`outside`)."""
    step, longest = 13.0, max(len(sample.words) for sample in samples) * CHARACTER_WIDTH * SMALL
    x = 8.0 if "left" in corner else panel.width + (8 if corner == "outside" else -longest - 30)
    for row, sample in enumerate(samples):
        y = 9 + step * (len(samples) - 1 - row)
        _sample(panel, sample, x, y if "lower" in corner else panel.height - 9 - step * row)


def key_above(panel: Panel, samples: Sequence[Sample], lift: float = 8.0) -> None:
    """What the marks mean, in one row above the panel."""
    for before, sample in enumerate(samples):
        _sample(panel, sample, width_above(samples[:before]), panel.height + lift)


def width_above(samples: Sequence[Sample]) -> float:
    """What `key_above` needs for them, in units of the drawing."""
    return sum(
        (36 if sample.line or sample.marker else 13) + CHARACTER_WIDTH * SMALL * len(sample.words)
        for sample in samples
    )


def _sample(panel: Panel, sample: Sample, x: float, y: float) -> None:
    across, up = 1 / panel.width, y / panel.height
    if sample.line:
        panel.line(
            [x * across, (x + 18) * across], [up, up], sample.colour, linestyle=sample.line, on=panel.inside
        )
    if sample.marker:
        panel.line(
            [(x + 9) * across], [up], sample.colour, marker=sample.marker, linewidth=0, on=panel.inside
        )
    start = x + 23 if sample.line or sample.marker else x
    panel.text(start * across, up, sample.words, on=panel.inside, gid=HALO)


def shortened(name: str, characters: int) -> str:
    """A name of at most so many characters: its middle gives way, as names of runs differ at both ends."""
    if len(name) <= characters:
        return name
    tail = (characters - 1) // 2
    return f"{name[: characters - 1 - tail]}…{name[len(name) - tail :]}"


def number(value: float | None, digits: int = 3) -> str:
    """A value in words of an alternative text."""
    return "undefined" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def counted(n: int, noun: str) -> str:
    """`1 cell`, `1,234 cells`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def series(index: int) -> str:
    """The colour of the class or model of this index."""
    return SERIES[index % len(SERIES)]


def marker(index: int) -> str:
    """The marker of the class or model of this index."""
    return MARKERS[index % len(MARKERS)]


def dash(index: int) -> Any:
    """The line style of the class or model of this index."""
    return DASHES[index % len(DASHES)]
