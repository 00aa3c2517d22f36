"""Differences between a study's runs on the same cells, by subject, with Holm's correction over those asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pandas as pd

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.comparison import aligned
from leukemia_lab.evaluation.metrics import METRICS, or_none
from leukemia_lab.evaluation.multiplicity import ALPHA, holm
from leukemia_lab.evaluation.paired import differences, resampled
from leukemia_lab.pages.formats import difference, p_value
from leukemia_lab.results.comparable import require_comparable
from leukemia_lab.results.run_result import RunResult

Key = TypeVar("Key")
NOT_PAIRED = "not of the same data, split, cells and labels: cannot be paired"


@dataclass(frozen=True)
class Difference:
    """A run's metric less the reference's: 95 % interval and p by the paired jackknife, `p_holm` over all of a table.

    What cannot be said is None, and `reason` says why.
    """

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    reason: str | None

    @property
    def told_apart(self) -> bool:
        """Whether the two differ by more than chance at 5 %, after Holm."""
        return self.p_holm is not None and self.p_holm < ALPHA

    def __str__(self) -> str:
        """`+0.020 (−0.010 to +0.050), p 0.12`; without an interval the reason."""
        words = difference({"value": self.value, "low": self.low, "high": self.high})
        return f"{words}, p {p_value(self.p_holm)}" if self.reason is None else f"{words} ({self.reason})"


UNPAIRED = Difference(None, None, None, None, None, NOT_PAIRED)


def differences_from(
    reference: RunResult, runs: Mapping[str, RunResult], part: str, metric: str
) -> dict[str, Difference]:
    """How each of `runs` differs from `reference` in `metric` on the cells of `part`, by name.

    One that cannot be paired with it (other data, another split, other labels) has the reason in place of a difference.
    """
    kept: dict[str, pd.DataFrame] = {}
    found: dict[str, Difference] = {}
    own = reference.predicted(part)
    for name, run in runs.items():
        try:
            require_comparable([reference, run])
        except RunError:
            found[name] = UNPAIRED
        else:
            kept[name] = run.predicted(part)
    found |= table_differences(own, kept, reference.class_names, reference.positive, metric)
    return {name: found[name] for name in runs}


def table_differences(
    reference: pd.DataFrame,
    tables: Mapping[str, pd.DataFrame],
    class_names: Sequence[str],
    positive: str | None,
    metric: str,
) -> dict[str, Difference]:
    """`differences_from` of predictions tables; those of other cells or labels than the reference's are UNPAIRED."""
    kept: dict[str, pd.DataFrame] = {}
    for name, table in tables.items():
        with suppress(RunError):
            aligned({"0": reference, "1": table}, class_names, positive)
            kept[name] = table
    if not kept:
        return dict.fromkeys(tables, UNPAIRED)
    numbered = {str(k): table for k, table in enumerate([reference, *kept.values()])}
    outcomes = aligned(numbered, class_names, positive)
    pairs = np.array([[k, 0] for k in range(1, len(numbered))], dtype=np.int64)
    found = differences(resampled(list(outcomes.values())), pairs)
    at = METRICS.index(metric)
    p_holm = holm(found.p[:, at])
    columns = [
        [or_none(number) for number in numbers]
        for numbers in (found.difference[:, at], found.low[:, at], found.high[:, at], found.p[:, at], p_holm)
    ]
    rows = zip(*columns, found.reasons[:, at].tolist(), strict=True)
    paired = {name: Difference(*row) for name, row in zip(kept, rows, strict=True)}
    return {name: paired.get(name, UNPAIRED) for name in tables}


def corrected_together(found: Mapping[Key, Difference]) -> dict[Key, Difference]:
    """The differences with Holm's correction over all of them, those of several tables."""
    p = np.array([math.nan if one.p is None else one.p for one in found.values()], dtype=np.float64)
    return {
        key: replace(one, p_holm=or_none(p_holm))
        for (key, one), p_holm in zip(found.items(), holm(p), strict=True)
    }
