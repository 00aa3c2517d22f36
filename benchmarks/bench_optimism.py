"""How optimistic the best of K models looks on the cells that it was chosen on, and what three estimates say of that.

Prints one Markdown table. Models see the same subjects, and half of each score's deviation is shared by all of them.
"""

from __future__ import annotations

from collections import defaultdict
from multiprocessing import Pool

import numpy as np
from clustered_scores import Design, arguments, provenance
from scipy.stats import norm

from leukemia_lab.evaluation.metrics import Floats
from leukemia_lab.evaluation.optimism import Candidates, optimism
from leukemia_lab.evaluation.resampling import draw_groups
from leukemia_lab.progress import CONSOLE

DESIGNS = ("30 + 20 subjects of 40 cells", "C-NMC preliminary test, 13 + 15 groups")
METRIC = "auroc"
D_PRIME = 1.5
SPREADS = (0.0, 0.3)  # standard deviation of the models' true d'
MODELS = (1, 5, 20)
N_RESAMPLES = 200
FOLDS = 5
ESTIMATES = ("true", "in the resample", "by fold", "out of bag", "held")


def one(task: tuple[Design, int]) -> dict[str, float]:
    """The true optimism on one data set, the estimates of it, and whether the interval held the truth."""
    design, seed = task
    CONSOLE.quiet = True  # a line for each data set says nothing
    rng = np.random.default_rng([seed, design.n_models, round(100 * design.seed_sd), len(design.subjects)])
    gaps = design.d_prime + rng.normal(0, 1, design.n_models) * design.seed_sd
    candidates = Candidates([[outcomes] for outcomes in design.drawn(rng, gaps)], METRIC)
    objectives = _objectives(candidates, np.ones((1, len(candidates.group_names))))[:, 0]
    best = int(objectives.argmax())
    truth = float(norm.cdf(gaps[best] / np.sqrt(2)))
    found = optimism(candidates, objectives, np.zeros(len(gaps)), 0.0, N_RESAMPLES, seed)
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    return {
        "true": float(objectives[best]) - truth,
        "in the resample": _in_the_resample(candidates, objectives, seed),
        "by fold": _by_fold(candidates, best, rng),
        "out of bag": found.value,
        "held": float(found.low <= truth <= found.high),
    }


def _objectives(candidates: Candidates, weights: Floats) -> Floats:
    return np.stack([candidates.objectives(run, weights) for run in range(len(candidates.runs))])


def _in_the_resample(candidates: Candidates, objectives: Floats, seed: int) -> float:
    """Efron's optimism: the best of a resample there, less its value on all cells."""
    values = _objectives(candidates, draw_groups(candidates.strata, N_RESAMPLES, seed))
    values += objectives[:, None] - values.mean(axis=1, keepdims=True)
    chosen = values.argmax(axis=0)
    return float((values.max(axis=0) - objectives[chosen]).mean())


def _by_fold(candidates: Candidates, best: int, rng: np.random.Generator) -> float:
    """Tibshirani & Tibshirani (2009): the best of each fold of the cells there, less the value of the best of all."""
    weights = np.zeros((FOLDS, len(candidates.strata)))
    for stratum in np.unique(candidates.strata):
        own = rng.permutation(np.flatnonzero(candidates.strata == stratum))
        weights[np.arange(len(own)) % FOLDS, own] = 1
    values = _objectives(candidates, weights)
    return float((values.max(axis=0) - values[best]).mean())


def main() -> None:
    """Print the table."""
    args = arguments(__doc__, replications=(100, "data sets of each design"))
    print(provenance(f"bench_optimism.py --replications {args.replications}"))
    print(f"| design | SD of d′ | models | {' | '.join(ESTIMATES)} |")
    print(f"|---|---|---|{'---|' * len(ESTIMATES)}")
    with Pool(args.processes) as pool:
        for subjects in DESIGNS:
            for n_models, spread in ((n, sd) for n in MODELS for sd in SPREADS[: None if n > 1 else 1]):
                design = Design(subjects, D_PRIME, seed_sd=spread, n_models=n_models)
                columns = defaultdict(list)
                for found in pool.imap_unordered(one, [(design, k) for k in range(args.replications)]):
                    for name, value in found.items():
                        columns[name].append(value)
                means = [float(np.mean(columns[name])) for name in ESTIMATES]
                errors = [float(np.std(columns[name])) / np.sqrt(args.replications) for name in ESTIMATES]
                row = [f"{mean:.4f} ± {error:.4f}" for mean, error in zip(means[:-1], errors, strict=False)]
                shown = " | ".join([*row, f"{means[-1]:.0%}"])
                print(f"| {subjects} | {spread:g} | {n_models} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
