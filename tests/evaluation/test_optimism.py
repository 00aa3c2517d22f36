"""The optimism of a choice: against draws of which the truth is known, and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_outcomes import outcomes_of
from scipy.stats import norm

from leukemia_lab.evaluation.metrics import Floats, metric_values
from leukemia_lab.evaluation.optimism import Candidates, choose, optimism, standard_error
from leukemia_lab.evaluation.outcomes import Outcomes
from leukemia_lab.evaluation.uncertainty import ALONE, NO_GROUPS

GAP = 1.5  # SDs between the classes
SUBJECTS = (12, 8)  # of each class
CELLS = 10  # of each subject
ICC = 0.3


def drawn(rng: np.random.Generator, gaps: Floats, n_subjects: tuple[int, int] = SUBJECTS) -> Candidates:
    """Runs whose scores part the classes by `gaps` [K] SDs, in cells that are alike within a subject."""
    groups = np.repeat(np.arange(sum(n_subjects)), CELLS)
    truth = (groups >= n_subjects[0]).astype(np.int64)

    def correlated(n: int) -> Floats:  # half of what one run sees, all see
        return (rng.normal(size=n) + rng.normal(size=(len(gaps), n))) / np.sqrt(2)

    scores = gaps[:, None] * (0.5 - truth) + np.sqrt(ICC) * correlated(sum(n_subjects))[:, groups]
    scores = scores + np.sqrt(1 - ICC) * correlated(len(groups))
    probs = norm.cdf(scores)
    return Candidates([[outcomes_of(truth, np.stack([p, 1 - p], axis=1), groups, 0)] for p in probs], "auroc")


def objectives_of(candidates: Candidates) -> Floats:
    ones = np.ones((1, len(candidates.group_names)))
    return np.array([candidates.objectives(run, ones)[0] for run in range(len(candidates.runs))])


def expected(candidates: Candidates, n_resamples: int = 200, seed: int = 0) -> float:
    objectives = objectives_of(candidates)
    found = optimism(candidates, objectives, np.zeros(len(objectives)), 0.0, n_resamples, seed)
    assert found.value is not None
    assert found.corrected == pytest.approx(objectives.max() - found.value)
    return found.value


@pytest.mark.slow
@pytest.mark.parametrize(("n_runs", "tolerance"), [(3, 0.15), (12, 0.15)])
def test_the_estimate_is_the_true_optimism_of_runs_that_are_equally_good(
    n_runs: int, tolerance: float
) -> None:
    rng, gaps = np.random.default_rng(n_runs), np.full(n_runs, GAP)
    true_auroc = norm.cdf(GAP / np.sqrt(2))
    data_sets = [drawn(rng, gaps) for _ in range(400)]
    true = np.mean([objectives_of(candidates).max() - true_auroc for candidates in data_sets])
    estimated = np.mean([expected(candidates) for candidates in data_sets[:80]])
    assert true > 0.02
    assert estimated == pytest.approx(true, rel=tolerance)


def test_more_runs_are_more_optimistic_and_a_clear_winner_hardly() -> None:
    rng = np.random.default_rng(0)
    few, many = (np.mean([expected(drawn(rng, np.full(n, GAP))) for _ in range(8)]) for n in (2, 16))
    clear = np.mean([expected(drawn(rng, np.array([GAP, GAP, GAP + 3]))) for _ in range(8)])
    assert 0 < few < 0.6 * many
    assert clear < 0.2 * few


def test_the_gap_to_simpler_and_truly_worse_runs_is_not_optimism() -> None:
    gaps, complexity = GAP - 0.3 * np.arange(4, -1, -1), np.arange(5.0)
    rng, found = np.random.default_rng(6), []
    for _ in range(300):
        candidates = drawn(rng, gaps)
        objectives = objectives_of(candidates)
        margin = standard_error(candidates, int(objectives.argmax()))
        assert margin is not None
        chosen = choose(objectives[:, None], complexity, margin)[0]
        luck = objectives - norm.cdf(gaps / np.sqrt(2))
        estimated = optimism(candidates, objectives, complexity, margin, 100).value
        assert estimated is not None
        found.append((luck[chosen] - luck.mean(), estimated))
    true, estimated_on_average = np.mean(found, axis=0)
    assert estimated_on_average == pytest.approx(true, rel=0.2)  # with the gaps counted a third too much
    assert max(estimated for _, estimated in found) < 0.09  # with the gaps counted 0.096


def test_with_a_margin_that_spans_all_runs_the_simplest_was_not_chosen_by_luck() -> None:
    candidates = drawn(np.random.default_rng(7), np.array([GAP, 0.5, 2 * GAP]))
    found = optimism(candidates, objectives_of(candidates), np.array([2.0, 1.0, 3.0]), 1.0)
    assert found.value == pytest.approx(0, abs=1e-12)


def test_no_end_of_the_interval_is_above_1() -> None:
    rng = np.random.default_rng(8)
    for _ in range(5):
        candidates = drawn(rng, np.array([4.0, 4.5, 5.0]))
        found = optimism(candidates, objectives_of(candidates), np.arange(3.0), 0.01, 200)
        assert found.high is not None
        assert found.high <= 1


def test_a_single_run_was_not_chosen() -> None:
    assert expected(drawn(np.random.default_rng(1), np.array([GAP]))) == pytest.approx(0, abs=1e-12)


def test_copies_of_one_run_are_one_run() -> None:
    candidates = drawn(np.random.default_rng(1), np.array([GAP]))
    copies = replace(candidates, runs=[*candidates.runs] * 5)
    assert expected(copies) == pytest.approx(0, abs=1e-12)


def test_the_interval_holds_the_corrected_objective_and_the_seed_decides() -> None:
    candidates = drawn(np.random.default_rng(2), np.full(4, GAP))
    objectives = objectives_of(candidates)
    one, same, other = (optimism(candidates, objectives, np.zeros(4), 0.0, 300, seed) for seed in (0, 0, 1))
    assert one == same != other
    low, corrected, high = (np.float64(end) for end in (one.low, one.corrected, one.high))
    assert 0 <= low < corrected < high <= 1


def test_choose_takes_the_simplest_within_the_margin_and_of_equals_the_better() -> None:
    values = np.array([[0.90, 0.90], [0.89, 0.80], [0.88, 0.85], [0.70, 0.86]])
    complexity = np.array([9.0, 5.0, 5.0, 1.0])
    assert choose(values, np.zeros(4), 0.0).tolist() == [0, 0]
    assert choose(values, complexity, 0.0).tolist() == [0, 0]
    assert choose(values, complexity, 0.025).tolist() == [1, 0]
    assert choose(values, complexity, 0.05).tolist() == [1, 3]
    assert choose(values, complexity, 1.0).tolist() == [3, 3]


def test_the_standard_error_is_the_stratified_jackknifes() -> None:
    candidates = drawn(np.random.default_rng(3), np.array([GAP]))
    outcomes = candidates.runs[0][0]
    variance = 0.0
    for label in (0, 1):
        left_out = [auroc(outcomes, outcomes.groups != g) for g in np.flatnonzero(outcomes.strata == label)]
        variance += (len(left_out) - 1) * np.var(left_out)
    assert standard_error(candidates, 0) == pytest.approx(np.sqrt(variance))


def test_the_objective_of_folds_is_their_mean_and_a_group_weighs_the_same_in_each() -> None:
    rng = np.random.default_rng(4)
    one, other = (drawn(rng, np.array([GAP])).runs[0][0] for _ in range(2))
    renamed = replace(
        other, group_names=tuple(f"G{k + 15}" for k in range(other.n_groups))
    )  # five are in both
    both = Candidates([[one, renamed]], "auroc")
    assert len(both.group_names) == 35
    whole = [auroc(fold, np.ones(len(fold.truth), bool)) for fold in (one, renamed)]
    assert objectives_of(both)[0] == pytest.approx(np.mean(whole))
    at = both.group_names.index("G17")
    without = [auroc(fold, fold.groups != fold.group_names.index("G17")) for fold in (one, renamed)]
    weights = np.ones((1, 35))
    weights[0, at] = 0
    assert both.objectives(0, weights)[0] == pytest.approx(np.mean(without))


def test_without_subjects_or_with_one_of_a_class_nothing_is_said() -> None:
    rng = np.random.default_rng(5)
    alone = drawn(rng, np.full(2, GAP), (1, 6))
    unnamed = Candidates(
        [[replace(run[0], groups=run[0].groups[:0], group_names=())] for run in alone.runs], "auroc"
    )
    for candidates, reason in ((alone, ALONE), (unnamed, NO_GROUPS)):
        found = optimism(candidates, np.array([0.8, 0.9]), np.zeros(2), 0.0)
        assert (found.value, found.corrected, found.low, found.reason) == (None, None, None, reason)
        assert standard_error(candidates, 0) is None


def auroc(outcomes: Outcomes, kept: object) -> float:
    kept = np.asarray(kept)
    return metric_values(outcomes.truth[kept], outcomes.probs[kept], outcomes.positive)["auroc"]
