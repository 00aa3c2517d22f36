"""How optimistic a run looks that one_standard_error chose, and whether gaps between runs belong to the estimate.

Prints one Markdown table. Five models, the second more complex than the first and so on, see the same subjects.
"""

from __future__ import annotations

from multiprocessing import Pool

import numpy as np
from bench_optimism import DESIGNS, METRIC, N_RESAMPLES
from clustered_scores import Design, arguments, provenance
from scipy.stats import norm

from leukemia_lab.evaluation.metrics import Floats
from leukemia_lab.evaluation.optimism import Candidates, choose, optimism, standard_error
from leukemia_lab.evaluation.resampling import draw_groups
from leukemia_lab.progress import CONSOLE

D_PRIME = 1.5  # of the most complex model
COMPLEXITY = np.arange(5.0)
STEPS = (0.0, 0.1, 0.2)  # by how much each model's true d' is below that of the next more complex one


def one(task: tuple[Design, float, int]) -> tuple[float, float, float, float]:
    """The true optimism on one data set, the estimate with the gaps and without, and whether its interval held."""
    design, step, seed = task
    CONSOLE.quiet = True  # a line for each data set says nothing
    rng = np.random.default_rng([seed, len(design.subjects), round(100 * step)])
    gaps = design.d_prime + step * (COMPLEXITY - COMPLEXITY[-1])
    candidates = Candidates([[outcomes] for outcomes in design.drawn(rng, gaps)], METRIC)
    objectives = _objectives(candidates, np.ones((1, len(candidates.group_names))))[:, 0]
    margin = standard_error(candidates, int(objectives.argmax()))
    assert margin is not None
    chosen = choose(objectives[:, None], COMPLEXITY, margin)[0]
    luck = objectives - norm.cdf(gaps / np.sqrt(2))
    found = optimism(candidates, objectives, COMPLEXITY, margin, N_RESAMPLES, seed)
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    between = _between(candidates, objectives, margin, seed)
    held = found.low <= objectives[chosen] - luck[chosen] <= found.high
    # The luck that all models share is 0 on average, and no choice: without it fewer data sets do.
    return float(luck[chosen] - luck.mean()), found.value + between, found.value, float(held)


def _objectives(candidates: Candidates, weights: Floats) -> Floats:
    return np.stack([candidates.objectives(run, weights) for run in range(len(candidates.runs))])


def _between(candidates: Candidates, objectives: Floats, margin: float, seed: int) -> float:
    """What the run chosen in a resample loses by objective to the one chosen, beyond what the best there loses."""
    values = _objectives(candidates, draw_groups(candidates.strata, N_RESAMPLES, seed))
    values += objectives[:, None] - values.mean(axis=1, keepdims=True)
    chosen = choose(np.column_stack([objectives, values]), COMPLEXITY, margin)
    best = objectives[values.argmax(axis=0)]
    return float((objectives[chosen[0]] - objectives[chosen[1:]] - objectives.max() + best).mean())


def main() -> None:
    """Print the table."""
    args = arguments(__doc__, replications=(200, "data sets of each design"))
    print(provenance(f"bench_one_standard_error.py --replications {args.replications}"))
    print(
        "| design | d′ a step | of | true | with gaps | used | error with gaps | error of the used | held |"
    )
    print(f"|{'---|' * 9}")
    with Pool(args.processes) as pool:
        for subjects, step in ((subjects, step) for subjects in DESIGNS for step in STEPS):
            design = Design(subjects, D_PRIME, n_models=len(COMPLEXITY))
            tasks = [(design, step, seed) for seed in range(args.replications)]
            found = np.array(pool.map(one, tasks))
            highest = found[:, 1] >= np.quantile(found[:, 1], 0.9)
            for of, rows in (("all", found), ("highest tenth", found[highest])):
                print(f"| {subjects} | {step:g} | {of} | {_row(rows)} |", flush=True)


def _row(found: Floats) -> str:
    """Means with standard errors, the root mean square errors of both estimates, and the share held."""
    errors = found.std(axis=0) / np.sqrt(len(found))
    means = [f"{mean:.4f} ± {error:.4f}" for mean, error in zip(found.mean(axis=0)[:3], errors, strict=False)]
    off = np.sqrt(((found[:, 1:3] - found[:, :1]) ** 2).mean(axis=0))
    return " | ".join([*means, *(f"{error:.4f}" for error in off), f"{found[:, 3].mean():.0%}"])


if __name__ == "__main__":
    main()
