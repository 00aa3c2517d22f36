"""The plot of what leakage costs, and any plot as a file of its own."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from plot_samples import every_plot, price
from svg_reading import paths, texts

from leukemia_lab.plots import gallery as plots

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (price("net", 0.93, 0.9, 0.85), ["+0.080 too good", "random − merged, +0.050 to +0.110"]),
        (
            price("net", 0.75, 0.7, 0.76, p_holm=0.4),
            ["−0.010 no gap shown", "random − merged, −0.040 to +0.020"],
        ),
        (price("net", 0.75, 0.7, 0.85), ["−0.100 too low", "random − merged, −0.130 to −0.070"]),
        (price("net", 0.8, 0.7, 0.8, spread=None), ["0.000 by these cells", "random − merged, no interval"]),
        (price("net", 0.8, 0.7), ["no gap: an arm is missing"]),
    ],
)
def test_the_gap_stands_in_words_beside_its_model(given: object, expected: list[str]) -> None:
    plot = plots.leakage_price([given], ident="l", title="Leakage")  # type: ignore[list-item]
    words = texts(plot)
    assert [word for word in words if word in expected] == expected
    assert "net" in words
    if "0.0" in expected[0]:
        assert expected[0].split(" ", 1)[1] in plot.alt


def test_each_arm_stands_at_its_value_below_the_other() -> None:
    plot = plots.leakage_price([price("net", 0.9, 0.8, 0.7)], ident="l", title="Leakage")
    # the first line of a colour is the interval, whose middle is the value here
    middles = [paths(plot, f"s{colour}")[0][0].mean(axis=0) for colour in (2, 3, 1)]
    assert middles[0][0] > middles[1][0] > middles[2][0]
    assert middles[0][1] < middles[1][1] < middles[2][1]
    assert middles[0][0] - middles[1][0] == pytest.approx(middles[1][0] - middles[2][0], abs=0.2)


def test_no_model_has_a_plot_that_says_so() -> None:
    assert texts(plots.leakage_price([], ident="l", title="Leakage")) == ["no model has an AUROC in any arm"]


@pytest.mark.parametrize("name", ["leakage", "roc", "matrix"])
def test_a_plot_as_a_file_needs_no_page_around_it(name: str) -> None:
    plot = every_plot("a")[name]
    text = plots.standalone(plot)
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    size = [float(root.attrib[key]) for key in ("width", "height")]
    assert size == [1.25 * float(end) for end in root.attrib["viewBox"].split()[2:]]
    [title], [style] = root.iter(f"{SVG}title"), root.iter(f"{SVG}style")
    assert title.text == plot.alt
    assert style.text is not None
    assert set(re.findall(r"var\(--([\w-]+)\)", style.text)) == {"w"}  # which stands on the element
    assert "prefers-color-scheme" not in style.text
    assert ".fpaper { fill: #ffffff; }" in style.text
    paper = next(root.iter(f"{SVG}path"))
    assert paper.attrib["class"] == "fpaper"
    drawn = [element for element in root.iter() if element.tag.endswith(("path", "text"))]
    assert len(drawn) == 1 + plot.svg.count("<path") + plot.svg.count("<text")
