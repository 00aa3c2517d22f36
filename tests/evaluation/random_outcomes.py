"""Random predictions for tests: ties, classes without cells, two to five classes, groups of one class or of several."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from leukemia_lab.evaluation.outcomes import Outcomes


def random_outcomes(seed: int) -> Outcomes:
    rng = np.random.default_rng(seed)
    n_classes, n_groups = int(rng.integers(2, 6)), int(rng.integers(2, 12))
    groups = np.concatenate([np.arange(n_groups), rng.integers(0, n_groups, int(rng.integers(5, 300)))])
    pure = seed % 3 == 0
    truth = groups % n_classes if pure else rng.integers(0, n_classes, len(groups))
    truth[truth == rng.integers(0, 2 * n_classes)] = 0  # sometimes a class has no cells
    logits = rng.normal(size=(len(truth), n_classes)) + rng.uniform(0, 3) * np.eye(n_classes)[truth]
    logits = np.round(logits) if seed % 2 else logits  # ties
    positive = int(rng.integers(2)) if n_classes == 2 and seed % 5 else None
    return outcomes_of(truth, softmax(logits, axis=1), groups, positive)


def outcomes_of(truth: object, probs: object, groups: object, positive: int | None) -> Outcomes:
    truth, probs, groups = np.asarray(truth), np.asarray(probs, dtype=float), np.asarray(groups)
    return Outcomes(
        class_names=tuple(f"c{k}" for k in range(probs.shape[1])),
        positive=positive,
        cell_ids=np.array([f"{i}.bmp" for i in range(len(truth))], dtype=object),
        truth=truth,
        probs=probs,
        logits=np.log(np.maximum(probs, 1e-300)),
        groups=groups,
        group_names=tuple(f"G{g}" for g in range(int(groups.max()) + 1)),
    )
