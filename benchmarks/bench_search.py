"""What pruning saves a search: the best validation AUROC for the same number of epochs, and the epochs to get there.

For each seed (of the split, the weights and the proposals) a search without pruning, and one with it that goes on until
it has spent as many epochs. All trials are trained as `train -m` trains them, but draw no figures. Only trials that
were trained to their end count as results. Prints one Markdown table.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: nets this small are no faster on more

import torch
from clustered_scores import provenance

from leukemia_lab import net_runs, training
from leukemia_lab.config import Composer, checked
from leukemia_lab.estimators.history import read_history
from leukemia_lab.multirun import run_words
from leukemia_lab.progress import CONSOLE
from leukemia_lab.runs.record import HISTORY
from leukemia_lab.schema import TrainCommandSettings
from leukemia_lab.schema.sweep import Search
from leukemia_lab.search.space import SearchSpace
from leukemia_lab.search.study import StudySource
from leukemia_lab.sweeping.engine import Later, run_jobs
from leukemia_lab.sweeping.job import Job, JobEnd, TrialAddress
from leukemia_lab.sweeping.launching import LocalLauncher

MAX_EPOCHS = 27
FIXED = (
    "data.n_cells=600",
    "data.n_subjects=60",  # with fewer, or with C-NMC's effect of subjects, the objective says little of the trials
    "data.subject_effect=0.3",
    "pipeline.image_size=32",
    "trainer.accelerator=cpu",
    f"trainer.max_epochs={MAX_EPOCHS}",
    "trainer.patience=null",
    "trainer.monitor=val/auroc",  # the search's own objective
    "trainer.batch_size=16",
    "optim.warmup_epochs=0",  # an epoch is few steps here, and the first cut comes after one
)
SPACE = (
    "optim.lr=tag(log,interval(1e-5,1e-1))",
    "optim.weight_decay=tag(log,interval(1e-4,1))",
    "model.net.width=range(2,17,2)",
    "model.net.dropout=interval(0,0.7)",
    "augment=none,dihedral",
)
ENDLESS = 10_000  # trials: the budget ends the search


@dataclass(frozen=True)
class Found:
    """A trial's result where it was trained to its end, and the epochs that its search had spent by then."""

    epochs: int
    objective: float | None


class Budget:
    """Gives out the trials of `source` until `epochs` are spent."""

    def __init__(self, source: StudySource, epochs: int) -> None:
        self._source, self._epochs = source, epochs
        self.found: list[Found] = []

    def next(self) -> Job | Later | None:
        """The next trial; None when no epoch is left."""
        spent = self.found[-1].epochs if self.found else 0
        return self._source.next() if spent < self._epochs else None

    def ended(self, end: JobEnd) -> None:
        """Count the epochs that the trial took; one that goes beyond the budget is not counted."""
        self._source.ended(end)
        assert end.run is not None, end.error
        spent = (self.found[-1].epochs if self.found else 0) + len(read_history(end.run / HISTORY))
        self.found.append(Found(spent, end.objective if end.status == "finished" else None))


def draw_nothing(*_: object) -> None:
    """In the place of what draws figures."""


def searched(folder: Path, words: Sequence[str], epochs: int) -> list[Found]:
    """The trials of a search, in their order, those beyond the budget left out."""
    composer = Composer("train", TrainCommandSettings, None)

    def settings(overrides: Sequence[str]) -> TrainCommandSettings:
        return checked(TrainCommandSettings, composer.compose(list(overrides)))

    def make_job(overrides: Sequence[str], trial: TrialAddress) -> Job:
        own = settings(overrides).as_training()
        return Job(folder, trial.number, run_words(overrides, None), own, trial)

    space = SearchSpace.of(words)
    samples = [settings(sample) for sample in space.samples()]
    search = samples[0].search
    assert isinstance(search, Search)
    trainings = [sample.as_training() for sample in samples]
    with StudySource(search, space, trainings, folder, make_job, retry_failed=False) as source:
        budget = Budget(source, epochs)
        run_jobs(budget, LocalLauncher(), stop_on_error=True, noted=lambda _: None)
    return [found for found in budget.found if found.epochs <= epochs]


def one_search(task: tuple[int, str, argparse.Namespace]) -> list[Found]:
    """The search of a seed with a pruner, in a process of its own."""
    seed, pruner, args = task
    CONSOLE.quiet = True
    torch.set_num_threads(1)
    training.explain = training.log_part = net_runs._log_pictures = draw_nothing
    seeds = (f"search.seed={seed}", f"seed={seed}", f"protocol.seed={seed}")
    how = (f"search={args.sampler}", f"search/pruner={pruner}", f"search.n_trials={ENDLESS}")
    with tempfile.TemporaryDirectory() as folder:
        return searched(Path(folder), (*FIXED, *SPACE, *how, *seeds, *args.words), args.trials * MAX_EPOCHS)


def best(trials: Sequence[Found]) -> float:
    """The objective of the best trial that was trained to its end."""
    return max(found.objective for found in trials if found.objective is not None)


def share_to_reach(objective: float, trials: Sequence[Found], epochs: int) -> float:
    """The share of the budget after which a trial was as good; infinite where none was."""
    reached = [
        found.epochs for found in trials if found.objective is not None and found.objective >= objective
    ]
    return min(reached) / epochs if reached else float("inf")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=16, help="of the search without pruning (default 16)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--sampler", default="tpe", help="tpe (default) | random | cmaes")
    parser.add_argument("--pruner", default="asha", help="asha (default) | hyperband | median")
    parser.add_argument("words", nargs="*", help="overrides of all runs")
    args = parser.parse_args()
    budget = args.trials * MAX_EPOCHS
    asked = f"--trials {args.trials} --sampler {args.sampler} --pruner {args.pruner}"
    print(provenance(" ".join(["bench_search.py", asked, *args.words])))
    print(
        "| seed | best without pruning | trials | best with it | trials | finished | difference | reached after |"
    )
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    with get_context("spawn").Pool(args.processes, maxtasksperchild=1) as pool:
        tasks = [(seed, pruner, args) for seed in range(args.seeds) for pruner in ("none", args.pruner)]
        searches = pool.imap(one_search, tasks, chunksize=1)
        for seed, (unpruned, pruned) in enumerate(zip(searches, searches, strict=True)):
            difference = best(pruned) - best(unpruned)
            reached = share_to_reach(best(unpruned), pruned, budget)
            rows.append((difference, reached))
            n_finished = sum(found.objective is not None for found in pruned)
            print(
                f"| {seed} | {best(unpruned):.4f} | {len(unpruned)} | {best(pruned):.4f} | {len(pruned)} "
                f"| {n_finished} | {difference:+.4f} | {reached:.0%} |",
                flush=True,
            )
    differences, shares = zip(*rows, strict=True)
    print(f"| median | | | | | | {statistics.median(differences):+.4f} | {statistics.median(shares):.0%} |")


if __name__ == "__main__":
    main()
