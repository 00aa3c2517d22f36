"""The words of a command line as Hydra needs them."""

from __future__ import annotations

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
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
