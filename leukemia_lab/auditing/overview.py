"""Copies, faults and twins of a completed audit document, ordered and counted for the reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from leukemia_lab.pages.formats import ABSENT

# Worst first: a copy across these borders of the data makes results too good, or a label wrong.
BORDERS = ("part", "class", "fold", "subject", "source")
_KIND_NAMES = {"identical": "identical files", "pixels": "identical pixels", "near": "near copies"}


class Fault(NamedTuple):
    """All files with one fault; `usable` is None where it is not known or differs between files.

    `detail` is that of the first file.
    """

    name: str
    n_files: int
    usable: bool | None
    files: list[str]
    detail: str | None


def kind_name(kind: str | None) -> str:
    """`identical files` for the kind `identical`; a kind without words stands for itself."""
    return ABSENT if kind is None else _KIND_NAMES.get(kind, kind)


def worst_first(pairs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pairs ordered by the worst border that they cross (see BORDERS), otherwise as given."""
    return sorted(pairs, key=lambda pair: [border not in pair["crosses"] for border in BORDERS])


def n_crossing(pairs: Sequence[Mapping[str, Any]], border: str) -> int:
    """How many pairs cross `border` (one of BORDERS)."""
    return sum(border in pair["crosses"] for pair in pairs)


def copy_counts(document: Mapping[str, Any]) -> list[tuple[str, int, list[int], int]]:
    """Rows of kind, number of pairs, number that cross each of BORDERS, number that cross none.

    The kind is in words. The numbers come from `pair_counts` and `pairs`.
    """
    pairs, given = document["pairs"], document["pair_counts"]
    kinds = dict.fromkeys([*_KIND_NAMES, *given, *(pair["kind"] for pair in pairs)])
    rows = []
    for kind in kinds:
        alike = [pair for pair in pairs if pair["kind"] == kind]
        total = given.get(kind)
        n_pairs = len(alike) if total is None else total
        within = sum(not pair["crosses"] for pair in alike)
        if n_pairs > 0:
            rows.append((kind_name(kind), n_pairs, [n_crossing(alike, border) for border in BORDERS], within))
    return rows


def faults_by_kind(document: Mapping[str, Any]) -> list[Fault]:
    """Faults with their files: unusable ones first, then the most frequent."""
    faults, given = document["faults"], document["fault_counts"]
    found = Counter(fault["fault"] for fault in faults if fault["fault"] is not None)
    kinds = []
    for name in dict.fromkeys([*given, *found]):
        alike = [fault for fault in faults if fault["fault"] == name]
        usable = {fault["usable"] for fault in alike}
        files = [fault["file"] for fault in alike if fault["file"] is not None]
        n_files = found[name] if given.get(name) is None else given[name]
        details = [fault["detail"] for fault in alike if fault["detail"] is not None]
        known = usable.pop() if len(usable) == 1 else None
        kinds.append(Fault(name, n_files, known, files, details[0] if details else None))
    return sorted(kinds, key=lambda fault: (fault.usable is not False, -fault.n_files))


def group_borders(group: Sequence[str], twins: Sequence[Mapping[str, Any]]) -> list[str]:
    """The borders that shared cells of this group of subjects cross, in the order of BORDERS."""
    inside = [twin for twin in twins if twin["a"] in group and twin["b"] in group]
    return [border for border in BORDERS if any(border in twin["crosses"] for twin in inside)]


def both_names(twin: Mapping[str, Any]) -> str:
    """`51 and 78`: the two names of a pair of subjects."""
    return " and ".join(ABSENT if twin[side] is None else twin[side] for side in ("a", "b"))


def why_unmeasured(estimates: Iterable[Mapping[str, Any]], value: str) -> str | None:
    """The reasons of estimates none of which has a `value`; None where one has, or there are none."""
    rows = list(estimates)
    if not rows or any(row[value] is not None for row in rows):
        return None
    reasons = dict.fromkeys(row["reason"] for row in rows if row["reason"] is not None)
    return "; ".join(reasons) if reasons else "no reason is given"


def ignored_by_reason(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names of ignored files by the reason, in the order of the document."""
    reasons: dict[str, list[str]] = {}
    for row in document["ignored"]:
        reason = ABSENT if row["reason"] is None else row["reason"]
        reasons.setdefault(reason, []).append(ABSENT if row["file"] is None else row["file"])
    return reasons
