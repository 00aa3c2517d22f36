"""How often a 95 % interval holds the truth: logits that are clustered by subject, with a known truth.

Prints one Markdown table: the interval by subject (the default), its bootstrap, and that of single cells.
"""

from __future__ import annotations

from collections import Counter
from multiprocessing import Pool

import numpy as np
from clustered_scores import METRICS, SUBJECTS, Counts, Design, arguments, provenance, shares
from scipy.stats import norm

from leukemia_lab.evaluation.cell_tests import structural_components
from leukemia_lab.evaluation.outcomes import Outcomes
from leukemia_lab.evaluation.uncertainty import Method, intervals, wilson

BOOTSTRAP_SEED = 10_000  # the first one; other data than the jackknife's


def cell_intervals(outcomes: Outcomes) -> dict[str, tuple[float, float]]:
    """What most papers would print: Wilson's interval of cells, DeLong's of the area, as if cells were independent."""
    hits = outcomes.predicted == outcomes.truth
    positive = outcomes.truth == outcomes.positive
    placed, beaten = (part[0] for part in structural_components(outcomes.probs[:, 0][None], positive))
    error = np.sqrt(placed.var(ddof=1) / len(placed) + beaten.var(ddof=1) / len(beaten))
    low, high = placed.mean() + norm.ppf([0.025, 0.975]) * error
    return {
        "accuracy": wilson(hits.mean(), len(hits)),
        "sensitivity": wilson(hits[positive].mean(), positive.sum()),
        "auroc": (low, high),
    }


def by_subject_and_cell(task: tuple[Design, int, int]) -> Counts:
    """How often the jackknife's and the cells' intervals held the truth, by kind and metric."""
    return _held(task, "jackknife", with_cells=True)


def by_bootstrap(task: tuple[Design, int, int]) -> Counts:
    """How often the bootstrap's intervals held the truth, by kind and metric."""
    return _held(task, "bootstrap", with_cells=False)


def _held(task: tuple[Design, int, int], method: Method, with_cells: bool) -> Counts:
    design, seed, n_replications = task
    rng, truths = design.generator(seed), design.truth()
    counts: Counts = Counter()
    for _ in range(n_replications):
        [outcomes] = design.drawn(rng)
        found = {method: intervals(outcomes, method=method)} | (
            {"cell": cell_intervals(outcomes)} if with_cells else {}
        )
        for kind, by_metric in found.items():
            for metric, truth in truths.items():
                low, high = by_metric[metric][:2]
                counts[kind, metric] += low is not None and high is not None and low <= truth <= high
    return counts


def main() -> None:
    """Print the table."""
    args = arguments(
        __doc__, replications=(1500, "replications"), bootstrap=(100, "replications of the bootstrap")
    )
    print(provenance(f"bench_coverage.py --replications {args.replications} --bootstrap {args.bootstrap}"))
    print("| design | d′ | metric | truth | by subject | by subject, bootstrap | by cell |")
    print("|---|---|---|---|---|---|---|")
    with Pool(args.processes) as pool:
        for design in (Design(name, d_prime) for name in SUBJECTS for d_prime in (2.0, 3.0)):
            found = shares(pool, by_subject_and_cell, design, args.replications)
            found |= shares(pool, by_bootstrap, design, args.bootstrap, BOOTSTRAP_SEED)
            truth = design.truth()
            for metric in METRICS:
                held = " | ".join(f"{found[kind, metric]:.1%}" for kind in ("jackknife", "bootstrap", "cell"))
                row = f"{design.subjects} | {design.d_prime:g} | {metric} | {truth[metric]:.3f} | {held}"
                print(f"| {row} |", flush=True)


if __name__ == "__main__":
    main()
