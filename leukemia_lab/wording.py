"""How names are sorted and quoted, and how errors name alternatives."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence


def nearest(given: str, allowed: Iterable[str], prefix: str = "") -> str:
    """` Did you mean …?` with the allowed name nearest to `given`, or an empty string."""
    by_lower = {name.lower(): name for name in allowed}
    begun = [name for name in by_lower if given and name.startswith(given.lower())]
    close = (
        begun[:1] if len(begun) == 1 else difflib.get_close_matches(given.lower(), by_lower, n=1, cutoff=0.6)
    )
    if not close:
        return ""
    name = by_lower[close[0]]
    return f" Did you mean {prefix + '.' if prefix else ''}{name}?"


def and_joined(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def in_quotes(text: str) -> str:
    """`text` as Hydra reads it back out of quotes: backslashes count double before a quote, and only there."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key by which H3 comes before H10, and 20 before H2."""
    parts = re.findall(r"\d+|\D+", name)
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
