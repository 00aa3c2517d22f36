"""How often the paired tests reject: two models of equal truth, and of a true difference, on the same subjects.

Prints Markdown tables: false alarms at 5 % by test and metric, power by the difference in d', and how often the
interval of a mean over seeds holds the truth.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from multiprocessing import Pool
from multiprocessing.pool import Pool as Processes

import numpy as np
from clustered_scores import METRICS, SUBJECTS, Counts, Design, arguments, provenance, shares

from leukemia_lab.evaluation import metrics
from leukemia_lab.evaluation.cell_tests import delong, mcnemar
from leukemia_lab.evaluation.outcomes import Outcomes
from leukemia_lab.evaluation.paired import all_pairs, differences, resampled
from leukemia_lab.evaluation.seeds import over_seeds

PAIRED, SEEDS = "paired jackknife", "seeds"
BY_CELL = {"accuracy": "McNemar", "sensitivity": "McNemar", "auroc": "DeLong"}
LEVEL = 0.05
EVEN, TRAINING, PRELIMINARY = (Design(name, 2.0, n_models=2) for name in SUBJECTS)
EQUAL = (EVEN, replace(EVEN, d_prime=3.0), TRAINING, PRELIMINARY, replace(PRELIMINARY, d_prime=3.0))
GAINS = (0.1, 0.2, 0.3, 0.5)
OVER_SEEDS = ((3, 0.0), (3, 0.2), (5, 0.2), (5, 0.5))  # how many, and the SD of d'


def p_values(models: list[Outcomes]) -> dict[tuple[str, str], float]:
    """The p-value of each test for the first two models, by test and metric."""
    pairs = all_pairs(2)
    paired = differences(resampled(models), pairs).p[0]
    found = {(PAIRED, name): paired[metrics.METRICS.index(name)] for name in METRICS}
    correct = np.stack([model.predicted == model.truth for model in models])
    positive = models[0].truth == models[0].positive
    found["McNemar", "accuracy"] = mcnemar(correct, pairs).p[0]
    found["McNemar", "sensitivity"] = mcnemar(correct[:, positive], pairs).p[0]
    found["DeLong", "auroc"] = delong(np.stack([m.probs[:, 0] for m in models]), positive, pairs).p[0]
    return found


def rejections(task: tuple[Design, int, int]) -> Counts:
    """How often each test rejected at 5 % in these replications; a missing p-value does not."""
    design, seed, n = task
    rng = design.generator(seed)
    counts: Counts = Counter()
    for _ in range(n):
        counts.update(key for key, p in p_values(design.drawn(rng)).items() if p < LEVEL)
    return counts


def held(task: tuple[Design, int, int]) -> Counts:
    """How often the interval of the mean over all models, as seeds of one, held the truth."""
    design, seed, n = task
    rng, truth = design.generator(seed), design.truth()
    counts: Counts = Counter()
    for _ in range(n):
        found = over_seeds(resampled(design.drawn(rng)), range(design.n_models))
        for name in METRICS:
            low, high = found[name]["low"], found[name]["high"]
            counts[SEEDS, name] += low is not None and low <= truth[name] <= high
    return counts


def print_false_alarms(pool: Processes, n: int) -> None:
    """How often each test finds a difference where there is none."""
    print(f"| equal truth | d′ | metric | {PAIRED} | test that takes cells for independent |")
    print("|---|---|---|---|---|")
    for design in EQUAL:
        found = shares(pool, rejections, design, n)
        for metric, test in BY_CELL.items():
            rates = f"{found[PAIRED, metric]:.1%} | {test} {found[test, metric]:.1%}"
            print(f"| {design.subjects} | {design.d_prime:g} | {metric} | {rates} |", flush=True)


def print_power(pool: Processes, n: int) -> None:
    """How often the paired test finds a true difference."""
    print(f"\n| true difference of | {' | '.join(METRICS)} |\n|---|---|---|---|")
    base = EVEN.truth()
    for gain in GAINS:
        found = shares(pool, rejections, replace(EVEN, gain=gain), n)
        better = replace(EVEN, d_prime=EVEN.d_prime + gain).truth()
        cells = [f"{better[name] - base[name]:+.3f}: {found[PAIRED, name]:.0%}" for name in METRICS]
        print(f"| d′ {EVEN.d_prime:g} against {EVEN.d_prime + gain:g} | {' | '.join(cells)} |", flush=True)


def print_seeds(pool: Processes, n: int) -> None:
    """How often the interval of a mean over seeds holds the truth."""
    print(f"\n| mean over seeds | {' | '.join(METRICS)} |\n|---|---|---|---|")
    for n_models, seed_sd in OVER_SEEDS:
        found = shares(pool, held, replace(EVEN, n_models=n_models, seed_sd=seed_sd), n)
        row = " | ".join(f"{found[SEEDS, name]:.1%}" for name in METRICS)
        print(f"| {n_models} seeds, d′ varies by {seed_sd:g} (SD) | {row} |", flush=True)


def main() -> None:
    """Print the tables."""
    args = arguments(
        __doc__,
        replications=(2000, "replications of two models of equal truth"),
        power=(400, "replications of each true difference"),
        seeds=(400, "replications of means over seeds"),
    )
    given = f"--replications {args.replications} --power {args.power} --seeds {args.seeds}"
    print(provenance(f"bench_comparison.py {given}"))
    with Pool(args.processes) as pool:
        print_false_alarms(pool, args.replications)
        print_power(pool, args.power)
        print_seeds(pool, args.seeds)


if __name__ == "__main__":
    main()
