"""Who is in the synthetic data: counts, parts, twins and looks of the subjects, and specs that cannot be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukemia_lab.data.synthetic_plan import (
    SyntheticSpec,
    check_spec,
    plan_subjects,
    subject_looks,
    twin_pairs,
)
from leukemia_lab.errors import DataError

SMALL = SyntheticSpec(n_cells=60, n_subjects=10, seed=0, n_twins=2, subject_effect=1.0)
DEFAULT = SyntheticSpec(n_cells=1000, n_subjects=40, seed=0, n_twins=2, subject_effect=1.0)


def test_default_plan_has_the_shares_of_the_real_data() -> None:
    cells = pd.DataFrame([vars(s) for s in plan_subjects(DEFAULT)])
    preliminary = cells["part"] == "preliminary"
    assert cells["n_cells"].sum() == 1000
    assert cells.loc[preliminary, "n_cells"].sum() == 150
    assert preliminary.sum() == 11
    assert cells.loc[~preliminary & (cells["label"] == "all"), "n_cells"].sum() == 0.68 * 850
    assert cells["n_cells"].max() > 5 * cells["n_cells"].median()
    folds = cells[~preliminary].groupby(["part", "label"])["n_cells"].sum().unstack()
    assert (folds.max() < 1.1 * folds.min()).all()
    assert cells[~preliminary].groupby(["part", "label"]).size().min() >= 3


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 6), st.integers(0, 40), st.integers(0, 400), st.integers(0, 10**9), st.floats(0, 2))
def test_every_allowed_spec_has_a_sound_plan(
    n_twins: int, more_subjects: int, more_cells: int, seed: int, subject_effect: float
) -> None:
    n_subjects = 8 + n_twins + more_subjects
    spec = SyntheticSpec(n_subjects + more_cells, n_subjects, seed, n_twins, subject_effect)
    subjects = {s.name: s for s in plan_subjects(spec)}
    assert len(subjects) == n_subjects
    assert sum(s.n_cells for s in subjects.values()) == spec.n_cells
    assert min(s.n_cells for s in subjects.values()) >= 1
    strata = {(s.part, s.label) for s in subjects.values() if s.source is None}
    assert len(strata) == 8  # each class in three folds and the preliminary part
    pairs = twin_pairs(spec)
    assert len(pairs) == n_twins
    for twin, source in ((subjects[a], subjects[b]) for a, b in pairs):
        assert source.source is None
        assert twin.label == source.label
        assert twin.part != source.part
        assert {twin.part, source.part} <= {"fold_0", "fold_1", "fold_2"}
        assert twin.n_cells <= source.n_cells
    looks = subject_looks(spec, list(subjects.values()))
    assert all(np.isfinite(list(vars(look).values())).all() for look in looks.values())


def test_subject_looks_have_the_asked_spread_over_the_cells() -> None:
    subjects = [s for s in plan_subjects(DEFAULT) if s.source is None and s.label == "hem"]
    weights = [s.n_cells for s in subjects]
    for effect in (0.0, 1.0, 1.5):
        looks = subject_looks(replace(DEFAULT, subject_effect=effect), plan_subjects(DEFAULT))
        sides = np.array([looks[s.name].side for s in subjects])
        assert np.average(sides, weights=weights) == pytest.approx(0, abs=1e-12)
        assert np.average(sides**2, weights=weights) == pytest.approx(effect**2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed is -1: give 0 or more"),
        ({"n_twins": -2}, "n_twins is -2: give 0 or more"),
        ({"subject_effect": -0.1}, "subject_effect is -0.1: give 0.0"),
        ({"subject_effect": float("nan")}, "subject_effect is nan"),
        ({"n_subjects": 9}, r"n_subjects is 9: give at least 10, which is 8 .* plus n_twins=2"),
        ({"n_cells": 9}, "n_cells is 9: give at least n_subjects=10"),
        ({"n_cells": 3, "n_subjects": 4}, "n_subjects is 4.*; n_cells is 3"),
    ],
)
def test_impossible_specs_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_spec(replace(SMALL, **change))
