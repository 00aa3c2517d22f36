"""Numbers and names as the page and the terminal show them. An absent number is `n/a`, and 0 is a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

ABSENT = "n/a"
LEAST_P_VALUE = 1e-300  # below it a double says 0, and no p-value is 0
LEAST_EXPECTED = 1e-4


def whole(value: float | None) -> str:
    """`12,528`; rounded to the nearest integer."""
    return ABSENT if value is None else f"{value:,.0f}"


def decimal(value: float | None, places: int = 3) -> str:
    """`0.081`; always `places` decimals, with thousands separators."""
    return ABSENT if value is None else f"{value:,.{places}f}"


def estimate(metric: Mapping[str, Any]) -> str:
    """`0.810 (0.750–0.860)`, or the value alone where there is no interval."""
    bounds = (metric["low"], metric["high"])
    if metric["value"] is None or None in bounds:
        return decimal(metric["value"])
    return f"{decimal(metric['value'])} ({decimal(bounds[0])}–{decimal(bounds[1])})"


def p_value(value: float | None) -> str:
    """`0.012`, `3.1e-07` below a thousandth."""
    if value is None:
        return ABSENT
    if value < LEAST_P_VALUE:
        return f"< {LEAST_P_VALUE:.0e}"
    return f"{value:.1e}" if value < 1e-3 else decimal(value)


def expected(value: float | None) -> str:
    """A number of shared cells expected by chance: `0.0040`, `< 0.0001`."""
    if value is not None and 0 < value < LEAST_EXPECTED:
        return f"< {LEAST_EXPECTED}"
    return decimal(value, 4)


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """`1 pair`, `1,200 pairs`."""
    many = f"{noun}s" if plural is None else plural
    return f"{n:,} {noun if n == 1 else many}"


def words(code: str) -> str:
    """`file size` for the code `file_size`."""
    return code.replace("_", " ")


def breakable(path: str) -> Markup:
    """A path that a browser breaks after its folders, not in the middle of a name."""
    return Markup("/<wbr>").join(printable(path).split("/"))


def printable(text: str) -> str:
    r"""`text` with what cannot be shown or written as UTF-8 as escapes.

    A file name may hold bytes that are no UTF-8, terminal control codes, or marks that turn the reading
    order round.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
