"""Predictions of several models on the same clustered cells, for tests of comparisons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import softmax

from leukemia_lab.evaluation.outcomes import Outcomes
from leukemia_lab.evaluation.predictions import predictions_table


def tables(
    rng: np.random.Generator,
    gaps: Sequence[float],
    *,
    n_groups: Sequence[int] = (6, 5),
    cells: Sequence[int] = (3, 9),
    shared: float = 0.5,
) -> list[pd.DataFrame]:
    """A predictions table of part test for each of `gaps`, the distance of the classes' mean scores in that model.

    Class k has `n_groups[k]` groups of `cells[0]` to `cells[1]` cells; 0.3 of the variance is the group's.
    """
    sizes = rng.integers(cells[0], cells[1] + 1, size=sum(n_groups))
    group = np.repeat(np.arange(len(sizes)), sizes)
    truth = np.repeat(np.arange(len(n_groups)), n_groups)[group]
    names = [("ALL", "HEM", "MID")[k] for k in range(len(n_groups))]
    frame = pd.DataFrame(
        {
            "cell_id": [f"c{k:05d}.bmp" for k in range(len(group))],
            "subject": [f"S{g}" for g in group],
            "group": [f"S{g}" for g in group],
            "part": "test",
            "fold": pd.array([0] * len(group), dtype="Int64"),
            "label": [names[k] for k in truth],
        }
    )
    effects = [rng.normal(size=(len(sizes), len(names))) for _ in range(len(gaps) + 1)]
    noises = [rng.normal(size=(len(group), len(names))) for _ in range(len(gaps) + 1)]
    own, common = np.sqrt(1 - shared), np.sqrt(shared)
    found = []
    for k, gap in enumerate(gaps):
        effect = np.sqrt(0.3) * (common * effects[-1] + own * effects[k])[group]
        noise = np.sqrt(0.7) * (common * noises[-1] + own * noises[k])
        logits = gap / np.sqrt(2) * np.eye(len(names))[truth] + effect + noise
        found.append(predictions_table(frame, logits, names, f"run{k}"))
    return found


def models(rng: np.random.Generator, gaps: Sequence[float], **options: object) -> list[Outcomes]:
    """`tables` as outcomes; ALL is the positive class of two."""
    drawn = tables(rng, gaps, **options)  # type: ignore[arg-type]
    names = sorted(drawn[0]["label"].unique())
    return [Outcomes.of(table, names, "ALL" if len(names) == 2 else None) for table in drawn]


def flattened(table: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """The same predictions with logits divided by `temperature`."""
    logits = [name for name in table if str(name).startswith("logit_")]
    probs = [name for name in table if str(name).startswith("prob_")]
    changed = table.copy()
    changed[logits] = table[logits] / temperature
    changed[probs] = softmax(changed[logits].to_numpy(), axis=1)
    return changed
