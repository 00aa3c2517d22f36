"""The share of positives that rates imply, against dense grids and linear programs."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
from all_matrices import random_tables
from checked_rows import THREE, checked
from hypothesis import given, settings
from hypothesis import strategies as st

from leukemia_lab.claims.claim import Claim, true_values
from leukemia_lab.claims.region import share_interval

percents = st.integers(0, 1000).map(lambda tenths: f"{tenths / 10:.1f}")


@settings(max_examples=200, deadline=None)
@given(percents, percents, percents)
def test_the_implied_share_is_that_of_a_dense_grid(sensitivity: str, specificity: str, accuracy: str) -> None:
    row = checked({"sensitivity": sensitivity, "specificity": specificity, "accuracy": accuracy})
    share = np.linspace(0, 1, 2001)
    corners = [
        share * np.clip(float(sensitivity) + a, 0, 100)
        + (1 - share) * np.clip(float(specificity) + b, 0, 100)
        for a in (-0.05, 0.05)
        for b in (-0.05, 0.05)
    ]
    slack = 1e-9  # grid points on a border count as inside or outside
    inside = (np.min(corners, axis=0) <= float(accuracy) + 0.05 - slack) & (
        np.max(corners, axis=0) >= float(accuracy) - 0.05 + slack
    )
    if row.share_interval is None:
        assert not inside.any()
        return
    low, high = map(float, row.share_interval)
    assert ((share[inside] >= low) & (share[inside] <= high)).all()
    assert inside[(share > low + 1e-6) & (share < high - 1e-6)].all()
    assert row.implied_share is None or low <= row.implied_share <= high


def test_with_precision_the_implied_share_is_that_of_a_linear_program() -> None:
    """SciPy's optimum over (share, true positives, false positives), each a share of all cells."""
    n_empty = n_narrower = 0
    for table in [t for t in random_tables(500, seed=2) if {*THREE, "precision"} <= t.values.keys()]:
        rates = {m: true_values(Claim.of("", {m: table.values[m]}).rates[m], True) for m in table.values}
        found = share_interval({m: rates[m] for m in (*THREE, "precision")})
        s, c, a, r = (tuple(map(float, rates[m])) for m in (*THREE, "precision"))
        above = [  # · (p, tp, fp) ≤ bound
            ((s[0], -1, 0), 0), ((-s[1], 1, 0), 0),
            ((1 - c[0], 0, 1), 1 - c[0]), ((c[1] - 1, 0, -1), c[1] - 1),
            ((1, -1, 1), 1 - a[0]), ((-1, 1, -1), a[1] - 1),
            ((0, r[0] - 1, r[0]), 0), ((0, 1 - r[1], -r[1]), 0),
        ]  # fmt: skip
        ends = [
            scipy.optimize.linprog(
                (sign, 0, 0), [row for row, _ in above], [bound for _, bound in above], bounds=(0, 1)
            )
            for sign in (1, -1)
        ]
        assert (found is not None) == (ends[0].status == 0), table
        n_empty += found is None
        if found is not None:
            assert tuple(map(float, found)) == pytest.approx((ends[0].fun, -ends[1].fun), abs=1e-6), table
            n_narrower += found != share_interval({m: rates[m] for m in THREE})
    assert min(n_empty, n_narrower) > 10
