"""Numbers and names as the page and the terminal show them. An absent number is `n/a`, and 0 is a number."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

ABSENT = "n/a"
METRIC_NAMES = {  # where the field writes them otherwise than our keys
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "mcc": "MCC",
    "f1": "F1",
    "weighted_f1": "weighted F1",
    "ece": "ECE",
    "classwise_ece": "classwise ECE",
    "brier": "Brier score",
}
LEAST_P_VALUE = 1e-300  # below it a double says 0, and no p-value is 0
LEAST_EXPECTED = 1e-4


def whole(value: float | None) -> str:
    """`12,528`; rounded to the nearest integer."""
    return ABSENT if value is None else f"{value:,.0f}"


def decimal(value: float | None, places: int = 3) -> str:
    """`0.081`, `−0.5`; always `places` decimals, with thousands separators and a true minus."""
    if value is None:
        return ABSENT
    text = f"{value:,.{places}f}".replace("-", "−")
    return text if any(digit in text for digit in "123456789") else text.lstrip("−")


def estimate(metric: Mapping[str, Any]) -> str:
    """`0.810 (0.750–0.860)`, `0.1 (−0.2 to 0.3)`, or the value alone where there is no interval."""
    bounds = (metric["low"], metric["high"])
    if metric["value"] is None or None in bounds:
        return decimal(metric["value"])
    between = " to " if min(bounds) < 0 else "–"
    return f"{decimal(metric['value'])} ({decimal(bounds[0])}{between}{decimal(bounds[1])})"


def signed(value: float | None, places: int = 3) -> str:
    """`+0.020`, `−0.081`, with a true minus; what rounds to nothing has no sign."""
    if value is None:
        return ABSENT
    text = decimal(value, places)
    return text if text.startswith("−") or not text.strip("0.,") else f"+{text}"


def difference(found: Mapping[str, Any]) -> str:
    """`+0.020 (−0.010 to +0.050)`, or the difference alone where there is no interval."""
    if found["value"] is None or None in (found["low"], found["high"]):
        return signed(found["value"])
    return f"{signed(found['value'])} ({signed(found['low'])} to {signed(found['high'])})"


def percent(share: float) -> str:
    """`95 %` for 0.95."""
    return f"{100 * share:g} %"


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


def metric_name(code: str) -> str:
    """`AUROC`, `balanced accuracy`."""
    return METRIC_NAMES.get(code, words(code))


def moment(made: str) -> str:
    """`2026-11-22 09:32 UTC` of a time in ISO 8601; what is none as it is."""
    try:
        return datetime.fromisoformat(made).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return made


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
