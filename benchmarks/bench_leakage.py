"""How often gaps between protocols are found that are not there, and how often their intervals hold the true one.

Prints two Markdown tables: of drawn scores, whose truth is known in closed form, and of classifiers that are trained
on drawn features in each arm, where nothing leaks as long as subjects have no effect.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from multiprocessing import Pool
from multiprocessing.pool import Pool as Processes
from typing import Any

import numpy as np
import pandas as pd
from clustered_scores import AT_ONCE, SUBJECTS, Design, arguments, provenance
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from leukemia_lab.evaluation.leakage import (
    ARMS,
    GAPS,
    Arm,
    LeakagePrice,
    Run,
    joined,
    leakage_prices,
    prices_of,
)
from leukemia_lab.evaluation.metrics import Floats, Ints

N_FOLDS, N_NETS = 5, 2
CLASSES = ("ALL", "HEM")
NO_GAP, ONE_GAP = (2.0, 2.0, 2.0), (2.6, 2.3, 2.0)  # d' of the arms, as ARMS
ALPHA = 0.05


@dataclass(frozen=True)
class Scores:
    """Drawn scores of two nets in three arms, whose d' are `arms` [3]; each fold has a shift of its own."""

    subjects: str
    arms: tuple[float, float, float]

    def prices(self, rng: np.random.Generator) -> list[LeakagePrice]:
        """One study."""
        drawn = Design(self.subjects, 2.0, n_models=3 * N_NETS).drawn(rng, np.tile(self.arms, N_NETS))
        runs: dict[str, dict[Arm, Run]] = {}
        for k, own in enumerate(drawn):
            arm = ARMS[k % 3]
            folds = dealt(rng, own.truth, own.groups, whole=arm != "random")
            score = expit(own.logits[:, 0] + rng.normal(size=N_FOLDS)[folds])
            shifted = replace(own, probs=np.stack([score, 1 - score], axis=1))
            runs.setdefault(f"net {k // 3}", {})[arm] = shifted, folds
        return prices_of(runs)

    def truth(self) -> dict[tuple[Arm, Arm], float]:
        """The true gaps."""
        areas = dict(zip(ARMS, norm.cdf(np.array(self.arms) / np.sqrt(2)), strict=True))
        return {gap: float(areas[gap[0]] - areas[gap[1]]) for gap in GAPS}


@dataclass(frozen=True)
class Trained:
    """Logistic regression and nearest neighbours, trained and tested in folds of each arm.

    18 + 12 subjects of 20 cells with 8 features; two subjects of each class are one patient under two names. Of the
    variance of a feature `icc` is the patient's. Each arm is cross-validated `repeats` times, in other folds.
    """

    icc: float
    repeats: int

    def prices(self, rng: np.random.Generator) -> list[LeakagePrice]:
        """One study."""
        truth_of = np.repeat([0, 1], [18, 12])
        subjects = np.repeat(np.arange(30), 20)
        groups = np.where(np.isin(subjects, [1, 19]), subjects - 1, subjects)
        truth = truth_of[subjects]
        patient = rng.normal(size=(30, 8))[groups] * np.sqrt(self.icc)
        features = 0.6 * truth[:, None] + patient + rng.normal(size=(600, 8)) * np.sqrt(1 - self.icc)
        models: dict[str, Any] = {"logreg": LogisticRegression(), "knn": KNeighborsClassifier(5)}
        tables: dict[str, dict[Arm, list[pd.DataFrame]]] = {
            name: {arm: [] for arm in ARMS} for name in models
        }
        for _ in range(self.repeats):
            folds = {
                "random": dealt(rng, truth, subjects, whole=False),
                "apart": dealt(rng, truth, subjects, whole=True),
                "merged": dealt(rng, truth, groups, whole=True),
            }
            for (name, model), arm in product(models.items(), ARMS):
                own = groups if arm == "merged" else subjects
                score = out_of_fold(model, features, truth, folds[arm])
                tables[name][arm].append(table_of(score, truth, subjects, own, folds[arm]))
        return leakage_prices(
            {name: {arm: joined(of_arm) for arm, of_arm in own.items()} for name, own in tables.items()},
            CLASSES,
            "ALL",
        )

    def truth(self) -> dict[tuple[Arm, Arm], float]:
        """0, which is true of subjects without an effect."""
        return dict.fromkeys(GAPS, 0.0)


def dealt(rng: np.random.Generator, truth: Ints, groups: Ints, whole: bool) -> Ints:
    """Folds of cells at random, or of whole groups, dealt evenly within a class."""
    units = groups if whole else np.arange(len(truth))
    of_unit = np.zeros(units.max() + 1, dtype=np.int64)
    for label in (0, 1):
        own = rng.permutation(np.unique(units[truth == label]))
        of_unit[own] = np.arange(len(own)) % N_FOLDS
    return of_unit[units]


def out_of_fold(model: Any, features: Floats, truth: Ints, folds: Ints) -> Floats:
    """The log odds of class 0 by models that did not see the cell's fold."""
    share = np.empty(len(truth))
    for fold in range(N_FOLDS):
        model.fit(features[folds != fold], truth[folds != fold])
        share[folds == fold] = model.predict_proba(features[folds == fold])[:, 0]
    odds: Floats = logit(share.clip(1e-6, 1 - 1e-6))
    return odds


def table_of(score: Floats, truth: Ints, subjects: Ints, groups: Ints, folds: Ints) -> pd.DataFrame:
    """The columns of a predictions table that a price needs."""
    return pd.DataFrame(
        {
            "cell_id": [f"{cell:05}" for cell in range(len(truth))],
            "subject": [f"S{subject}" for subject in subjects],
            "group": [f"S{group}" for group in groups],
            "fold": pd.array(folds, dtype="Int64"),
            "label": np.array(CLASSES)[truth],
            "logit_ALL": score,
            "logit_HEM": 0.0,
            "prob_ALL": expit(score),
            "prob_HEM": expit(-score),
        }
    )


def studied(task: tuple[Scores | Trained, int, int]) -> list[dict[str, Any]]:
    """Each gap of n studies: its value, whether its interval is without 0 and holds the truth, and what Holm says."""
    design, seed, n = task
    rng = np.random.default_rng([seed, N_FOLDS])
    truth = design.truth()
    return [
        {
            "study": (seed, study),
            "net": price.model,
            "gap": " − ".join(arms),
            "truth": truth[arms],
            "value": gap.value,
            "rejected": not gap.low <= 0 <= gap.high,
            "held": gap.low <= truth[arms] <= gap.high,
            "by_holm": gap.p_holm < ALPHA,
        }
        for study in range(n)
        for price in design.prices(rng)
        for arms, gap in price.gaps.items()
        if gap.low is not None and gap.high is not None and gap.p_holm is not None
    ]


def studies(pool: Processes, design: Scores | Trained, n: int) -> pd.DataFrame:
    """One row a gap of n studies."""
    tasks = [(design, k, min(AT_ONCE, n - start)) for k, start in enumerate(range(0, n, AT_ONCE))]
    return pd.DataFrame([row for rows in pool.map(studied, tasks, chunksize=1) for row in rows])


def print_scores(pool: Processes, n: int) -> None:
    """Drawn scores: without a gap, and with one."""
    print(
        "| drawn scores | true gaps | any gap found, Holm | a gap found alone | interval holds the true gap |"
    )
    print("|---|---|---|---|---|")
    for subjects in SUBJECTS:
        for arms in (NO_GAP, ONE_GAP):
            gaps = studies(pool, Scores(subjects, arms), n)
            by_gap = gaps.groupby("gap", sort=False)
            true = ", ".join(f"{truth:.3f}" for truth in by_gap["truth"].first())
            found = ", ".join(f"{share:.1%}" for share in by_gap["rejected"].mean())
            held = ", ".join(f"{share:.1%}" for share in by_gap["held"].mean())
            print(f"| {subjects} | {true} | {any_by_holm(gaps):.1%} | {found} | {held} |", flush=True)


def print_trained(pool: Processes, n: int) -> None:
    """Trained classifiers: subjects without an effect of their own, and with one."""
    print(
        "\n| trained | repeats | share of variance that is the subject's | mean gaps | a gap found alone "
        "| any of both, Holm |"
    )
    print("|---|---|---|---|---|---|")
    for repeats, icc in product((1, 3), (0.0, 0.3)):
        gaps = studies(pool, Trained(icc, repeats), n)
        for net, own in gaps.groupby("net", sort=False):
            by_gap = own.groupby("gap", sort=False)
            mean = ", ".join(f"{value:+.3f}" for value in by_gap["value"].mean())
            found = ", ".join(f"{share:.1%}" for share in by_gap["rejected"].mean())
            print(f"| {net} | {repeats} | {icc:g} | {mean} | {found} | {any_by_holm(gaps):.1%} |", flush=True)


def any_by_holm(gaps: pd.DataFrame) -> float:
    """The share of studies in which any gap is found after Holm's correction."""
    return float(gaps.groupby("study")["by_holm"].any().mean())


def main() -> None:
    """Print the tables."""
    args = arguments(
        __doc__, scores=(1000, "studies of drawn scores"), trained=(400, "studies of trained classifiers")
    )
    print(provenance(f"bench_leakage.py --scores {args.scores} --trained {args.trained}"))
    gaps = ", ".join(" − ".join(gap) for gap in GAPS)
    print(f"Gaps, in this order: {gaps}.\n")
    with Pool(args.processes) as pool:
        print_scores(pool, args.scores)
        print_trained(pool, args.trained)


if __name__ == "__main__":
    main()
