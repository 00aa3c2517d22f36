"""Matplotlib figures as lean inline SVG whose colours follow the theme of the page.

Matplotlib's own SVG backend writes fixed colours, styles on every mark and ids that collide on a page of many
plots. The renderer here writes the same drawing calls as classes of `plots.css` and short relative paths.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt
from matplotlib.backend_bases import GraphicsContextBase, RendererBase
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, Transform

from leukemia_lab.errors import RunError

# Placeholders that are drawn with; the renderer knows a theme's colour by them and refuses any other.
INK, QUIET, GRID, PAPER = "#010101", "#020202", "#030303", "#040404"
SERIES = tuple(f"#0505{number:02x}" for number in range(1, 9))
CLASSES = {INK: "ink", QUIET: "quiet", GRID: "grid", PAPER: "paper"} | {
    colour: f"{number}" for number, colour in enumerate(SERIES, 1)
}

WIDTH_BY_DEFAULT, FONT_SIZE = 1.5, 11.0  # as in plots.css
TOLERANCE = 0.4  # units of the drawing: what cannot be seen at 400 px
FEW_POINTS = 24  # a path of no more is left as it is
# Of the font size. The page's font is unknown, so that text is placed by these and not by one font's metrics.
CHARACTER_WIDTH, TEXT_HEIGHT, TEXT_DESCENT = 0.6, 0.94, 0.11
HALO = "halo"  # as the gid of a text that stands on marks
ANCHORS = {"center": "m", "right": "e"}
INVISIBLE_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Floats = npt.NDArray[np.float64]


class Plot(NamedTuple):
    """An `<svg>` element to stand in a page beside `stylesheet()`, and a sentence that says what it shows."""

    svg: str
    alt: str


@lru_cache(maxsize=1)
def stylesheet() -> str:
    """The CSS that the plots need, once a page: colours for light, dark and print."""
    return files("leukemia_lab.plots").joinpath("plots.css").read_text(encoding="utf-8")


def drawn(figure: Figure, ident: str, alt: str) -> Plot:
    """The figure as a `Plot`; its size in inches times 72 is the size of its viewBox.

    `ident` begins the id within, so that it must differ from plot to plot on a page. Raises RunError where
    it is no name (letters, digits, - and _, a letter first), and ValueError where a colour is no placeholder.
    """
    if re.fullmatch(r"[A-Za-z][\w-]*", ident, re.ASCII) is None:
        raise RunError(
            f"{ident!r} cannot begin an id of a plot: use letters, digits, - and _, a letter first."
        )
    width, height = (figure.get_size_inches() * 72).round().astype(int)
    figure.set_dpi(72)
    renderer = ThemeRenderer(width, height)
    figure.draw(renderer)
    named = f'role="img" aria-labelledby="{ident}-t"><title id="{ident}-t">{_text(alt)}</title>'
    head = f'<svg class="plot" viewBox="0 0 {width} {height}" style="--w:{width}" {named}'
    return Plot(f"{head}{renderer.content()}</svg>", alt)


class ThemeRenderer(RendererBase):
    """Matplotlib's drawing calls as `<path>` and `<text>` with classes; neighbours of one style share a path."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__()
        self.width, self.height = width, height
        self._marks: list[tuple[str, str]] = []  # attributes and path data; for text, "" and the element

    def content(self) -> str:
        """All that was drawn, first to last."""
        return "".join(f'<path{style} d="{data}"/>' if style else data for style, data in self._marks)

    def draw_path(
        self,
        gc: GraphicsContextBase,
        path: Path,
        transform: Transform,
        rgbFace: Any = None,  # noqa: N803
    ) -> None:
        """One path, thinned to what can be seen; its points that are not finite are gaps."""
        style = self._style(gc, rgbFace)
        data = path_data(path, transform + self._flip()) if style else ""
        if data:
            self._add(style, data)

    def draw_markers(
        self,
        gc: GraphicsContextBase,
        marker_path: Path,
        marker_trans: Transform,
        path: Path,
        trans: Transform,
        rgbFace: Any = None,  # noqa: N803
    ) -> None:
        """The same mark at each finite point of `path`, all in one element."""
        style = self._style(gc, rgbFace)
        if not style:
            return
        points = (trans + self._flip()).transform(path.vertices)
        mark = marker_trans + Affine2D().scale(1, -1)
        for x, y in points[np.isfinite(points).all(axis=1)]:
            self._add(style, path_data(marker_path, mark + Affine2D().translate(x, y)))

    def draw_text(
        self,
        gc: GraphicsContextBase,
        x: float,
        y: float,
        s: str,
        prop: FontProperties,
        angle: float,
        ismath: Any = False,
        mtext: Text | None = None,
    ) -> None:
        """One line of text in the font of the page, anchored where the drawing anchors it."""
        names = []
        if mtext is not None and (angle == 0 or mtext.get_rotation_mode() == "anchor"):
            anchor_x, anchor_y = mtext.get_transform().transform(mtext.get_unitless_position())
            turn = np.deg2rad(angle)
            up = np.array([np.sin(turn), np.cos(turn)])
            off = up @ [x - anchor_x, y - (self.height - anchor_y)]
            x, y = np.array([anchor_x, self.height - anchor_y]) + off * up
            aligned = mtext.get_horizontalalignment()
            names = [ANCHORS[aligned]] if aligned in ANCHORS else []
        names += ["h"] if mtext is not None and mtext.get_gid() == HALO else []
        colour = self._class_of(gc.get_rgb())
        names += [f"f{colour}"] if colour != "ink" else []
        size = prop.get_size_in_points()
        attributes = f' class="{" ".join(names)}"' if names else ""
        attributes += f' font-size="{size:g}"' if size != FONT_SIZE else ""
        attributes += ' font-weight="600"' if prop.get_weight() == "bold" else ""
        at = f"{_number(10 * x)} {_number(10 * y)}"
        where = (
            f' transform="translate({at})rotate({-angle:g})"'
            if angle
            else ' x="{}" y="{}"'.format(*at.split())
        )
        self._marks.append(("", f"<text{where}{attributes}>{_text(s)}</text>"))

    def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> tuple[float, float, float]:
        """Sizes of a line of text in a font that is not known."""
        size = prop.get_size_in_points()
        return CHARACTER_WIDTH * size * len(s), TEXT_HEIGHT * size, TEXT_DESCENT * size

    def get_canvas_width_height(self) -> tuple[float, float]:
        """In units of the drawing."""
        return self.width, self.height

    def flipy(self) -> bool:
        """SVG's y grows downwards."""
        return True

    def points_to_pixels(self, points: Any) -> Any:
        """A point is a unit of the drawing."""
        return points

    def _flip(self) -> Affine2D:
        return Affine2D().scale(1, -1).translate(0, self.height)

    def _add(self, style: str, data: str) -> None:
        if self._marks and self._marks[-1][0] == style:
            self._marks[-1] = (style, self._marks[-1][1] + data)
        else:
            self._marks.append((style, data))

    def _style(self, gc: GraphicsContextBase, face: Any) -> str:
        """Attributes of a path; empty where nothing of it could be seen."""
        width, edge = gc.get_linewidth(), gc.get_rgb()
        names, more = [], ""
        if face is not None and (len(face) < 4 or face[3] > 0):
            names.append(f"f{self._class_of(face)}")
            alpha = gc.get_alpha() if gc.get_forced_alpha() or len(face) < 4 else face[3]
            more += f' fill-opacity="{alpha:.2g}"' if alpha < 1 else ""
        if width > 0 and edge[3] > 0:
            names.append(f"s{self._class_of(edge)}")
            alpha = gc.get_alpha() if gc.get_forced_alpha() else edge[3]
            more += f' stroke-opacity="{alpha:.2g}"' if alpha < 1 else ""
            more += f' stroke-width="{width:.3g}"' if width != WIDTH_BY_DEFAULT else ""
            dashes = np.atleast_1d(np.asarray(gc.get_dashes()[1], dtype=object)).tolist()
            lengths = " ".join(f"{dash:.3g}" for dash in dashes if dash is not None)
            more += f' stroke-dasharray="{lengths}"' if lengths else ""
        return f' class="{" ".join(names)}"{more}' if names else ""

    @staticmethod
    def _class_of(colour: Any) -> str:
        placeholder = to_hex(colour)
        if placeholder not in CLASSES:
            raise ValueError(f"{placeholder} is no colour of the theme: draw with those of plots/svg.py.")
        return CLASSES[placeholder]


def path_data(path: Path, transform: Transform) -> str:
    """Path data with one decimal of `path` under `transform`: relative lines, arcs for circles."""
    if path.codes is not None and np.any(np.asarray(path.codes) == Path.CURVE4):
        return _circle(np.asarray(transform.transform(path.vertices)))
    pieces = []
    for piece, closed in _pieces(path, transform):
        thinned = _thinned(piece) if len(piece) > FEW_POINTS else piece
        pieces.append(_polyline(np.rint(thinned * 10).astype(int), closed))
    return "".join(pieces)


def _pieces(path: Path, transform: Transform) -> list[tuple[Floats, bool]]:
    """Unbroken lines of two points or more, and whether each returns to where it began."""
    points = np.asarray(transform.transform(path.vertices))
    codes = np.full(len(points), Path.LINETO) if path.codes is None else np.asarray(path.codes)
    closing = (codes == Path.CLOSEPOLY) | (codes == Path.STOP)
    gap = ~np.isfinite(points).all(axis=1) & ~closing
    starts = np.flatnonzero((codes == Path.MOVETO) | gap)
    found = []
    for piece, own, drawn_on in zip(
        *(np.split(array, starts) for array in (points, codes, ~gap & ~closing)), strict=True
    ):
        if drawn_on.sum() > 1:
            found.append((piece[drawn_on], bool((own == Path.CLOSEPOLY).any())))
    return found


def _thinned(points: Floats) -> Floats:
    """The same line within TOLERANCE, by matplotlib's own simplification."""
    line = Path(points)
    line.should_simplify, line.simplify_threshold = True, TOLERANCE
    simple = line.cleaned(simplify=True)
    kept: Floats = np.asarray(simple.vertices, dtype=float)[np.asarray(simple.codes) != Path.STOP]
    return kept


def _polyline(tenths: npt.NDArray[np.int_], closed: bool) -> str:
    x, y = tenths[0].tolist()
    data = [f"M{_number(x)} {_number(y)}"]
    last = ""
    for dx, dy in np.diff(tenths, axis=0).tolist():
        if dx and dy:
            step, name = f"{_number(dx)}{'' if dy < 0 else ' '}{_number(dy)}", "l"
        elif dx or dy:
            step, name = (_number(dx), "h") if dx else (_number(dy), "v")
        else:
            continue
        joint = name if name != last else "" if step[0] == "-" else " "
        data.append(joint + step)
        last = name
    if len(data) == 1:  # all its points fall together: a dot
        data.append("h.1")
    return "".join(data) + ("z" if closed else "")


def _circle(points: Floats) -> str:
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    radius, across = _number(5 * (right - left)), _number(10 * (right - left))
    return (
        f"M{_number(10 * left)} {_number(5 * (top + bottom))}"
        f"a{radius} {radius} 0 1 0 {across} 0a{radius} {radius} 0 1 0-{across} 0"
    )


def _number(tenths: float) -> str:
    """Tenths of a unit as the shortest decimal."""
    text = f"{round(tenths) / 10:g}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def _text(text: str) -> str:
    return escape(INVISIBLE_IN_XML.sub("\ufffd", text))
