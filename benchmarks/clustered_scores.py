"""Scores with a known truth, alike within a subject: what the benchmarks of intervals and of tests draw from."""

from __future__ import annotations

import argparse
import platform
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.pool import Pool

import numpy as np
import scipy
from scipy.special import expit
from scipy.stats import norm

from leukemia_lab import __version__
from leukemia_lab.evaluation.metrics import Floats, Ints
from leukemia_lab.evaluation.outcomes import Outcomes

METRICS = ("accuracy", "sensitivity", "auroc")  # those whose truth is known in closed form
EVEN = ((40,) * 30, (40,) * 20)
# Cells of each group of C-NMC 2019, twins merged: the training part, and the preliminary test.
TRAINING = (
    (1074, 402, 352, 278, 268, 267, 253, 250, 246, 212, 201, 197, 197, 190, 181, 178, 178, 161, 156, 155, 146, 145,
     142, 113, 112, 111, 103, 99, 97, 92, 92, 89, 84, 74, 74, 73, 58, 53, 35, 31, 19, 14, 11, 9),
    (441, 404, 385, 373, 327, 185, 185, 162, 140, 137, 119, 108, 100, 69, 50, 47, 46, 32, 30, 29, 20),
)  # fmt: skip
PRELIMINARY = (
    (262, 201, 164, 139, 111, 96, 83, 69, 47, 18, 12, 10, 7),
    (162, 84, 77, 54, 47, 38, 35, 31, 29, 25, 20, 19, 13, 9, 5),
)
SUBJECTS = {
    "30 + 20 subjects of 40 cells": EVEN,
    "C-NMC training part, 44 + 21 groups": TRAINING,
    "C-NMC preliminary test, 13 + 15 groups": PRELIMINARY,
}
AT_ONCE = 50  # replications of a task

Counts = Counter[tuple[str, str]]


@dataclass(frozen=True)
class Design:
    """Cells of each subject of both classes, and scores with variance 1 within a class, clustered by subject.

    Of each score's variance `icc` is the subject's; models share `shared` of the subject's part and of the cell's.
    The first model separates the classes by `d_prime`, the others by `gain` more, and each by a normal deviate of
    its own of standard deviation `seed_sd`.
    """

    subjects: str
    d_prime: float
    gain: float = 0.0
    icc: float = 0.3
    shared: float = 0.5
    seed_sd: float = 0.0
    n_models: int = 1

    def generator(self, seed: int) -> np.random.Generator:
        """A generator of this design's own."""
        n_positive = len(SUBJECTS[self.subjects][0])
        return np.random.default_rng([seed, n_positive, round(100 * self.d_prime), round(100 * self.gain)])

    def drawn(self, rng: np.random.Generator, gaps: Floats | None = None) -> list[Outcomes]:
        """The predictions of all models on one data set; `gaps` [n_models] are their d' where they are given."""
        positive, negative = SUBJECTS[self.subjects]
        sizes = np.array(positive + negative)
        groups = np.repeat(np.arange(len(sizes)), sizes)
        side = np.where(groups < len(positive), 0.5, -0.5)
        subjects = self._correlated(rng, len(sizes)) * np.sqrt(self.icc)
        cells = self._correlated(rng, len(groups)) * np.sqrt(1 - self.icc)
        better = self.gain * (np.arange(self.n_models) > 0)
        if gaps is None:
            gaps = self.d_prime + better + rng.normal(0, 1, self.n_models) * self.seed_sd
        return [_outcomes(s, groups, side) for s in gaps[:, None] * side + subjects[:, groups] + cells]

    def truth(self) -> dict[str, float]:
        """The metrics of the first model with endless subjects, on average over endless seeds."""
        gaps = self.d_prime + self.seed_sd * norm.ppf((np.arange(9999) + 0.5) / 9999)
        rate = float(norm.cdf(gaps / 2).mean())
        return {"accuracy": rate, "sensitivity": rate, "auroc": float(norm.cdf(gaps / np.sqrt(2)).mean())}

    def _correlated(self, rng: np.random.Generator, size: int) -> Floats:
        own, common = rng.normal(size=(self.n_models, size)), rng.normal(size=size)
        correlated: Floats = np.sqrt(self.shared) * common + np.sqrt(1 - self.shared) * own
        return correlated


def _outcomes(scores: Floats, groups: Ints, side: Floats) -> Outcomes:
    return Outcomes(
        class_names=("ALL", "HEM"),
        positive=0,
        cell_ids=np.arange(len(groups)).astype(object),
        truth=(side < 0).astype(np.int64),
        probs=np.stack([expit(scores), expit(-scores)], axis=1),
        logits=np.stack([scores, np.zeros_like(scores)], axis=1),
        groups=groups,
        group_names=tuple(f"S{k}" for k in range(groups[-1] + 1)),
    )


def shares(
    pool: Pool, work: Callable[[tuple[Design, int, int]], Counts], design: Design, n: int, first: int = 0
) -> defaultdict[tuple[str, str], float]:
    """The counts of `work` over n replications as shares; `work` is given a design, a seed from `first` on, and how
    many replications to count. What was never counted has the share 0.
    """
    starts = range(0, n, AT_ONCE)
    tasks = [(design, first + k, min(AT_ONCE, n - start)) for k, start in enumerate(starts)]
    counts = sum(pool.map(work, tasks, chunksize=1), Counter[tuple[str, str]]())
    return defaultdict(float, {key: count / n for key, count in counts.items()})


def arguments(description: str | None, **replications: tuple[int, str]) -> argparse.Namespace:
    """The command line: how many replications of what by default, and how many processes."""
    parser = argparse.ArgumentParser(description=description)
    for name, (default, of) in replications.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{of} (default {default})")
    parser.add_argument("--processes", type=int, default=2)
    return parser.parse_args()


def provenance(command: str) -> str:
    """The line above a table: how, when and with what it was made."""
    return (
        f"`python benchmarks/{command}`, {datetime.now(UTC):%Y-%m-%d}, leukemia_lab {__version__}, "
        f"Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}\n"
    )
