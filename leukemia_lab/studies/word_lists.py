"""The overrides of a study, each with its place in the YAML, so that a fault of one can be found there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from leukemia_lab.config import faults_error
from leukemia_lab.schema.study import Budget, StudyNode, StudyPart
from leukemia_lab.studies.definition import Study
from leukemia_lab.wording import not_understood

Owner = Literal["study", "rows", "arms", "repeats", "given"]


@dataclass(frozen=True)
class WordList:
    """One list of a study's file, at `my.yaml: rows[1] 'SVM': overrides: `; "" where the user gave its words.

    `number` tells owners of a kind apart; `budget` is None where the words are of all budgets.
    """

    owner: Owner
    number: int
    budget: Budget | None
    place: str
    texts: Sequence[str]

    @cached_property
    def words(self) -> list[Override]:
        """The parsed words; Hydra's error where one cannot be."""
        return OverridesParser.create().parse_overrides(list(self.texts))


def study_lists(study: Study, budget: Budget, given: Sequence[str]) -> list[WordList]:
    """The lists of `study` at `budget`, and the words `given` by the user; a later one overrules those before it.

    Raises:
        ConfigError: all words not understood, or no words of a study, at any budget; else all of the user's that
            overrule what arms or rows differ in.
    """
    of_all = list(_lists(study, budget, given))
    lists = [own for own in of_all if own.budget in (None, budget)]
    faults = [fault for own in of_all for fault in _word_faults(own)] or _overruled_faults(study, lists)
    if faults:
        raise faults_error(faults)
    return lists


def of_run(lists: Sequence[WordList], row: int, arm: int, repeat: int) -> list[WordList]:
    """Those of a run: of the row and arm at these places of the file, in this repeat."""
    numbers = {"rows": row, "arms": arm, "repeats": repeat}
    return [own for own in lists if own.number == numbers.get(own.owner, own.number)]


def single_words(word: Override) -> list[str]:
    """One word for each value of a swept `word`; of another the word itself."""
    values = word.sweep_string_iterator() if word.is_sweep_override() else [word.get_value_element_as_str()]
    return [f"{word.get_key_element()}={value}" for value in values]


def cause_of(fault: str, lists: Sequence[WordList]) -> tuple[str, str] | None:
    """The place and key of the word that sets what `fault` begins with, itself or its group; None where none does."""
    key = _dotted(re.split(r"[:=]", fault, maxsplit=1)[0])
    causes = [
        (own.place, word.key_or_group)
        for own in reversed(lists)
        for word in own.words
        if re.match(rf"{re.escape(_dotted(word.key_or_group))}($|[.\[])", key)
    ]
    return max(causes, key=lambda cause: len(cause[1]), default=None)


def _dotted(key: str) -> str:
    return key.lstrip("+~").replace("/", ".")


def _lists(study: Study, budget: Budget, given: Sequence[str]) -> Iterator[WordList]:
    """The lists of all budgets; repeats are those at `budget`."""
    node = study.node
    parts: list[tuple[Owner, int, str, StudyPart | StudyNode]] = [
        ("study", 0, "", node),
        *(("rows", number, f"rows[{number}] {row.name!r}: ", row) for number, row in enumerate(node.rows)),
        *(("arms", number, f"arms[{number}] {arm.name!r}: ", arm) for number, arm in enumerate(node.arms)),
    ]
    for owner, number, name, part in parts:
        yield WordList(owner, number, None, f"{study.path}: {name}overrides: ", part.overrides)
        for at, texts in part.budgets.items():
            yield WordList(owner, number, at, f"{study.path}: {name}budgets.{at}: ", texts)
    n_repeats = node.repeats.get(budget, 1)
    for repeat in range(n_repeats) if n_repeats > 1 else ():
        texts = [f"protocol.seed={repeat}", f"seed={repeat}"]
        yield WordList("repeats", repeat, budget, f"{study.path}: repeats: ", texts)
    yield WordList("given", 0, None, "", given)


def _word_faults(own: WordList) -> Iterator[str]:
    """The faults that words have by themselves."""
    for text in own.texts:
        try:
            fault = _fault_of(OverridesParser.create().parse_override(text), own.owner)
        except (HydraException, ValueError) as error:
            yield own.place + not_understood(text, error)
        else:
            if fault is not None:
                yield f"{own.place}{text}: {fault}"


def _fault_of(word: Override, owner: Owner) -> str | None:
    if owner == "given" and word.is_sweep_override():
        return "a study is a sweep already; give one value"
    if owner == "given" and word.is_hydra_override():
        return "a study's folder is study.folder=…; leave it out"
    if owner == "given" and re.match(r"search($|[./])", word.key_or_group):
        return "a study says itself what is tried; leave it out"
    if owner != "rows" and word.is_sweep_override():
        return "several values make rows: write it in a row, or give one value"
    try:
        return None if single_words(word) else "no value is in it; name the values, key=a,b or range(1,4)"
    except (HydraException, ValueError):
        return "not to be listed; name the values, key=a,b or range(1,4)"


def _overruled_faults(study: Study, lists: Sequence[WordList]) -> list[str]:
    """The user's words that overrule what arms or rows differ in: their names would be wrong, other keys unknown.

    A key with a dot may be overruled: `protocol.n_folds=3`.
    """
    taken = dict.fromkeys(_keys_rows_differ_in(lists), "rows")
    taken |= {word.key_or_group: "arms" for own in lists if own.owner == "arms" for word in own.words}
    return [
        f"{word.input_line}: the {taken[key]} of {study.name} set {key}; leave it out, or write a study of your own "
        "(study=/path/my.yaml)"
        for own in lists
        if own.owner == "given"
        for word in own.words
        if "." not in (key := word.key_or_group) and key in taken
    ]


def _keys_rows_differ_in(lists: Sequence[WordList]) -> list[str]:
    """The keys with several values, and those that are in the `overrides` of some rows while others do not set them.

    What some rows set at one budget alone saves time, and is not what they are there for: `optim=sgd`.
    """
    rows: dict[int, dict[str, list[str]]] = {}
    always: set[str] = set()
    for own in (own for own in lists if own.owner == "rows"):
        rows.setdefault(own.number, {}).update({word.key_or_group: single_words(word) for word in own.words})
        always |= {word.key_or_group for word in own.words if own.budget is None}
    return [
        key
        for key in {key: None for row in rows.values() for key in row}
        if len({value for row in rows.values() for value in row.get(key, [])}) > 1
        or (key in always and any(key not in row for row in rows.values()))
    ]
