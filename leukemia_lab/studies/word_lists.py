"""Where in a study's YAML each override stands, so that a fault of one can be found there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from leukemia_lab.schema.study import Budget, StudyArm, StudyNode, StudyPart, StudyRow
from leukemia_lab.studies.definition import Study
from leukemia_lab.wording import not_understood


@dataclass(frozen=True)
class WordList:
    """The words of one list of a study's file, `my.yaml: rows[1] 'SVM': overrides: `; "" where the user gave them."""

    place: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class StudyLists:
    """All lists of a study at a budget and the user's; a later one overrules those before it."""

    shared: list[WordList]
    rows: list[list[WordList]]
    arms: list[list[WordList]]
    given: WordList

    def of_run(self, row: int, arm: int) -> list[WordList]:
        """The lists of a run, of the row and arm at these places of the file."""
        return [*self.shared, *self.rows[row], *self.arms[arm], self.given]


def study_lists(study: Study, budget: Budget, given: Sequence[str]) -> StudyLists:
    """The lists of `study` at `budget`, and the words `given` by the user."""

    def lists(part: StudyPart | StudyNode, place: str) -> list[WordList]:
        return [
            WordList(f"{study.path}: {place}overrides: ", tuple(part.overrides)),
            WordList(f"{study.path}: {place}budgets.{budget}: ", tuple(part.budgets.get(budget, []))),
        ]

    def all_lists(parts: Sequence[StudyRow] | Sequence[StudyArm], key: str) -> list[list[WordList]]:
        return [lists(part, f"{key}[{number}] {part.name!r}: ") for number, part in enumerate(parts)]

    node = study.node
    return StudyLists(
        lists(node, ""),
        all_lists(node.rows, "rows"),
        all_lists(node.arms, "arms"),
        WordList("", tuple(given)),
    )


def list_faults(study: Study, lists: StudyLists) -> list[str]:
    """The faults that words have by themselves: not understood, or no word of a study."""
    of_rows = [own for row in lists.rows for own in row]
    others = [*lists.shared, *(own for arm in lists.arms for own in arm)]
    faults = []
    for own in (*of_rows, *others, lists.given):
        for word in own.words:
            try:
                override = OverridesParser.create().parse_override(word)
            except HydraException as error:
                faults.append(own.place + not_understood(word, error))
                continue
            if own is lists.given:
                faults += _given_faults(override)
            elif override.is_sweep_override() and own in others:
                faults.append(
                    f"{own.place}{word}: several values make rows: write it in a row, or give one value"
                )
            elif override.is_sweep_override() and not override.is_discrete_sweep():
                faults.append(f"{own.place}{word}: not to be listed; name the values, key=a,b or range(1,4)")
    return faults if faults else _overruled_faults(study, lists)


def cause_of(fault: str, lists: Sequence[WordList]) -> tuple[str, str] | None:
    """The place and key of the word that sets what `fault` begins with, itself or its group; None where none does."""
    key = _dotted(re.split(r"[:=]", fault, maxsplit=1)[0])
    cause, length = None, 0
    for own in lists:
        for set_key in (override.key_or_group for override in _overrides(own)):
            if re.match(rf"{re.escape(_dotted(set_key))}($|[.\[])", key) and len(set_key) >= length:
                cause, length = (own.place, set_key), len(set_key)
    return cause


def _dotted(key: str) -> str:
    return key.lstrip("+~").replace("/", ".")


def _overrides(*lists: WordList) -> Iterator[Override]:
    for own in lists:
        yield from OverridesParser.create().parse_overrides(list(own.words))


def _given_faults(override: Override) -> list[str]:
    if override.is_sweep_override():
        return [f"{override.input_line}: a study is a sweep already; give one value"]
    if override.is_hydra_override():
        return [f"{override.input_line}: a study's folder is study.folder=…; leave it out"]
    if override.key_or_group.partition(".")[0].partition("/")[0] == "search":
        return [f"{override.input_line}: a study says itself what is tried; leave it out"]
    return []


def _overruled_faults(study: Study, lists: StudyLists) -> list[str]:
    """The user's words that overrule what arms or rows differ in: their names would be wrong, other keys unknown.

    A key with a dot may be overruled: `protocol.n_folds=3`. So may a group that some rows set, all of these alike.
    """
    of_rows: dict[str, set[str]] = {}
    for row in lists.rows:
        latest = {override.key_or_group: override for override in _overrides(*row)}
        for key, override in latest.items():
            swept = override.is_sweep_override()
            of_rows.setdefault(key, set()).update(
                override.sweep_string_iterator() if swept else [override.get_value_string()]
            )
    taken = {key: "rows" for key, values in of_rows.items() if len(values) > 1}
    taken |= {override.key_or_group: "arms" for arm in lists.arms for override in _overrides(*arm)}
    return [
        f"{override.input_line}: the {taken[key]} of {study.name} set {key}; leave it out, or write a study of your "
        "own (study=/path/my.yaml)"
        for override in _overrides(lists.given)
        if "." not in (key := override.key_or_group) and key in taken
    ]
