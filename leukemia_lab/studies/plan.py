"""From a study and a budget to its runs: each row under each arm, composed and checked."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from leukemia_lab.config import Composer, checked, faults_error
from leukemia_lab.identity import job_identity
from leukemia_lab.multirun import run_words, word_faults
from leukemia_lab.schema import TrainCommandSettings
from leukemia_lab.schema.study import Budget, StudyRow
from leukemia_lab.studies.definition import Study
from leukemia_lab.studies.word_lists import WordList, cause_of, of_run, single_words, study_lists

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

    @property
    def name(self) -> str:
        """`run_name` of it."""
        return run_name(self.row, self.arm, self.repeat)


def run_name(row: StudyRow, arm: str, repeat: int) -> str:
    """The row and arm, and the repeat after the first: `KNN (subject_kfold, repeat 1)`."""
    return f"{row.name} ({arm}{f', repeat {repeat}' if repeat > 0 else ''})"


@dataclass(frozen=True)
class _Draft:
    """A run that is not yet composed: `lists` are those of the study that its `words`, by key, come from."""

    row: StudyRow
    arm: str
    repeat: int
    words: dict[str, str]
    lists: list[WordList]


@dataclass(frozen=True)
class _Fault:
    """What is wrong with the word of `key` at a place of the study's file, and the runs where it is."""

    place: str
    key: str
    text: str
    drafts: list[_Draft]

    def is_of(self, draft: _Draft) -> bool:
        """Whether the same word, with no other that overrules it, is one of the draft's."""
        return cause_of(self.text, draft.lists) == (self.place, self.key)

    def shown(self, drafts: Sequence[_Draft]) -> str:
        """Where and what; the first run with it, where others have the same word without a fault.

        What no word sets has no key: all runs have it.
        """
        first = self.drafts[0]
        is_all = len(self.drafts) == sum(self.key == "" or self.is_of(draft) for draft in drafts)
        return f"{self.place}{self.text}{'' if is_all else f' (in {first.row.name} under {first.arm})'}"


def plan(study: Study, budget: Budget, given: Sequence[str], config_dir: str | None) -> list[PlannedRun]:
    """The runs of `study` at `budget`; the words `given` by the user come last and overrule the study's.

    Raises:
        ConfigError: all faults of words by themselves; else those of all runs, each once and by its place in the
            study's file; else all names and runs that are equal.
    """
    drafts = _drafts(study, budget, given)
    configs = _composed(study, Composer("train", TrainCommandSettings, config_dir), drafts)
    planned = []
    for draft, config in zip(drafts, configs, strict=True):
        words = run_words(list(draft.words.values()), config_dir)
        settings = checked(TrainCommandSettings, config)
        planned.append(PlannedRun(draft.row, draft.arm, draft.repeat, words, settings))
    _refuse_equal(study, planned)
    return planned


def _drafts(study: Study, budget: Budget, given: Sequence[str]) -> list[_Draft]:
    lists = study_lists(study, budget, given)
    drafts = []
    for (number, row, chosen), (place, arm), repeat in product(
        _rows(study, lists), enumerate(study.node.arms), range(study.node.repeats.get(budget, 1))
    ):
        own = of_run(lists, number, place, repeat)
        drafts.append(_Draft(row, arm.name, repeat, _words(own, chosen), own))
    return drafts


def _words(lists: Sequence[WordList], chosen: Mapping[str, str]) -> dict[str, str]:
    """By its key the last word of each, so that a run's record has it once; of a swept one what is `chosen`."""
    words: dict[str, str] = {}
    for word in (word for own in lists for word in own.words):
        text = str(word.input_line)
        words.pop(word.key_or_group, None)  # in the order of the last words
        words[word.key_or_group] = chosen.get(text, text)
    return words


def _composed(
    study: Study, composer: Composer[TrainCommandSettings], drafts: Sequence[_Draft]
) -> list[DictConfig]:
    """The config of each run; ConfigError with the faults of all."""
    configs: list[DictConfig] = []
    found: dict[tuple[str, str], _Fault] = {}
    for draft in drafts:
        words = list(draft.words.values())
        try:
            configs.append(composer.compose(words))
            faults = composer.settings_faults(configs[-1])
        except _NOT_COMPOSED as error:
            faults = _known_faults(composer, draft, found.values()) or word_faults(composer, words, error)
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
    if not known:
        return []
    keys = {fault.key for fault in known}
    words = [word for key, word in draft.words.items() if key not in keys]
    try:
        return [*(fault.text for fault in known), *composer.settings_faults(composer.compose(words))]
    except _NOT_COMPOSED:
        return []


def _rows(study: Study, lists: Sequence[WordList]) -> list[tuple[int, StudyRow, dict[str, str]]]:
    """Each row's place in the file, the row with the words that it has, and the value chosen of each swept word.

    There is one for each combination of values, named by these.
    """
    rows = []
    for number, row in enumerate(study.node.rows):
        own = [of_row for of_row in lists if (of_row.owner, of_row.number) == ("rows", number)]
        latest = {word.key_or_group: word for of_row in own for word in of_row.words}
        swept = [word for word in latest.values() if word.is_sweep_override()]
        for values in product(*map(single_words, swept)):
            chosen = {str(word.input_line): value for word, value in zip(swept, values, strict=True)}
            # of ++model.net.width=4 the end of the key and the value
            name = " ".join([row.name, *(re.sub(r"^[^=]*[./+]", "", value) for value in values)])
            update = {"name": name, "overrides": list(_words(own, chosen).values()), "budgets": {}}
            rows.append((number, row.model_copy(update=update), chosen))
    return rows


def _refuse_equal(study: Study, planned: Sequence[PlannedRun]) -> None:
    """Raise ConfigError where two places of the table have one name or one run: no name would say what it is."""
    names: dict[str, PlannedRun] = {}
    runs: dict[str, PlannedRun] = {}
    faults = []
    for run in planned:
        if names.setdefault(run.name, run) is not run:
            faults.append(f"{study.path}, rows: {run.row.name!r} is the name of two; give each its own")
        elif (other := runs.setdefault(job_identity(run.settings.as_training()), run)) is not run:
            faults.append(
                f"{study.path}: {other.name} and {run.name} are one and the same run, so that one of the names is "
                "wrong: leave out the word that makes them the same, or one of the rows"
            )
    if faults:
        raise faults_error(faults)
