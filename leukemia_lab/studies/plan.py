"""From a study and a budget to its runs: each row under each arm, composed and checked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from leukemia_lab.config import Composer, checked, faults_error
from leukemia_lab.errors import ConfigError
from leukemia_lab.identity import job_identity
from leukemia_lab.multirun import run_words, word_faults
from leukemia_lab.schema import TrainCommandSettings
from leukemia_lab.schema.study import Budget, StudyRow
from leukemia_lab.studies.definition import Study
from leukemia_lab.studies.word_lists import WordList, cause_of, list_faults, study_lists

_NOT_COMPOSED = (HydraException, OmegaConfBaseException, ValueError)


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


@dataclass(frozen=True)
class _Draft:
    """A run that is not yet composed: `lists` are those of the study that its `words` come from."""

    row: StudyRow
    arm: str
    repeat: int | None
    words: list[str]
    lists: list[WordList]


@dataclass(frozen=True)
class _Fault:
    """What is wrong with the word of `key` at a place of the study's file, and the runs where it is."""

    place: str
    key: str
    text: str
    drafts: list[_Draft]

    def is_of(self, draft: _Draft) -> bool:
        return self.place in [own.place for own in draft.lists]

    def shown(self, drafts: Sequence[_Draft]) -> str:
        """Where and what; the first run with it, where others have the same word without a fault."""
        first = self.drafts[0]
        is_all = len(self.drafts) == sum(self.is_of(draft) for draft in drafts)
        return f"{self.place}{self.text}{'' if is_all else f' (in {first.row.name} under {first.arm})'}"


def plan(study: Study, budget: Budget, given: Sequence[str], config_dir: str | None) -> list[PlannedRun]:
    """The runs of `study` at `budget`; the words `given` by the user come last and overrule the study's.

    Raises:
        ConfigError: all faults of all runs, each once and by its place in the study's file.
    """
    drafts = _drafts(study, budget, given)
    composer = Composer("train", TrainCommandSettings, config_dir)
    planned = [
        PlannedRun(
            draft.row,
            draft.arm,
            0 if draft.repeat is None else draft.repeat,
            run_words(draft.words, config_dir),
            checked(TrainCommandSettings, config),
        )
        for draft, config in zip(drafts, _composed(study, composer, drafts), strict=True)
    ]
    _refuse_same_runs(study, planned)
    return planned


def last_of_each_key(words: Sequence[str]) -> list[str]:
    """`words` without those that a later one of the same key overrules, so that a run's record has each key once."""
    latest = {override.key_or_group: place for place, override in enumerate(_parsed(words))}
    return [words[place] for place in sorted(latest.values())]


def _drafts(study: Study, budget: Budget, given: Sequence[str]) -> list[_Draft]:
    lists = study_lists(study, budget, given)
    faults = list_faults(study, lists)
    if faults:
        raise faults_error(faults)
    drafts = []
    for (number, row), (place, arm), repeat in product(
        _rows(study, budget), enumerate(study.node.arms), _repeats(study, budget)
    ):
        shared = [word for own in lists.shared for word in own.words]
        seeds = [] if repeat is None else [f"protocol.seed={repeat}", f"seed={repeat}"]
        words = last_of_each_key([*shared, *row.overrides, *arm.words(budget), *seeds, *given])
        drafts.append(_Draft(row, arm.name, repeat, words, lists.of_run(number, place)))
    return drafts


def _composed(
    study: Study, composer: Composer[TrainCommandSettings], drafts: Sequence[_Draft]
) -> list[DictConfig]:
    """The config of each run; ConfigError with the faults of all."""
    configs: list[DictConfig] = []
    found: dict[tuple[str, str], _Fault] = {}
    for draft in drafts:
        try:
            configs.append(composer.compose(draft.words))
            faults = composer.settings_faults(configs[-1])
        except _NOT_COMPOSED as error:
            faults = _known_faults(composer, draft, found.values()) or word_faults(
                composer, draft.words, error
            )
        for text in dict.fromkeys(faults):
            place, key = cause_of(text, draft.lists) or (f"{study.path}: ", "")
            # what is allowed instead, after the semicolon, may differ from model to model
            own = found.setdefault((place, text.partition(";")[0]), _Fault(place, key, text, []))
            own.drafts.append(draft)
    if found:
        raise faults_error([fault.shown(drafts) for fault in found.values()])
    return configs


def _known_faults(
    composer: Composer[TrainCommandSettings], draft: _Draft, found: Collection[_Fault]
) -> list[str]:
    """The faults already `found` where the run composes without their words: to try each word takes seconds."""
    known = [fault for fault in found if fault.is_of(draft)]
    keys = {fault.key for fault in known}
    words = [word for word in draft.words if _parsed([word])[0].key_or_group not in keys]
    try:
        return [*(fault.text for fault in known), *composer.settings_faults(composer.compose(words))]
    except _NOT_COMPOSED:
        return []


def _rows(study: Study, budget: Budget) -> list[tuple[int, StudyRow]]:
    """The rows and their places in the file; one for each combination of swept values, named by these.

    `overrides` are those at `budget`.
    """
    rows: list[tuple[int, StudyRow]] = []
    for number, row in enumerate(study.node.rows):
        parsed = _parsed(last_of_each_key(row.words(budget)))
        swept = [override.get_key_element() for override in parsed if override.is_sweep_override()]
        for job in BasicSweeper.split_arguments(parsed, None)[0]:
            values = dict(word.partition("=")[::2] for word in job)
            named = [f"{_last_part(key)}={values[key]}" for key in swept]
            name = " ".join([row.name, *named])
            if any(other.name == name for _, other in rows):
                raise ConfigError(f"{study.path}, rows: {name!r} is the name of two; give each its own")
            rows.append(
                (number, row.model_copy(update={"name": name, "overrides": list(job), "budgets": {}}))
            )
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


def _parsed(words: Sequence[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(words))
