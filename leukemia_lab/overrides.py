"""The words of a command line as Hydra needs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args, get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException


def options_first(argv: Sequence[str]) -> list[str]:
    """Hydra's options before the overrides: its parser does not take `a=1 -m b=2`."""
    overrides = get_args_parser().parse_intermixed_args(list(argv)).overrides
    return [*(word for word in argv if word not in overrides), *overrides]


def single_overrides(overrides: Sequence[str]) -> list[str]:
    """Each value of each swept override as an override of its own."""
    singles: list[str] = []
    for text in overrides:
        try:
            parsed = OverridesParser.create().parse_override(text)
            swept = parsed.is_discrete_sweep() if parsed.is_sweep_override() else False
            singles += (
                [job[0] for job in BasicSweeper.split_arguments([parsed], None)[0]] if swept else [text]
            )
        except HydraException:
            singles.append(text)
    return singles


def all_swept(argv: Sequence[str]) -> list[str]:
    """Each fixed override of a key in a group as a sweep over its one value.

    Before the jobs, Hydra composes a config of the fixed overrides alone, in which a key of a swept group's choice
    (`model=knn,rf model.classifier.cv_folds=2`) would not exist. Fixed groups stay, for keys that stay.
    """
    overrides = get_args(argv).overrides
    return [_as_sweep(word) if word in overrides else word for word in argv]


def _as_sweep(text: str) -> str:
    override = OverridesParser.create().parse_override(text)
    is_free = not (override.is_delete() or override.is_hydra_override() or override.is_sweep_override())
    in_group = any(mark in override.key_or_group for mark in "./")
    if not (is_free and in_group) or override.value() is None:  # Hydra sweeps over no null
        return text
    key, _, value = text.partition("=")
    swept = f"{key}=choice({value})"
    return swept if _sweeps_to(override.value(), swept) else text


def _sweeps_to(value: Any, text: str) -> bool:
    """Whether Hydra's one job of a sweep has this value: of a text in quotes it drops the quotes."""
    parser = OverridesParser.create()
    try:
        jobs = BasicSweeper.split_arguments([parser.parse_override(text)], None)[0]
        return bool(parser.parse_override(jobs[0][0]).value() == value)
    except HydraException:
        return False
