from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.figures import cell_grid_figure, confusion_figure, roc_figure


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_confusion_figure_writes_counts_and_shares_of_the_true_class() -> None:
    figure = confusion_figure(np.array([[3, 1], [0, 1200]]), ["ALL", "HEM"], "val [LEAKY]")
    assert texts(figure) == ["3\n75.0%", "1\n25.0%", "0\n0.0%", "1,200\n100.0%"]
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ALL", "HEM"]
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("val [LEAKY]", "predicted", "true")
    np.testing.assert_allclose(np.asarray(axes.images[0].get_array()), [[0.75, 0.25], [0, 1]])


def test_confusion_figure_bears_a_class_without_cells() -> None:
    figure = confusion_figure(np.array([[0, 0], [1, 1]]), ["ALL", "HEM"], "val")
    assert texts(figure)[0] == "0\n0.0%"
    with pytest.raises(RunError, match=r"3 classes is square; its shape is \(2, 2\)"):
        confusion_figure(np.zeros((2, 2), dtype=np.int64), ["a", "b", "c"], "val")


def scores(labels: list[str], prob_a: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"label": labels, "prob_a": prob_a, "prob_b": 1 - np.array(prob_a)})


def test_roc_figure_of_a_hand_worked_curve() -> None:
    table = scores(["a", "b", "a", "b"], [0.9, 0.8, 0.7, 0.1])
    axes = roc_figure(table, ["a", "b"], "a", "val").axes[0]
    curve = axes.lines[1]
    points = np.column_stack([np.asarray(curve.get_xdata()), np.asarray(curve.get_ydata())])
    np.testing.assert_allclose(points, [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]])
    assert curve.get_label() == "a: AUROC 0.750"
    assert len(roc_figure(table, ["a", "b"], None, "val").axes[0].lines) == 3


def test_roc_figure_leaves_out_a_class_without_a_curve() -> None:
    axes = roc_figure(scores(["a", "a"], [0.9, 0.8]), ["a", "b"], "a", "val").axes[0]
    assert len(axes.lines) == 1
    assert axes.get_legend() is None


def test_cell_grid_figure_shows_each_stage_in_its_row() -> None:
    raw = np.linspace(-0.1, 1, 3 * 4 * 4 * 3).reshape(3, 4, 4, 3)
    figure = cell_grid_figure({"raw": raw, "filtered": 1 - raw}, ["ALL 20", "HEM H3", "HEM H8"])
    assert len(figure.axes) == 6
    assert [axes.get_title() for axes in figure.axes[:3]] == ["ALL 20", "HEM H3", "HEM H8"]
    assert [figure.axes[at].get_ylabel() for at in (0, 3)] == ["raw", "filtered"]
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), raw[1])
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), np.clip(raw[0], 0, 1))


@pytest.mark.parametrize("shape", [(2, 4, 4, 3), (3, 4, 4), (3, 3, 4, 4)])
def test_cell_grid_figure_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(RunError, match=r"stage 'raw' .* it needs \[3, H, W, 3\]"):
        cell_grid_figure({"raw": np.zeros(shape)}, ["a", "b", "c"])


def test_figures_do_without_pyplot() -> None:
    code = "import sys, leukemia_lab.evaluation.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_dollar_signs_in_names_are_no_formulas() -> None:
    names = [r"$\frac$", "a$b$"]
    figure = confusion_figure(np.eye(2, dtype=np.int64), names, "val")
    figure.canvas.draw()
    table = pd.DataFrame({"label": names, f"prob_{names[0]}": [0.9, 0.1], f"prob_{names[1]}": [0.1, 0.9]})
    roc_figure(table, names, None, "val").canvas.draw()
    cell_grid_figure({"raw": np.zeros((2, 4, 4, 3))}, names).canvas.draw()
