"""What leakage costs: AUROC out of fold under protocols of rising honesty, and the paired gaps between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.comparison import aligned
from leukemia_lab.evaluation.metrics import Floats, Ints, or_none
from leukemia_lab.evaluation.multiplicity import holm
from leukemia_lab.evaluation.outcomes import Outcomes
from leukemia_lab.evaluation.paired import Resampled, differences
from leukemia_lab.evaluation.uncertainty import LEVEL, NO_GROUPS, Interval, jackknife, wilson_type

Arm = Literal["random", "apart", "merged"]
ARMS: tuple[Arm, ...] = ("random", "apart", "merged")
GAPS: tuple[tuple[Arm, Arm], ...] = (("random", "merged"), ("random", "apart"), ("apart", "merged"))
METRIC = "auroc"
Run = tuple[Outcomes, Ints]  # an arm of a model, and the fold of each cell


@dataclass(frozen=True)
class ArmValue:
    """AUROC within folds of one arm with its interval; what cannot be said is None, and `reason` says why."""

    value: float | None
    low: float | None
    high: float | None
    reason: str | None


@dataclass(frozen=True)
class Gap:
    """AUROC of the arm `first` less that of `second`, with its interval at the level asked for, and p.

    `p_holm` is adjusted for all gaps of all models; the interval from `low_holm` to `high_holm` excludes 0 if and only
    if `p_holm` is below 1 - level. What cannot be said is None, and `reason` says why.
    """

    first: Arm
    second: Arm
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    low_holm: float | None
    high_holm: float | None
    reason: str | None


@dataclass(frozen=True)
class LeakagePrice:
    """The arms of one model and the gaps between them; an arm that was not given is absent, and so are its gaps."""

    model: str
    arms: dict[Arm, ArmValue]
    gaps: dict[tuple[Arm, Arm], Gap]


def leakage_prices(
    tables: Mapping[str, Mapping[Arm, pd.DataFrame]],
    class_names: Sequence[str],
    positive: str | None,
    level: float = LEVEL,
) -> list[LeakagePrice]:
    """What each model scores in each arm, and the gaps between arms, of out-of-fold predictions of the same cells.

    `tables` has by model and arm the pooled predictions of a cross-validation (`fold` says which of its models
    predicted a cell). Scores of different folds are of different models and are never compared: see `within_folds`.
    The gaps have the paired delete-one-group jackknife of `paired.differences`; groups that any arm joins are one.

    Raises:
        RunError: there are no tables, one has cells without a fold, or two are not of the same cells and labels.
    """
    named = {(model, arm): table for model, of_model in tables.items() for arm, table in of_model.items()}
    if not named:
        raise RunError(
            "the price of leakage needs out-of-fold predictions of one model or more; none are given"
        )
    for (model, arm), table in named.items():
        if table["fold"].isna().any() or not table["cell_id"].is_unique:
            raise RunError(
                f"{model} ({arm}): not each cell is predicted once in a fold; train with protocol.fold=all and evaluate"
            )
    outcomes = aligned({f"{model} ({arm})": of for (model, arm), of in named.items()}, class_names, positive)
    runs: dict[str, dict[Arm, Run]] = {model: {} for model, of_model in tables.items() if of_model}
    for ((model, arm), table), own in zip(named.items(), outcomes.values(), strict=True):
        runs[model][arm] = own, table.sort_values("cell_id")["fold"].to_numpy(dtype=np.int64)
    return prices_of(runs, level)


def joined(repeats: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Out-of-fold predictions of several cross-validations of the same cells as if of one with all their folds.

    A group that is left out is left out of each: what the repeats share, the subjects, is what varies.
    """
    tables, n_folds = [], 0
    for k, table in enumerate(repeats):
        tables.append(table.assign(cell_id=table["cell_id"] + f"#{k}", fold=table["fold"] + n_folds))
        n_folds += int(table["fold"].max()) + 1
    return pd.concat(tables, ignore_index=True)


def prices_of(runs: Mapping[str, Mapping[Arm, Run]], level: float = LEVEL) -> list[LeakagePrice]:
    """`leakage_prices` of outcomes of the same cells in the same order and groups, each with the folds of its cells."""
    resampled = {model: _resampled(list(arms.values())) for model, arms in runs.items()}
    gaps = _gaps({model: list(arms) for model, arms in runs.items()}, resampled, level)
    prices = []
    for model, own in resampled.items():
        values = {
            arm: _arm_value(own.values[k, 0], own.without[k, 0], outcomes, level)
            for k, (arm, (outcomes, _)) in enumerate(runs[model].items())
        }
        prices.append(LeakagePrice(model, values, gaps[model]))
    return prices


def within_folds(outcomes: Outcomes, folds: Ints) -> tuple[float, Floats]:
    """AUROC over pairs of cells of the same fold, and without each group [G]; NaN where there are no such pairs.

    The share of pairs of a positive and a negative cell of one fold, over all folds, in which the positive cell has
    the higher probability, ties half: the mean of the folds' AUROCs weighted by their pairs. With K classes it is the
    mean over classes, each against the rest.
    """
    classes = range(outcomes.n_classes) if outcomes.positive is None else [outcomes.positive]
    found = [_area(outcomes.probs[:, k], outcomes.truth == k, outcomes, folds) for k in classes]
    values = np.mean(found, axis=0)
    return float(values[0]), values[1:]


def _area(score: Floats, positive: npt.NDArray[np.bool_], outcomes: Outcomes, folds: Ints) -> Floats:
    """The share of concordant pairs, then without each group [1 + G]."""
    groups = outcomes.groups if outcomes.n_groups else np.zeros(len(score), dtype=np.int64)
    n_groups = max(outcomes.n_groups, 1)
    concordant, pairs = np.zeros(
        (2, n_groups, n_groups)
    )  # by the groups of the positive and the negative cell
    for fold in np.unique(folds):
        of_positive, of_negative = ((folds == fold) & side for side in (positive, ~positive))
        scores, owners = score[of_positive], groups[of_positive]
        for group in np.unique(groups[of_negative]):
            negatives = np.sort(score[of_negative & (groups == group)])
            below = sum(np.searchsorted(negatives, scores, side) for side in ("left", "right")) / 2
            concordant[:, group] += np.bincount(owners, below, n_groups)
            pairs[:, group] += np.bincount(owners, minlength=n_groups) * len(negatives)
    with np.errstate(invalid="ignore"):
        without = _without_each(concordant) / _without_each(pairs)
        whole = concordant.sum() / pairs.sum()
    return np.append(whole, without if outcomes.n_groups else [])


def _without_each(counts: Floats) -> Floats:
    """The sum of counts by pairs of groups [G, G] without the pairs of each group [G]."""
    left: Floats = counts.sum() - counts.sum(axis=0) - counts.sum(axis=1) + counts.diagonal()
    return left


def _resampled(runs: Sequence[Run]) -> Resampled:
    """The arms of one model as runs of one metric."""
    found = [within_folds(outcomes, folds) for outcomes, folds in runs]
    known: dict[bytes, int] = {}
    kinds = [known.setdefault(own.probs.tobytes() + folds.tobytes(), len(known)) for own, folds in runs]
    first = runs[0][0]
    return Resampled(
        values=np.array([[value] for value, _ in found]),
        without=np.stack([[without] for _, without in found]),
        strata=first.strata if first.n_groups else np.empty(0, dtype=np.int64),
        sizes=first.sizes if first.n_groups else np.empty(0, dtype=np.int64),
        spans=np.array([[0.0, 1.0]]),
        kinds=np.array(kinds, dtype=np.int64),
    )


def _arm_value(value: float, without: Floats, outcomes: Outcomes, level: float) -> ArmValue:
    if outcomes.n_groups == 0:
        return ArmValue(or_none(value), None, None, NO_GROUPS)
    interval: Interval = jackknife(value, without, outcomes.strata, outcomes.sizes, level)
    if interval.low is None:
        interval = wilson_type(METRIC, value, interval, outcomes, level)
    return ArmValue(or_none(value), *interval)


def _gaps(
    arms: Mapping[str, Sequence[Arm]], runs: Mapping[str, Resampled], level: float
) -> dict[str, dict[tuple[Arm, Arm], Gap]]:
    """The gaps of each model; their Holm intervals have the levels at which the step-down test stands."""
    asked = [
        (model, gap, np.array([[of_model.index(arm) for arm in gap]]))
        for model, of_model in arms.items()
        for gap in GAPS
        if set(gap) <= set(of_model)
    ]
    found = [differences(runs[model], pair, level) for model, _, pair in asked]
    p = np.array([own.p[0, 0] for own in found])
    p_holm, levels = holm(p), holm_levels(p, level)
    gaps: dict[str, dict[tuple[Arm, Arm], Gap]] = {model: {} for model in arms}
    for k, (model, (first, second), pair) in enumerate(asked):
        own, adjusted = found[k], differences(runs[model], pair, float(levels[k]))
        gaps[model][first, second] = Gap(
            first=first,
            second=second,
            value=or_none(own.difference[0, 0]),
            low=or_none(own.low[0, 0]),
            high=or_none(own.high[0, 0]),
            p=or_none(p[k]),
            p_holm=or_none(p_holm[k]),
            low_holm=or_none(adjusted.low[0, 0]),
            high_holm=or_none(adjusted.high[0, 0]),
            reason=own.reasons[0, 0],
        )
    return gaps


def holm_levels(p: Floats, level: float) -> Floats:
    """The level of each interval [m] that excludes 0 if and only if Holm's test at 1 - level rejects.

    Of m tests the j-th smallest p-value has 1 - (1 - level) / (m - j + 1), and from the first that is not rejected on
    all have its level. The intervals say together whether a gap is there; of rejected ones not how large it is.
    """
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = (1 - level) / np.arange(len(order), 0, -1)
    kept = np.flatnonzero(p[order] > steps)
    if len(kept) > 0:
        steps[kept[0] :] = steps[kept[0]]
    levels = np.full_like(p, level)
    levels[order] = 1 - steps
    return levels
