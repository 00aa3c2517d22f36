"""What the files of one run or several say of a study, in sentences, by subject of a checklist."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Any, NotRequired, TypedDict

from leukemia_lab.checklists import methods, results, stamps
from leukemia_lab.checklists.run_files import Run, at

Sentences = tuple[str, ...]

MAX_SENTENCES = 12  # of one subject, where runs differ; the rest are counted
MAX_NAMES = 3  # of the runs that a sentence is about


class RunFiles(TypedDict):
    """The content of a run's record.json, config.yaml and metrics.json; `explained` is that of its test part."""

    record: Mapping[str, Any]
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    explained: NotRequired[Mapping[str, Any]]


@dataclass(frozen=True)
class Facts:
    """Sentences by subject; empty where the files say nothing of it.

    A sentence that does not hold for all runs begins with the names of those that it holds for; `incomplete`
    names the subjects of which the files of some run say nothing.
    """

    task: Sentences = ()
    technique: Sentences = ()
    data: Sentences = ()
    unusable: Sentences = ()
    inputs: Sentences = ()
    preprocessing: Sentences = ()
    augmentation: Sentences = ()
    architecture: Sentences = ()
    initialisation: Sentences = ()
    training: Sentences = ()
    selection: Sentences = ()
    imbalance: Sentences = ()
    split: Sentences = ()
    disjoint: Sentences = ()
    sizes: Sentences = ()
    measures: Sentences = ()
    intervals: Sentences = ()
    performance: Sentences = ()
    validation: Sentences = ()
    calibration_method: Sentences = ()
    calibration: Sentences = ()
    threshold: Sentences = ()
    prediction: Sentences = ()
    test_use: Sentences = ()
    subgroups: Sentences = ()
    failures: Sentences = ()
    explanation: Sentences = ()
    ensemble: Sentences = ()
    external: Sentences = ()
    software: Sentences = ()
    hardware: Sentences = ()
    code: Sentences = ()
    reproduction: Sentences = ()
    runs: Sentences = ()
    seeds: Sentences = ()
    compared: Sentences = ()
    limits: Sentences = ()
    incomplete: frozenset[str] = frozenset()


def facts_of(runs: Sequence[RunFiles], compared: Sequence[str] = ()) -> Facts:
    """What the files of `runs` say together; a file that lacks a key, as one of an older version, says less.

    `compared` says how the runs were compared with one another, where they were: no run's own file does.
    """
    known = [
        Run(files["record"], files["config"], files["metrics"], files.get("explained", {})) for files in runs
    ]
    of_all = {"runs": _runs, "seeds": _seeds, "limits": _limits, "measures": _measures}
    said: dict[str, Sentences] = {name: tuple(say(known)) for name, say in of_all.items()}
    said["compared"] = tuple(compared)
    of_each = [field.name for field in fields(Facts) if field.name not in (*said, "incomplete")]
    says = {name: getattr(methods if hasattr(methods, name) else results, name) for name in of_each}
    said |= {name: _joined(known, say) for name, say in says.items()}
    incomplete = {name for name, say in says.items() if any(say(run) is None for run in known)}
    return Facts(**said, incomplete=frozenset(incomplete))


def _joined(runs: Sequence[Run], say: Callable[[Run], str | None]) -> Sentences:
    """Each sentence once, with the runs that it is about where it is not about all."""
    about: dict[str, list[str]] = {}
    for run in runs:
        text = say(run)
        if text is not None:
            about.setdefault(text, []).append(run.name)
    if [len(names) for names in about.values()] == [len(runs)]:
        return tuple(about)
    found = [f"{_names(names)}: {text}" for text, names in about.items()]
    more = len(found) - MAX_SENTENCES
    return tuple(found) if more <= 0 else (*found[:MAX_SENTENCES], f"and {more} more, which differ by run")


def _names(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMES
    shown = ", ".join(names[:MAX_NAMES])
    return shown if more <= 0 else f"{shown} and {more} more run{'' if more == 1 else 's'}"


def _runs(runs: Sequence[Run]) -> Iterable[str]:
    if not runs:
        return []
    models = [str(run.record.get("model", "a model")) for run in runs]
    seconds = [run.record["seconds"] for run in runs if run.record.get("seconds") is not None]
    cost = f"; a median of {median(seconds):,.0f} s each" if seconds else ""
    n = len(runs)
    return [f"{n} run{'' if n == 1 else 's'} of {', '.join(dict.fromkeys(models))}{cost}"]


def _seeds(runs: Sequence[Run]) -> Iterable[str]:
    seeds = sorted({at(run.config, "seed") for run in runs} - {None})
    return [f"Runs with the seeds {', '.join(map(str, seeds))}"] if len(seeds) > 1 else []


def _measures(runs: Sequence[Run]) -> Iterable[str]:
    names = list(
        dict.fromkeys(name for run in runs if run.shown_part for name in run.metrics[run.shown_part])
    )
    return [f"Measured: {', '.join(names)}"] if names else []


def _limits(runs: Sequence[Run]) -> Iterable[str]:
    """Every stamp of any run with its meaning, the number of groups tested, and what has no interval."""
    found = _joined(runs, _stamp_meanings)
    return (*found, *_joined(runs, _few_groups), *_joined(runs, _no_intervals))


def _stamp_meanings(run: Run) -> str | None:
    return ". ".join(stamps.meaning(stamp) for stamp in run.stamps) if run.stamps else None


def _few_groups(run: Run) -> str | None:
    n_groups = at(run.metrics, f"{run.shown_part}.accuracy.n_groups")
    return None if not n_groups else f"The {run.shown_part} part holds {n_groups:,} independent groups"


def _no_intervals(run: Run) -> str | None:
    if run.shown_part is None or results.intervals(run) is not None:
        return None
    return "The metrics are point estimates without intervals"
