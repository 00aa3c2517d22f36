"""Every plot of the report, each a function of plain arrays that gives an inline SVG and a sentence on it.

`ident` begins the id within a plot and must differ from plot to plot on a page, which needs `stylesheet()` once.
"""

from __future__ import annotations

from leukemia_lab.plots.claims import ClaimedRow, Estimate, claimed_and_ours
from leukemia_lab.plots.counts import attribution, confusion, split_counts
from leukemia_lab.plots.curves import Band, precision_recall, roc
from leukemia_lab.plots.leakage import leakage_price
from leukemia_lab.plots.rankings import Ranked, comparison_matrix, forest, seeds
from leukemia_lab.plots.reliability import Forecasts, reliability
from leukemia_lab.plots.standalone import standalone
from leukemia_lab.plots.subjects import subject_accuracy, subject_scatter
from leukemia_lab.plots.svg import Plot, stylesheet
from leukemia_lab.plots.training_curves import training_curves

__all__ = [
    "Band",
    "ClaimedRow",
    "Estimate",
    "Forecasts",
    "Plot",
    "Ranked",
    "attribution",
    "claimed_and_ours",
    "comparison_matrix",
    "confusion",
    "forest",
    "leakage_price",
    "precision_recall",
    "reliability",
    "roc",
    "seeds",
    "split_counts",
    "standalone",
    "stylesheet",
    "subject_accuracy",
    "subject_scatter",
    "training_curves",
]
