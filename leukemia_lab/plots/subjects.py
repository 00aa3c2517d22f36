"""Plots of subjects: how many of its cells are right, and what share of them is taken for blasts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leukemia_lab.plots.canvas import (
    Floats,
    Ints,
    Margins,
    Panel,
    Sample,
    Scale,
    blank,
    counted,
    dash,
    in_style,
    key_above,
    marker,
    nothing,
    numbers,
    series,
    shares,
    shortened,
)
from leukemia_lab.plots.svg import HALO, INK, QUIET, Plot, drawn

MOST_SUBJECTS = 80
NAMED = 40  # subjects at most that stand with their names
WORST = 3  # subjects in the alternative text, and with names in the scatter


@in_style
def subject_accuracy(
    names: Sequence[str],
    accuracy: Floats,
    n_cells: Ints,
    classes: Ints,
    class_names: Sequence[str],
    *,
    ident: str,
    title: str,
) -> Plot:
    """Share of right cells by subject, worst first; colour and shape tell the class, size the number of cells.

    Args:
        names: of the S subjects.
        accuracy: [S] in 0 to 1; subjects where it is not finite are left out.
        n_cells: [S].
        classes: index of the subject's class [S].
        class_names: K names.
        ident: begins the ids of the plot; unique on its page.
        title: what the plot is of.

    Of more than 80 subjects the worst 80 are drawn, and the alternative text says so.
    """
    known = np.flatnonzero(np.isfinite(accuracy))
    if not len(known):
        return nothing(ident, title, "no subjects with cells")
    order = known[np.lexsort((-n_cells[known], accuracy[known]))][:MOST_SUBJECTS]
    named = len(order) <= NAMED
    figure = blank(480, 210 if named else 180)
    x = Scale(-1, max(len(order), 8), (), "" if named else "subjects, worst first", grid=False)
    panel = Panel(figure, Margins(44, 8, 22, 52 if named else 24), x, shares("share of cells right"))
    mean = float(accuracy[known].mean())
    panel.line([0, 1], [mean, mean], QUIET, linewidth=1, linestyle=dash(1), on=panel.along)
    for k in range(len(class_names)):
        at = np.flatnonzero(classes[order] == k)
        most = float(n_cells[order].max())
        _points(panel, at.astype(float), accuracy[order][at], n_cells[order][at], most, k)
    for place, subject in enumerate(order if named else ()):
        turned = {"rotation": 90, "rotation_mode": "anchor", "ha": "right"}
        panel.text(place, -8 / panel.height, shortened(names[subject], 9), on=panel.across, **turned)
    samples = [_sample(k, name) for k, name in enumerate(class_names) if (classes[order] == k).any()]
    line = Sample(f"mean of subjects {mean:.2f}", QUIET, dash(1))
    key_above(panel, [*samples, line, Sample("size: cells", INK, "")])
    facts = [f"{names[s]} {accuracy[s]:.2f} of {counted(int(n_cells[s]), 'cell')}" for s in order[:WORST]]
    cut = f", the worst {len(order)} drawn" if len(order) < len(known) else ""
    of = f"{counted(len(known), 'subject')}{cut}"
    return drawn(figure, ident, f"{title}: {of}, mean {mean:.3f}; worst: {', '.join(facts)}.")


@in_style
def subject_scatter(
    names: Sequence[str],
    share: Floats,
    mean_logit: Floats,
    n_cells: Ints,
    classes: Ints,
    class_names: Sequence[str],
    positive: int,
    *,
    ident: str,
    title: str,
) -> Plot:
    """Share of a subject's cells taken for the positive class [S] over their mean logit [S].

    A subject is on the wrong side of one half where its own class is the other; the worst have their names.
    Arguments as for `subject_accuracy`; subjects with a value that is not finite are left out.
    """
    known = np.flatnonzero(np.isfinite(share) & np.isfinite(mean_logit))
    if not len(known):
        return nothing(ident, title, "no subjects with cells")
    low, high = float(mean_logit[known].min()), float(mean_logit[known].max())
    room = max(0.08 * (high - low), 0.1)
    figure = blank(360, 250)
    x = numbers(low - room, high + room, f"mean logit of {class_names[positive]}")
    panel = Panel(
        figure, Margins(top=22), x, shares(f"share taken for {shortened(class_names[positive], 12)}")
    )
    panel.line([0, 1], [0.5, 0.5], QUIET, linewidth=1, linestyle=dash(1), on=panel.along)
    for k in range(len(class_names)):
        at = known[classes[known] == k]
        _points(panel, mean_logit[at], share[at], n_cells[at], float(n_cells[known].max()), k)
    error = np.where(classes == positive, 1 - share, share)
    wrong = known[error[known] > 0.5]
    for subject in wrong[np.argsort(-error[wrong])][:WORST]:
        above = 1.04 * 9 / panel.height
        panel.text(mean_logit[subject], share[subject] + above, names[subject], ha="center", gid=HALO)
    key_above(panel, [_sample(k, name) for k, name in enumerate(class_names)])
    words = ", ".join(f"{names[s]} {share[s]:.2f}" for s in wrong[np.argsort(-error[wrong])][:WORST])
    alt = f"{title}: {len(wrong)} of {counted(len(known), 'subject')} on the wrong side of one half"
    return drawn(figure, ident, f"{alt}{', worst ' + words if words else ''}.")


def _sample(k: int, name: str) -> Sample:
    return Sample(name, series(k), "", marker(k))


def _points(panel: Panel, x: Floats, y: Floats, n_cells: Ints, most: float, k: int) -> None:
    """Markers whose area goes with the number of cells, in four sizes, the largest first."""
    sizes = np.rint(4 * np.sqrt(n_cells / max(most, 1.0))).clip(1, 4)
    for size in np.unique(sizes)[::-1]:
        chosen = sizes == size
        panel.line(
            x[chosen],
            y[chosen],
            series(k),
            marker=marker(k),
            markersize=3 + 1.6 * size,
            linewidth=0,
            alpha=0.8,
        )
