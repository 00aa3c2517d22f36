"""The probe of subjects: closed forms, chance, planted identity."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from leukemia_lab.auditing.subject_probe import SubjectProbe, subject_probe, subject_recalls, summarised

pytestmark = pytest.mark.filterwarnings("error")
N_SUBJECTS = {"ALL": 10, "HEM": 6}
CHANCE = (1 / 10 + 1 / 6) / 2


def probed(n_features: int, effect: float, seed: int = 0, cells_each: int = 30) -> SubjectProbe:
    """Of noise with a place of its own for each subject, `effect` SDs apart, and a class that nothing must see."""
    rng = np.random.default_rng(seed)
    names = [(label, f"{label}{i}") for label, n in N_SUBJECTS.items() for i in range(n)]
    labels, subjects = np.repeat(np.array(names, dtype=object), cells_each, axis=0).T
    places = dict(zip([name for _, name in names], rng.normal(0, effect, (16, n_features)), strict=True))
    features = np.stack([places[name] for name in subjects]) + rng.normal(size=(len(labels), n_features))
    return subject_probe(features + 10.0 * (labels == "ALL")[:, None], subjects, labels)


def test_noise_is_at_chance_whatever_the_number_of_features() -> None:
    for n_features in (3, 300):
        found = probed(n_features, effect=0.0)
        assert found.chance == pytest.approx(CHANCE)
        assert found.low < CHANCE < found.high
        assert (found.n_subjects, found.n_cells) == (16, 480)


def test_a_planted_identity_is_found_in_few_and_in_many_features() -> None:
    for n_features in (3, 300):
        found = probed(n_features, effect=1.0)
        assert found.balanced_accuracy > 2 * CHANCE
        assert found.low is None or found.low > CHANCE


def test_two_subjects_apart_are_told_as_often_as_normal_theory_says() -> None:
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.array(["a", "b"], dtype=object), 2000)
    features = rng.normal(size=(4000, 1)) + 2.0 * (subjects == "b")[:, None]
    found = subject_recalls(features, subjects, np.full(4000, "ALL", dtype=object))
    assert found["recall"].to_numpy() == pytest.approx(norm.cdf(1.0), abs=0.02)


def test_a_probe_of_folds_is_the_mean_over_folds_and_classes() -> None:
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.array(["a", "b", "c"], dtype=object), 20)
    labels = np.full(60, "ALL", dtype=object)
    folds = [subject_recalls(rng.normal(size=(60, 2)), subjects, labels) for _ in range(2)]
    two = folds[1][folds[1]["subject"] != "c"]
    joined = [folds[0].assign(label="0 ALL"), two.assign(label="1 ALL")]
    found = summarised(pd.concat(joined))
    assert found.balanced_accuracy == pytest.approx((folds[0]["recall"].mean() + two["recall"].mean()) / 2)
    assert found.chance == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_cells_that_are_all_alike_are_at_chance_and_too_few_subjects_have_a_reason() -> None:
    subjects = np.repeat(np.array(["a", "b"], dtype=object), 6)
    labels = np.full(12, "ALL", dtype=object)
    assert subject_probe(np.ones((12, 2)), subjects, labels).balanced_accuracy == 0.5
    alone = subject_probe(np.ones((12, 2)), np.where(subjects == "a", subjects, None), labels)
    assert (alone.balanced_accuracy, alone.n_subjects) == (None, 0)
    assert alone.reason == "no class has two subjects of 5 or more cells"
