"""From a study and a budget to its runs: each row under each arm, composed and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from leukemia_lab.config import Composer, checked
from leukemia_lab.errors import ConfigError
from leukemia_lab.identity import job_identity
from leukemia_lab.multirun import check_configs, composed, run_words
from leukemia_lab.schema import TrainCommandSettings
from leukemia_lab.schema.study import Budget, StudyRow
from leukemia_lab.studies.definition import Study


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study: a row under an arm, the words and the settings of its training.

    `repeat` counts from 0.
    """

    row: StudyRow
    arm: str
    repeat: int
    words: tuple[str, ...]
    settings: TrainCommandSettings


def plan(study: Study, budget: Budget, given: Sequence[str], config_dir: str | None) -> list[PlannedRun]:
    """The runs of `study` at `budget`; the words `given` by the user come last and overrule the study's.

    Raises:
        ConfigError: all faults of all runs.
    """
    _refuse_sweeps(given)
    composer = Composer("train", TrainCommandSettings, config_dir)
    node = study.node
    shared = [*node.overrides, *node.budgets.get(budget, [])]
    places, lists = [], []
    for row, arm, repeat in product(_rows(study, budget), node.arms, _repeats(study, budget)):
        places.append((row, arm.name, repeat))
        seeds = [] if repeat is None else [f"protocol.seed={repeat}", f"seed={repeat}"]
        lists.append(last_of_each_key([*shared, *row.overrides, *arm.words(budget), *seeds, *given]))
    configs = []
    for words in lists:
        configs += composed(composer, [words], words)
    check_configs(composer, configs)
    planned = [
        PlannedRun(
            row,
            arm,
            0 if repeat is None else repeat,
            run_words(words, config_dir),
            checked(TrainCommandSettings, config),
        )
        for (row, arm, repeat), words, config in zip(places, lists, configs, strict=True)
    ]
    _refuse_same_runs(study, planned)
    return planned


def last_of_each_key(words: Sequence[str]) -> list[str]:
    """`words` without those that a later one of the same key overrules, so that a run's record has each key once."""
    latest = {override.key_or_group: place for place, override in enumerate(_parsed(words))}
    return [words[place] for place in sorted(latest.values())]


def _rows(study: Study, budget: Budget) -> list[StudyRow]:
    """The rows, one for each combination of swept values, named by these; `overrides` are those at `budget`."""
    rows: list[StudyRow] = []
    for row in study.node.rows:
        parsed = _parsed(last_of_each_key(row.words(budget)))
        swept = [override.get_key_element() for override in parsed if override.is_sweep_override()]
        try:
            jobs = BasicSweeper.split_arguments(parsed, None)[0]
        except HydraException as error:
            raise ConfigError(
                f"{study.path}, {row.name}: {error}; name the values, key=a,b or range(1,4)"
            ) from error
        for job in jobs:
            values = dict(word.partition("=")[::2] for word in job)
            named = [f"{_last_part(key)}={values[key]}" for key in swept]
            name = " ".join([row.name, *named])
            if any(other.name == name for other in rows):
                raise ConfigError(f"{study.path}, rows: {name!r} is the name of two; give each its own")
            rows.append(row.model_copy(update={"name": name, "overrides": list(job), "budgets": {}}))
    return rows


def _repeats(study: Study, budget: Budget) -> Sequence[int | None]:
    """The seeds of the repeats; None alone where there are none, and the seeds are the study's own."""
    n = study.node.repeats.get(budget, 1)
    return range(n) if n > 1 else [None]


def _last_part(key: str) -> str:
    return key.lstrip("+").rpartition(".")[2].rpartition("/")[2]


def _refuse_same_runs(study: Study, planned: Sequence[PlannedRun]) -> None:
    """Raise ConfigError where two places of the table have one run: one of their names would not say what it is."""
    places: dict[str, str] = {}
    for run in planned:
        place = f"{run.row.name} ({run.arm}{f', repeat {run.repeat}' if run.repeat > 0 else ''})"
        other = places.setdefault(job_identity(run.settings.as_training()), place)
        if other != place:
            raise ConfigError(
                f"{study.path}: {other} and {place} are one and the same run, so that one of the names is wrong: leave "
                "out the word that makes them the same, or one of the rows"
            )


def _refuse_sweeps(given: Sequence[str]) -> None:
    for override in _parsed(given):
        if override.is_sweep_override():
            raise ConfigError(f"{override.input_line}: a study is a sweep already; give one value")
        if override.is_hydra_override():
            raise ConfigError(f"{override.input_line}: a study's folder is study.folder=…; leave it out")
        if override.key_or_group.partition(".")[0].partition("/")[0] == "search":
            raise ConfigError(f"{override.input_line}: a study says itself what is tried; leave it out")


def _parsed(words: Sequence[str]) -> list[Override]:
    try:
        return OverridesParser.create().parse_overrides(list(words))
    except HydraException as error:
        raise ConfigError(
            f"{' '.join(words)}: not understood ({error}); write key=value, in quotes where it has spaces or brackets"
        ) from error
