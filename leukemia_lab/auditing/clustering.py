"""How alike the cells of one subject are, and so how many independent cells a data set is worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

QUANTITIES = {  # a mean of these columns
    "box_side": ("box_w", "box_h"),
    "foreground_px": ("foreground_px",),
    "mean_grey": ("mean_red", "mean_green", "mean_blue"),
    "sharpness": ("sharpness",),
}


def clustering_by_quantity(cells: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """`clustering` by `subject` of the `QUANTITIES` of the cells of one class; those without a subject left out."""
    known = cells[cells["subject"].notna()]
    subjects = pd.factorize(known["subject"])[0].astype(np.int64)
    return {
        name: clustering(known[list(columns)].to_numpy(dtype=np.float64).mean(axis=1), subjects)
        for name, columns in QUANTITIES.items()
    }


def clustering(values: npt.NDArray[np.float64], subjects: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Intraclass correlation, design effect and effective sample size of `values` [n] in `subjects` [n], 0 to k - 1.

    `icc`: ICC(1) of the one-way random-effects analysis of variance with k subjects of n_i cells,
    (MSB - MSW) / (MSB + (n0 - 1) MSW), n0 = (n - sum n_i^2 / n) / (k - 1) (Donner 1986, Int. Stat. Rev. 54:67);
    0 where that is negative, and `icc_raw` is the estimate itself. `design_effect` = 1 + (m - 1) icc with
    m = sum n_i^2 / n (Kish 1965), `n_effective` = n / design_effect. All four are None, with a `reason`, where
    they are undefined.
    """
    sizes = np.bincount(subjects)
    n, k = len(values), len(sizes)
    size = {"n_cells": n, "n_subjects": k}
    if reason := _why_undefined(values, k):
        nothing = dict.fromkeys(("icc", "icc_raw", "design_effect", "n_effective"))
        return nothing | size | {"reason": reason}
    means = np.bincount(subjects, values) / sizes
    between = (sizes * (means - values.mean()) ** 2).sum() / (k - 1)
    within = ((values - means[subjects]) ** 2).sum() / (n - k)
    size_of_a_cells_subject = (sizes**2).sum() / n
    n0 = (n - size_of_a_cells_subject) / (k - 1)
    raw = float((between - within) / (between + (n0 - 1) * within))
    icc = max(raw, 0.0)
    effect = float(1 + (size_of_a_cells_subject - 1) * icc)
    return {"icc": icc, "icc_raw": raw, "design_effect": effect, "n_effective": n / effect} | size


def _why_undefined(values: npt.NDArray[np.float64], n_subjects: int) -> str | None:
    if n_subjects < 2 or len(values) == n_subjects:
        return "it takes two subjects, and one of them with two cells"
    if not np.isfinite(values).all():
        return f"{np.sum(~np.isfinite(values))} of {len(values)} cells have no value"
    return "every cell has the same value" if np.ptp(values) == 0 else None
