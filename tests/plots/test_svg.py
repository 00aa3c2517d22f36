"""The renderer and the colours of both themes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path
from matplotlib.transforms import IdentityTransform
from svg_reading import points

from leukemia_lab.plots.counts import TINT
from leukemia_lab.plots.svg import CLASSES, INK, drawn, path_data, stylesheet


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    channels = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def tinted(colour: str, paper: str) -> str:
    parts = [[int(given[at : at + 2], 16) for at in (1, 3, 5)] for given in (colour, paper)]
    mixed = np.rint(TINT * np.array(parts[0]) + (1 - TINT) * np.array(parts[1])).astype(int)
    return "#" + "".join(f"{part:02x}" for part in mixed)


def themes() -> list[dict[str, str]]:
    blocks = re.findall(r":root[^{]*\{([^}]*)\}", stylesheet())
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks]


def test_both_ways_to_dark_are_one() -> None:
    light, system, chosen = themes()
    assert system == chosen
    assert light.keys() == system.keys()
    assert len(light) == 12


@pytest.mark.parametrize("theme", [0, 1])
def test_contrast_is_enough(theme: int) -> None:
    colours = themes()[theme]
    paper = colours["plot-paper"]
    for name, colour in colours.items():
        if name.startswith("series"):
            assert contrast(colour, paper) >= 3, name
            assert contrast(colours["plot-ink"], tinted(colour, paper)) >= 4.5, name
    assert contrast(colours["plot-ink"], paper) >= 7
    assert contrast(colours["plot-quiet"], paper) >= 4.5


def test_every_colour_has_its_two_rules() -> None:
    for name in CLASSES.values():
        assert f".plot .f{name} {{ fill:" in stylesheet()
        assert f".plot .s{name} {{ stroke:" in stylesheet()


def test_a_colour_that_no_theme_knows_is_refused() -> None:
    figure = Figure(facecolor="none")
    figure.add_artist(Line2D([0, 1], [0, 1], color="red"))
    with pytest.raises(ValueError, match="#ff0000 is no colour of the theme"):
        drawn(figure, "a", "alt")


@pytest.mark.parametrize("n_points", [2, 20, 2000])
def test_a_path_read_back_is_the_path(n_points: int) -> None:
    random = np.random.default_rng(n_points)
    given = np.cumsum(random.normal(size=(n_points, 2)), axis=0) + 200
    data = path_data(Path(given), IdentityTransform())
    [read] = points(data)
    assert read[[0, -1]] == pytest.approx(given[[0, -1]], abs=0.051)
    if n_points == 20:
        assert read == pytest.approx(given, abs=0.051)
    assert len(read) <= n_points


def test_values_that_are_not_finite_are_gaps() -> None:
    x = np.arange(9.0)
    y = np.where(x == 4, np.nan, x)
    pieces = points(path_data(Path(np.c_[x, y]), IdentityTransform()))
    assert [len(piece) for piece in pieces] == [4, 4]


def test_neighbours_of_one_look_share_an_element() -> None:
    figure = Figure(facecolor="none")
    for at in range(5):
        figure.add_artist(Line2D([0, 1], [at / 5, at / 5], color=INK, linewidth=1.5))
    assert drawn(figure, "a", "alt").svg.count("<path") == 1
