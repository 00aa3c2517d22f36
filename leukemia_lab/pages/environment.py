"""The Jinja2 environment of a page: strict, escaping, with our number formats."""

from __future__ import annotations

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from leukemia_lab.pages import formats

FILTERS = (
    "breakable",
    "whole",
    "decimal",
    "signed",
    "estimate",
    "difference",
    "percent",
    "p_value",
    "expected",
    "words",
    "metric_name",
    "moment",
)


def page_environment(package: str) -> Environment:
    """An environment with the templates of `leukemia_lab/<package>` and of this package, `base.css` among them.

    An undefined name is an error; None is shown as `n/a`; text is escaped and what cannot be printed is shown
    as an escape.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("leukemia_lab", package), PackageLoader("leukemia_lab", "pages")]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown_text,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in FILTERS:
        environment.filters[name] = getattr(formats, name)
    environment.globals["counted"] = formats.counted
    return environment


def shown_text(value: Any) -> Any:
    """None as `n/a`, text without what cannot be shown; markup and everything else as it is."""
    if value is None:
        return formats.ABSENT
    return formats.printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
