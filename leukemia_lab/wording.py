"""How names are sorted and quoted, and how errors name alternatives and overrides that cannot be read."""

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


def first_line(error: Exception) -> str:
    """The first line of what `error` says; its name where it says nothing."""
    return str(error).strip().splitlines()[0] if str(error).strip() else repr(error)


def not_understood(word: str, error: Exception) -> str:
    """That Hydra cannot read the override `word`, why, and how it is written."""
    return (
        f"{word}: not understood ({first_line(error)}); write key=value; a value with spaces, brackets or = goes into "
        "quotes twice: \"key='a [b]'\""
    )


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
