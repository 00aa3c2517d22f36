from __future__ import annotations

import re

from svg_reading import tree

from leukemia_lab.plots.canvas import SMALL
from leukemia_lab.plots.claims import ClaimedRow, Estimate, claimed_and_ours
from leukemia_lab.plots.svg import CHARACTER_WIDTH

ROWS = [
    ClaimedRow("KNN", 0.912, [Estimate(0.74, 0.7, 0.78), Estimate(0.7, 0.5, 0.82)]),
    ClaimedRow("a model with a long name of many words", None, [Estimate(None), Estimate(0.8)]),
]


def test_every_row_is_in_the_words_and_every_value_is_a_mark() -> None:
    plot = claimed_and_ours(ROWS, ["random", "subjects"], "accuracy", ident="p", title="Accuracy")
    assert "KNN claimed 0.912, random 0.740, subjects 0.700" in plot.alt
    assert "no claim, random none, subjects 0.800" in plot.alt
    assert plot.svg.count("a model") == 2  # the words, the label
    segments = re.findall(r'class="s[12]"[^>]* d="([^"]+)"', plot.svg)
    assert sum(path.count("M") for path in segments) >= 2  # two intervals


def test_without_any_value_it_says_so() -> None:
    plot = claimed_and_ours([ClaimedRow("x", None, [Estimate(None)])], ["a"], "f1", ident="p", title="F1")
    assert "no row has a value of f1" in plot.alt


def test_the_key_of_many_arms_with_long_names_stays_inside() -> None:
    arms = [f"subjects in folds, in the {k}th way of all" for k in range(4)]
    plot = claimed_and_ours([ClaimedRow("x", 0.9, [Estimate(0.8)] * 4)], arms, "f1", ident="p", title="F1")
    width = float(tree(plot).attrib["viewBox"].split()[2])
    [last] = [text for text in tree(plot).iter("text") if text.text == arms[-1]]
    assert float(last.attrib["x"]) + len(arms[-1]) * CHARACTER_WIDTH * SMALL < width
