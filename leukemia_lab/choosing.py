"""Which run of a sweep is the one to evaluate: chosen on validation cells alone, with the optimism of having chosen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from leukemia_lab.errors import RunError
from leukemia_lab.estimators.checkpoints import OBJECTIVE
from leukemia_lab.evaluation.metrics import Floats
from leukemia_lab.evaluation.optimism import Candidates, Optimism, choose, optimism, standard_error
from leukemia_lab.evaluation.outcomes import Outcomes
from leukemia_lab.evaluation.uncertainty import LEVEL, N_RESAMPLES
from leukemia_lab.results.collect import Collected, LeftOut, collect
from leukemia_lab.results.comparable import require_comparable
from leukemia_lab.results.run_result import RunResult
from leukemia_lab.runs import record
from leukemia_lab.runs.record import RunFolder
from leukemia_lab.search.outcome import recorded_number
from leukemia_lab.sweeping.job_files import JOBS

Rule = Literal["best", "one_standard_error"]


@dataclass(frozen=True)
class Choice:
    """The run chosen from the finished ones of a sweep, and from how many.

    `best` is the run of the highest objective, whatever the rule. `unused` are the configurations that have no
    result, by status (pruned, failed, unfinished). `looks_of_others` counts how often other runs of the sweep have
    opened the test part.
    """

    sweep: Path
    rule: Rule
    run: RunResult
    best: RunResult
    standard_error: float | None
    optimism: Optimism
    n_finished: int
    unused: dict[str, list[LeftOut]]
    looks_of_others: int

    @property
    def n_configurations(self) -> int:
        """How many the validation part has judged: finished or pruned. Failed ones were not looked at."""
        return self.n_finished + len(self.unused["pruned"])

    def document(self) -> dict[str, Any]:
        """What record.json says of it, as `sweep_choice`."""
        return {
            "sweep": str(self.sweep),
            "rule": self.rule,
            "by": OBJECTIVE,
            "objective": self.run.metrics["objective"],
            "best": self.best.name,
            "best_objective": self.best.metrics["objective"],
            "standard_error": self.standard_error,
            "n_configurations": self.n_configurations,
            "n_finished": self.n_finished,
            **{f"n_{status}": len(listed) for status, listed in self.unused.items()},
            "optimism": self.optimism._asdict() | {"level": LEVEL, "n_resamples": N_RESAMPLES},
            "looks_of_others": self.looks_of_others,
        }


def choose_run(sweep: Path, rule: Rule) -> Choice:
    """Choose one of the finished runs in the folder `sweep` by their validation objective.

    `one_standard_error` takes the one of fewest weights within a standard error of the best (Breiman et al. 1984).

    Raises:
        RunError: there is none, or they cannot be compared: other data, splits or classes, no objective.
    """
    collected = _collected(sweep)
    runs = collected.runs
    _require_one_contest(runs)
    objectives = np.array([run.metrics["objective"] for run in runs], dtype=np.float64)
    candidates = Candidates([_validated(run) for run in runs], OBJECTIVE.partition("/")[2])
    best = int(choose(objectives[:, None], np.zeros(len(runs)), 0.0)[0])
    error = standard_error(candidates, best)
    complexity, margin = np.zeros(len(runs)), 0.0
    if rule == "one_standard_error":
        complexity, margin = _complexity(runs), _margin(error, runs[best])
    chosen = int(choose(objectives[:, None], complexity, margin)[0])
    return Choice(
        sweep=sweep,
        rule=rule,
        run=runs[chosen],
        best=runs[best],
        standard_error=error,
        optimism=optimism(candidates, objectives, complexity, margin),
        n_finished=len(runs),
        unused=_unused(collected),
        looks_of_others=_looks(collected) - runs[chosen].record.get("test_looks", 0),
    )


def _collected(sweep: Path) -> Collected:
    if not sweep.is_dir():
        raise RunError(f"sweep={sweep}: no such folder; give that of a sweep: sweep=runs/sweep-…")
    if (sweep / record.RECORD).exists():
        raise RunError(f"sweep={sweep} is the folder of one run: give run={sweep}")
    if not (sweep / JOBS).is_dir():
        inside = sorted(str(path.parent) for path in sweep.glob(f"*/{JOBS}"))
        hint = (
            f": give one of {', '.join(inside[:5])}" if inside else "; its runs would have no common contest"
        )
        raise RunError(f"sweep={sweep} is not the folder of a sweep{hint}")
    try:
        return collect([sweep])
    except RunError as error:
        raise RunError(f"sweep={sweep} has no finished run to choose ({error})") from error


def _require_one_contest(runs: tuple[RunResult, ...]) -> None:
    """Raise RunError where the objectives of two runs are not of the same validation cells."""
    require_comparable(runs)
    first = runs[0]
    for run in runs:
        if run.split_hashes != first.split_hashes:
            raise RunError(
                f"{first.path} and {run.path} were validated on different splits ({', '.join(first.split_hashes)} and "
                f"{', '.join(run.split_hashes)}): which is better on validation cells cannot be said. Choose among "
                "runs of one split"
            )
        if run.metrics["objective"] is None:
            raise RunError(f"{run.path} has no {OBJECTIVE}: a class has no cell in its validation part")


def _validated(run: RunResult) -> list[Outcomes]:
    """What a run predicted for the validation cells of each of its folds."""
    table = run.predicted("val")
    folds = table.groupby("run_id", sort=False)  # one model a fold
    return [Outcomes.of(rows, run.class_names, run.positive) for _, rows in folds]


def _complexity(runs: tuple[RunResult, ...]) -> Floats:
    return np.array([_n_weights(run) for run in runs])


def _n_weights(run: RunResult) -> float:
    """The numbers that a run's model has learnt; of a cross-validation the mean of its folds' models."""
    count = recorded_number(RunFolder.existing(run.path), "n_weights")
    if count is None:
        raise RunError(
            f"{run.path} does not say how many weights its model has, it was trained by an earlier version: choose=best"
        )
    return count


def _margin(error: float | None, best: RunResult) -> float:
    if error is None:
        raise RunError(
            f"choose=one_standard_error: the standard error of {best.path} is not known, for its validation cells have "
            "no subjects, or a class a single one: choose=best"
        )
    return error


def _unused(collected: Collected) -> dict[str, list[LeftOut]]:
    """The configurations without a result by status; a failed job that has a run folder counts once."""
    finished = {run.record["identity"] for run in collected.runs}
    listed: dict[str, list[LeftOut]] = {"pruned": [], "failed": [], "unfinished": []}
    words = {_words(run.record) for run in collected.runs}
    for left in sorted(collected.left_out, key=lambda left: not _is_run(left)):  # run folders before jobs
        found = _record(left)
        if found.get("identity") in finished or left.where in words:
            continue  # a copy of one that counts
        words.add(_words(found))
        status = found.get("status", "failed" if left.reason.startswith("failed") else "unfinished")
        listed[status if status in listed else "unfinished"].append(left)
    return listed


def _looks(collected: Collected) -> int:
    """How often the runs of a sweep have opened the test part; of copies of a run the one that did most."""
    looks: Counter[str] = Counter()
    for found in [*(run.record for run in collected.runs), *map(_record, collected.left_out)]:
        if "identity" in found:
            looks[found["identity"]] = max(looks[found["identity"]], found.get("test_looks", 0))
    return looks.total()


def _is_run(left: LeftOut) -> bool:
    return (Path(left.where) / record.RECORD).exists()


def _record(left: LeftOut) -> Any:
    """The record of a run that was left out; empty for a job without one, and where it cannot be read."""
    try:
        return record.read_json(Path(left.where) / record.RECORD)
    except RunError:
        return {}


def _words(found: Any) -> str:
    """The command line of a run, as the job that made it is named."""
    overrides = found.get("overrides")
    return " ".join(map(str, overrides)) if overrides is not None else ""
