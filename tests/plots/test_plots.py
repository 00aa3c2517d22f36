"""What every plot keeps to on a page, and that what is drawn is what was given."""

from __future__ import annotations

import re
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from plot_samples import (
    CLASSES,
    compared,
    every_plot,
    history,
    sample,
    subjects,
)
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve
from svg_reading import paths, points, texts, tree

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.metrics import expected_calibration_error
from leukemia_lab.plots import gallery as plots
from leukemia_lab.plots.gallery import Forecasts, Plot, Ranked
from leukemia_lab.plots.reliability import binned


@pytest.fixture(scope="module")
def page() -> dict[str, Plot]:
    return every_plot("a")


def test_each_plot_is_a_named_image_of_its_own_size(page: dict[str, Plot]) -> None:
    for name, plot in page.items():
        root = tree(plot)
        assert root.tag == "svg"
        assert root.attrib["role"] == "img"
        [named] = root.iter("title")
        assert (named.attrib["id"], named.text) == (root.attrib["aria-labelledby"], plot.alt)
        assert plot.alt.startswith(f"{name} of test")
        assert re.search(r"\d", plot.alt.removeprefix(f"{name} of test")), plot.alt
        assert plot.alt.endswith(".")
        assert "width" not in root.attrib


def test_ids_of_several_plots_do_not_collide(page: dict[str, Plot]) -> None:
    svgs = [plot.svg for plot in (*page.values(), *every_plot("b").values())]
    found = re.findall(r' id="([^"]+)"', "".join(svgs))
    assert len(found) == 2 * len(page) == len(set(found))
    assert "url(" not in "".join(svgs)
    assert "href" not in "".join(svgs)


def test_no_colour_is_fixed_and_every_class_has_a_rule(page: dict[str, Plot]) -> None:
    css = plots.stylesheet()
    for plot in page.values():
        bare = re.sub(r"<(title|text)\b[^>]*>[^<]*", "", plot.svg)
        assert not re.search(r"#[0-9a-f]{3}|rgb|(fill|stroke|color)\s*[:=]", bare), bare
        assert re.sub(r'style="--w:\d+"', "", bare).count("style") == 0
        for element in tree(plot).iter():
            for name in element.get("class", "plot").split():
                assert f".{name} " in css, name


def test_every_mark_lies_within_the_drawing(page: dict[str, Plot]) -> None:
    for name, plot in page.items():
        width, height = map(float, tree(plot).attrib["viewBox"].split()[2:])
        every = [points(path.attrib["d"]) for path in tree(plot).iter("path")]
        marks = np.concatenate([piece for pieces in every for piece in pieces])
        assert (marks >= -1).all(), name
        assert (marks <= [width + 1, height + 1]).all(), name


def test_plots_are_small(page: dict[str, Plot]) -> None:
    sizes = {name: len(plot.svg.encode()) for name, plot in page.items()}
    assert max(sizes.values()) < 7_000, sizes
    assert (
        sum(sizes[name] for name in ("roc", "pr", "reliability", "confusion", "curves", "subjects")) < 24_000
    )
    rows = [Ranked(f"efficientnet-{at:012x}", 1 - at / 400, 0.4, 1.0, ["LEAKY"]) for at in range(200)]
    assert len(plots.forest(rows, "auroc", ident="f", title="").svg) < 60_000
    assert len(plots.comparison_matrix(*compared(30), "auroc", ident="m", title="").svg) < 60_000


def test_the_same_data_give_the_same_plot_whatever_matplotlibrc_says(page: dict[str, Plot]) -> None:
    with mpl.rc_context(
        {"text.color": "red", "lines.linewidth": 9, "figure.facecolor": "blue", "font.size": 30}
    ):
        assert every_plot("a") == page


@pytest.mark.parametrize("n_cells", [12, 40, 3000])
def test_the_roc_and_pr_curves_are_those_of_scikit_learn(n_cells: int) -> None:
    truth, probs = sample(n_cells, seed=n_cells)
    positives, score = truth == 0, probs[:, 0]
    false_alarms, hits, _ = roc_curve(positives, score)
    plot = plots.roc(truth, probs, CLASSES, 0, ident="r", title="ROC")
    assert_drawn(plot, np.c_[false_alarms, hits])
    assert f"{roc_auc_score(positives, score):.3f}" in plot.alt
    precision, recall, _ = precision_recall_curve(positives, score)
    stairs = np.c_[np.repeat(recall, 2)[1:], np.repeat(precision, 2)[:-1]]
    assert_drawn(plots.precision_recall(truth, probs, CLASSES, 0, ident="p", title="PR"), stairs)


def assert_drawn(plot: Plot, curve: Any) -> None:
    """The line of the first series is `curve`, in the 216 by 218 units of the panel, to half a unit."""
    expected = np.c_[44 + 216 * (curve[:, 0] + 0.02) / 1.04, 226 - 218 * (curve[:, 1] + 0.02) / 1.04]
    [line] = [pieces[0] for pieces in paths(plot, "s1") if len(pieces[0]) > 2 or len(curve) < 3]
    assert distances(expected, line).max() < 0.6
    assert distances(line, expected).max() < 0.6


def distances(dots: Any, line: Any) -> Any:
    """From each dot to the nearest place on a line of segments."""
    start, along = line[:-1], np.diff(line, axis=0)
    length = np.maximum((along**2).sum(axis=1), 1e-12)
    share = (((dots[:, None] - start) * along).sum(axis=2) / length).clip(0, 1)
    return np.linalg.norm(dots[:, None] - start - share[..., None] * along, axis=2).min(axis=1)


def test_the_operating_point_is_where_the_threshold_is_reached() -> None:
    truth, probs = sample(200)
    threshold = float(np.sort(probs[:, 0])[80])
    plot = plots.roc(truth, probs, CLASSES, 0, ident="r", title="ROC", threshold=threshold)
    taken = probs[:, 0] >= threshold
    sensitivity, specificity = taken[truth == 0].mean(), (~taken)[truth == 1].mean()
    assert f"sensitivity {sensitivity:.3f}, specificity {specificity:.3f}" in plot.alt
    [[mark], *_] = paths(plot, "fink spaper")
    middle = (mark[0] + mark[1]) / 2
    wanted = 44 + 216 * (1.02 - specificity) / 1.04, 226 - 218 * (sensitivity + 0.02) / 1.04
    assert middle == pytest.approx(wanted, abs=0.15)


@pytest.mark.parametrize("seed", range(5))
def test_the_bins_of_the_diagram_are_those_of_the_printed_error(seed: int) -> None:
    random = np.random.default_rng(seed)
    said, happened = np.round(random.random(300), 2), random.random(300) < 0.6
    counts, mean_said, rate = binned(Forecasts(said, happened))
    error = np.nansum(counts * np.abs(rate - mean_said)) / counts.sum()
    assert error == pytest.approx(expected_calibration_error(happened, said), abs=1e-12)
    plot = plots.reliability(Forecasts(said, happened), ident="c", title="C")
    assert f"ECE {error:.3f}" in plot.alt


def test_each_subject_is_a_mark_whose_shape_tells_its_class() -> None:
    names, accuracy, n_cells, classes, class_names = subjects(30)
    plot = plots.subject_accuracy(names, accuracy, n_cells, classes, class_names, ident="s", title="S")
    marks = [path for path in tree(plot).iter("path") if path.get("class", "").startswith("f")]
    circles = sum(path.attrib["d"].count("M") for path in marks if "a" in path.attrib["d"])
    squares = sum(path.attrib["d"].count("M") for path in marks if "z" in path.attrib["d"])
    assert (circles, squares) == (1 + (classes == 0).sum(), 1 + (classes == 1).sum())  # one each in the key
    order = [names[at] for at in np.argsort(accuracy)]
    assert [text for text in texts(plot) if text in names] == order
    assert f"{order[0]} {accuracy.min():.2f}" in plot.alt


def test_more_subjects_than_have_room_are_said_to_be_cut() -> None:
    plot = plots.subject_accuracy(*subjects(120), ident="s", title="S")
    assert "120 subjects, the worst 80 drawn" in plot.alt
    assert f"mean {subjects(120)[1].mean():.3f}" in plot.alt


def test_a_confusion_matrix_says_its_counts_and_shares() -> None:
    matrix = np.array([[30, 10, 0], [5, 5, 10], [0, 0, 0]])
    plot = plots.confusion(matrix, ["A", "B", "C"], ident="c", title="C")
    assert {"30", "75.0%", "10", "25.0%", "50.0%", "0.0%"} <= set(texts(plot))
    assert "35 of 60 cells right: A 30 of 40, B 5 of 20" in plot.alt
    with pytest.raises(RunError, match=r"3 classes is square; its shape is \(2, 2\)"):
        plots.confusion(matrix[:2, :2], ["A", "B", "C"], ident="c", title="C")


def test_a_forest_has_a_line_a_run_and_marks_the_stamped() -> None:
    rows = [Ranked("good", 0.9, 0.8, 0.95), Ranked("leaky", 0.99, 0.98, 1.0, ["LEAKY"]), Ranked("none", None)]
    plot = plots.forest(rows, "auroc", ident="f", title="F")
    assert {"good", "leaky", "none", "0.900", "0.990", "stamped"} <= set(texts(plot))
    assert "3 runs, from 0.900 to 0.990 (0.980 to 1.000) of leaky; 1 with stamps" in plot.alt
    [line] = [piece for pieces in paths(plot, "s1") for piece in pieces][:1]
    assert line[:, 1] == pytest.approx(line[0, 1])
    spread = {row.name: (row.low, row.high) for row in rows}["good"]
    leaky = paths(plot, "s2")[0][0]
    assert np.ptp(line[:, 0]) / np.ptp(leaky[:, 0]) == pytest.approx((spread[1] - spread[0]) / 0.02, rel=0.05)


def test_a_matrix_counts_the_pairs_that_differ() -> None:
    names, differences, p_values = compared(6)
    plot = plots.comparison_matrix(
        names, differences, p_values, "auroc", ident="m", title="M", groups=[[0, 1]]
    )
    n_apart = (p_values[np.triu_indices(6, 1)] < 0.05).sum()
    assert f"{n_apart} of 15 pairs differ in auroc at p < 0.05, 1 group of runs" in plot.alt
    assert texts(plot).count("+7.0") == 5
    with pytest.raises(RunError, match=r"6 runs have \[6, 6\]"):
        plots.comparison_matrix(names, differences[:5], p_values, "auroc", ident="m", title="M")


def nothing_to_draw() -> list[Plot]:
    truth, probs = sample(20)
    none, end = np.zeros(0), {"ident": "x", "title": "T"}
    no_ints = np.zeros(0, dtype=int)
    return [
        plots.roc(np.zeros(20, dtype=int), probs, CLASSES, 0, **end),
        plots.roc(truth, np.full((20, 2), np.nan), CLASSES, 0, **end),
        plots.precision_recall(truth[:0], probs[:0], CLASSES, 0, **end),
        plots.reliability(Forecasts(none, none.astype(bool)), **end),
        plots.confusion(np.zeros((2, 2), dtype=int), CLASSES, **end),
        plots.training_curves({}, **end),
        plots.training_curves({"epoch": [0], "speed/images_per_second": [3.0]}, **end),
        plots.subject_accuracy([], none, no_ints, no_ints, CLASSES, **end),
        plots.subject_scatter(["a"], np.array([np.nan]), np.zeros(1), no_ints, no_ints, CLASSES, 0, **end),
        plots.forest([Ranked("a", None), Ranked("b", float("nan"))], "auroc", **end),
        plots.comparison_matrix(["a"], np.zeros((1, 1)), np.ones((1, 1)), "auroc", **end),
        plots.seeds({"a": [float("nan")]}, "auroc", **end),
        plots.attribution(np.array([np.nan]), **end),
        plots.split_counts(np.zeros((1, 2), dtype=int), np.zeros((1, 2), dtype=int), ["val"], CLASSES, **end),
    ]


def test_a_plot_of_nothing_says_why() -> None:
    for plot in nothing_to_draw():
        assert plot.alt.startswith("T: no"), plot.alt
        assert len(texts(plot)) == 1
        assert list(tree(plot).iter("path")) == []


def test_constant_scores_single_values_and_gaps_are_drawn() -> None:
    truth, _ = sample(20)
    same = np.full((20, 2), 0.5)
    assert "ALL 0.500" in plots.roc(truth, same, CLASSES, 0, ident="r", title="R", threshold=0.9).alt
    unreached = plots.precision_recall(truth, same, CLASSES, 0, ident="p", title="P", threshold=0.9)
    assert "no cell reaches the threshold" in unreached.alt
    one = plots.training_curves({"epoch": [0], "val/loss": [0.7]}, ident="t", title="T", best_epoch=0)
    assert "validation loss 0.700 at the end" in one.alt
    gaps = history(30) | {"val/auroc": [0.5, float("nan")] * 5 + [float("nan")] * 10 + [0.8] * 10}
    assert "AUROC 0.800 at the end" in plots.training_curves(gaps, ident="t", title="T").alt
    assert "over 1 seed" in plots.seeds({"a": [0.5]}, "auroc", ident="s", title="S").alt
    lone = plots.subject_scatter(
        ["a"],
        np.array([0.2]),
        np.array([0.0]),
        np.array([3]),
        np.array([0]),
        CLASSES,
        0,
        ident="x",
        title="X",
    )
    assert "1 of 1 subject on the wrong side of one half, worst a 0.20" in lone.alt
    for plot in (one, lone):
        assert "nan" not in plot.svg


def test_cells_without_a_probability_are_counted() -> None:
    truth, probs = sample(50)
    probs[3] = np.nan
    assert (
        "on 49 cells (1 cell without a probability left out)"
        in plots.roc(truth, probs, CLASSES, None, ident="r", title="R").alt
    )


def test_names_are_text_whatever_they_hold() -> None:
    names = ["<b>&\x00", '$x^2$ & "co"']
    plot = plots.confusion(np.array([[3, 1], [1, 3]]), names, ident="c", title="</title><script>")
    assert "<script" not in plot.svg
    assert {"<b>&\ufffd", '$x^2$ & "co"'} <= set(texts(plot))


def test_an_ident_that_is_no_id_is_refused() -> None:
    with pytest.raises(RunError, match="cannot begin an id"):
        plots.confusion(np.eye(2, dtype=int), CLASSES, ident='a b"', title="C")


def test_the_better_of_two_runs_has_one_colour_whatever_the_metric() -> None:
    differences, p = np.array([[0.0, -0.3], [0.3, 0.0]]), np.full((2, 2), 0.001)
    error, value, other = (
        plots.comparison_matrix(
            ["a", "b"], sign * differences, p, "x", ident="m", title="", less_is_better=less
        )
        for sign, less in ((1, True), (-1, False), (1, False))
    )
    marks = [
        sorted((str(path.get("class")), str(path.get("d"))) for path in tree(plot).iter("path"))
        for plot in (error, value, other)
    ]
    assert marks[0] == marks[1]
    assert marks[0] != marks[2]
