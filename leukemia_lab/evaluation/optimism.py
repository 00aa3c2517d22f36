"""How much too good the validation value of the best of several runs looks because it was chosen by that value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from leukemia_lab.evaluation.metrics import Floats, Ints
from leukemia_lab.evaluation.outcomes import Outcomes, strata_of
from leukemia_lab.evaluation.resampling import draw_groups, weighted_metrics, without_each
from leukemia_lab.evaluation.uncertainty import (
    ALONE,
    LEVEL,
    N_RESAMPLES,
    NO_CHANGE,
    NO_GROUPS,
    rests_on_one,
    stratified_variance,
)
from leukemia_lab.progress import progress

FEW_DEFINED = 0.25  # with a smaller share of defined resamples nothing is said
WINNERS_CURSE = "the first of many runs is partly the luckiest: its value is too good as an estimate"


class Optimism(NamedTuple):
    """By how much a chosen run's objective is expected to be too good, and the objective without that.

    `low` and `high` are the ends of the interval of `corrected`. All are None where nothing can be said; `reason`
    says why.
    """

    value: float | None
    corrected: float | None
    low: float | None
    high: float | None
    reason: str | None = None


@dataclass(frozen=True)
class Candidates:
    """What K runs predicted for the same validation cells: by run the outcomes of each fold, one where there are none.

    The objective is the mean over folds of `metric`, higher is better.
    """

    runs: Sequence[Sequence[Outcomes]]
    metric: str

    @cached_property
    def group_names(self) -> tuple[str, ...]:
        """The groups of all folds [G]; none where a fold has none."""
        folds = [outcomes.group_names for outcomes in self.runs[0]]
        return tuple(sorted({name for names in folds for name in names})) if all(folds) else ()

    @cached_property
    def strata(self) -> Ints:
        """For each group its class [G]; see `Outcomes.strata`."""
        return strata_of(self._cells_by_group)

    @cached_property
    def sizes(self) -> Ints:
        """Cells of each group [G]."""
        sizes: Ints = self._cells_by_group.sum(axis=1)
        return sizes

    @cached_property
    def _cells_by_group(self) -> Ints:
        total = np.zeros((len(self.group_names), self.runs[0][0].n_classes), dtype=np.int64)
        for outcomes, columns in zip(self.runs[0], self._columns, strict=True):
            total[columns] += outcomes.cells_by_group
        return total

    @cached_property
    def _columns(self) -> list[Ints]:
        """Where the groups of each fold stand among all."""
        at = {name: k for k, name in enumerate(self.group_names)}
        return [np.array([at[name] for name in outcomes.group_names]) for outcomes in self.runs[0]]

    def objectives(self, run: int, weights: Floats) -> Floats:
        """The objective of a run [B] with groups weighted by `weights` [B, G].

        Of a mean over folds those count in which it is defined; NaN where there is none.
        """
        folds = zip(self.runs[run], self._columns, strict=True)
        values = np.stack([weighted_metrics(fold, weights[:, own])[self.metric] for fold, own in folds])
        defined = np.isfinite(values)
        n_defined = defined.sum(axis=0)
        means: Floats = np.where(defined, values, 0).sum(axis=0) / np.where(n_defined > 0, n_defined, np.nan)
        return means


def standard_error(candidates: Candidates, run: int) -> float | None:
    """The standard error of a run's objective over new groups; None where nothing can be said of how they differ.

    Stratified delete-one-group jackknife, as of `uncertainty.jackknife`, on the objective's own scale.
    """
    n_groups = len(candidates.group_names)
    if n_groups == 0:
        return None
    value = float(candidates.objectives(run, np.ones((1, n_groups)))[0])
    without = np.concatenate([candidates.objectives(run, weights) for weights in without_each(n_groups)])
    if not np.isfinite(without).all() or rests_on_one(value, without, candidates.strata):
        return None
    return float(np.sqrt(stratified_variance(without, candidates.strata, candidates.sizes)[0]))


def choose(values: Floats, complexity: Floats, margin: float) -> Ints:
    """The run chosen in each column of `values` [K, B]: the simplest within `margin` of the best, of equals the better.

    With the margin 0 that is the best; with its standard error it is the rule of Breiman et al. (1984, 3.4.3).
    """
    near = values >= values.max(axis=0) - margin
    simplest = np.where(near, complexity[:, None], np.inf).min(axis=0)
    chosen: Ints = np.where(near & (complexity[:, None] == simplest), values, -np.inf).argmax(axis=0)
    return chosen


def optimism(
    candidates: Candidates,
    objectives: Floats,
    complexity: Floats,
    margin: float,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Optimism:
    """The optimism of the run that `choose` takes by the runs' `objectives` [K].

    Bootstrap bias correction (Tsamardinos et al. 2018): whole groups are drawn, each class as many as it has; the
    run chosen on those drawn is measured on those that were not. Each run's values are centred on its objective, so
    that only what choosing does is counted: of a single run nothing. Where a resample takes another best run, its lower
    objective counts, for the gap is partly luck; that a run within the margin is worse than the best does not: it is
    the price of simplicity. The interval holds the percentiles of what was measured; it is cautious, for a third of the
    groups measures.
    """
    if not candidates.group_names:
        return Optimism(None, None, None, None, NO_GROUPS)
    if (np.bincount(candidates.strata) == 1).any():
        return Optimism(None, None, None, None, ALONE)
    drawn, left = _resampled(candidates, len(objectives), n_resamples, seed)
    defined = np.isfinite(drawn).all(axis=0) & np.isfinite(left).all(axis=0)
    if defined.mean() < FEW_DEFINED:
        few = f"the objective is undefined in {(~defined).sum()} of {n_resamples} resamples"
        return Optimism(None, None, None, None, few)
    drawn, left = (_centred(values[:, defined], objectives) for values in (drawn, left))
    in_resample = choose(drawn, complexity, margin)
    measured = left[in_resample, np.arange(drawn.shape[1])]
    value = objectives[choose(objectives[:, None], complexity, margin)[0]]
    # What another run than the best loses counts, for the gap is partly luck; what a simpler one loses does not.
    best = drawn.argmax(axis=0)
    measured += (value - objectives[in_resample]) - (objectives.max() - objectives[best])
    low, high = np.quantile(measured, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    corrected = float(measured.mean())
    excess = float(value) - corrected
    high = min(high, 1.0)  # where higher is better no metric is above; what was shifted may be
    return Optimism(excess if abs(excess) > NO_CHANGE else 0.0, corrected, float(low), float(high))


def _resampled(candidates: Candidates, n_runs: int, n_resamples: int, seed: int) -> tuple[Floats, Floats]:
    """The objective of each run on the groups drawn and on those left, each [K, B]."""
    weights = draw_groups(candidates.strata, n_resamples, seed)
    drawn, left = np.empty((2, n_runs, n_resamples))
    with progress("optimism of the choice", n_runs, "runs") as advance:
        for run in range(n_runs):
            drawn[run] = candidates.objectives(run, weights)
            left[run] = candidates.objectives(run, (weights == 0).astype(np.float64))
            advance(1)
    return drawn, left


def _centred(values: Floats, objectives: Floats) -> Floats:
    """`values` [K, B], the mean of each run shifted to its objective."""
    centred: Floats = values - values.mean(axis=1, keepdims=True) + objectives[:, None]
    return centred
