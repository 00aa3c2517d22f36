"""The words of `study` and `reproduce`: keys of their own, and overrides of every run that they train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from leukemia_lab.errors import ConfigError
from leukemia_lab.schema.study import Budget
from leukemia_lab.wording import nearest

BUDGET = "study.budget"


@dataclass(frozen=True)
class Words:
    """A command line: `own` keys with their values, overrides of every run, the folder of the user's own YAMLs."""

    own: dict[str, str]
    overrides: tuple[str, ...]
    config_dir: str | None

    @property
    def budget(self) -> Budget:
        """The budget, `cpu` where none is given."""
        given = self.own.get(BUDGET, "cpu")
        for budget in get_args(Budget):
            if budget == given:
                known: Budget = budget
                return known
        allowed = get_args(Budget)
        raise ConfigError(
            f"{BUDGET}: {given!r} is no choice; allowed: {', '.join(allowed)}.{nearest(given, allowed)}"
        )


def parsed(argv: Sequence[str], keys: Sequence[str]) -> Words:
    """The words of a command line whose own keys are `keys`; ConfigError where one cannot be used."""
    own: dict[str, str] = {}
    overrides: list[str] = []
    config_dir = None
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        key, is_given, value = word.partition("=")
        if key in ("--config-dir", "-cd"):
            if not is_given and not rest:
                raise ConfigError(f"{key}: give the folder of your own YAMLs")
            config_dir = value if is_given else rest.pop(0)
        elif word.startswith("-") or not (is_given or word.startswith("~")):
            raise ConfigError(f"{word}: not understood; write key=value (--help lists the keys)")
        elif key in keys:
            if not value:
                raise ConfigError(f"{key}: empty; give a value, or leave it out")
            own[key] = value
        elif key.partition(".")[0] == "study":
            raise ConfigError(f"{key}: no such key; allowed here: {', '.join(keys)}.{nearest(key, keys)}")
        else:
            overrides.append(word)
    return Words(own, tuple(overrides), config_dir)
