"""What the user knows of twins: names to merge, and names to keep apart, in a YAML file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import yaml

from leukemia_lab.errors import DataError
from leukemia_lab.wording import natural, nearest

_EXAMPLE = "merge: [[20, 21]] and apart: [[17, 18]], lists of lists of subject names"


@dataclass(frozen=True)
class KnownTwins:
    """Names of subjects in upper case: lists to merge, and lists whose members must not be merged."""

    merge: tuple[tuple[str, ...], ...]
    apart: tuple[tuple[str, ...], ...]
    file: Path | None

    def require(self, subjects: Iterable[str]) -> None:
        """Raise DataError where a name is none of `subjects`."""
        there = set(subjects)
        for name in (name for names in (*self.merge, *self.apart) for name in names):
            if name not in there:
                raise DataError(
                    f"{self.file} names the subject {name}, which is not in the data.{nearest(name, there)}"
                )

    def keeps_apart(self, a: str, b: str) -> bool:
        """Whether the user forbids merging `a` and `b`."""
        return any(a in names and b in names for names in self.apart)

    def merged_pairs(self) -> list[tuple[str, str]]:
        """The pairs of names that the user merges, each in natural order."""
        first_of = [(sorted(names, key=natural)[0], names) for names in self.merge]
        return [(first, other) for first, names in first_of for other in names if other != first]

    def refuse_joined(self, group_of: Mapping[str, str]) -> None:
        """Raise DataError where two names to be kept apart have come into one group."""
        for a, b in self.merged_pairs():
            if self.keeps_apart(a, b):
                raise DataError(
                    f"{self.file} merges {a} and {b}, and keeps them apart. Leave one of the two lines."
                )
        for a, b in (pair for names in self.apart for pair in combinations(names, 2)):
            if group_of[a] == group_of[b]:
                raise DataError(
                    f"{self.file} keeps {a} and {b} apart, but both belong to the group {group_of[a]}: a third "
                    "name shares cells with both, or is merged with both. Keep that one apart from one of them too."
                )


NO_KNOWN_TWINS = KnownTwins((), (), None)


def read_known_twins(path: Path) -> KnownTwins:
    """Read the file; raises DataError where it is missing or is not of that form."""
    try:
        # Every scalar stays the text that it is: the names 010, 1_2 and NO are neither numbers nor truth values.
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"data.twins_file={path} cannot be read: {error}. It holds {_EXAMPLE}.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no lists under merge or apart; it should hold {_EXAMPLE}.")
    unknown = [str(key) for key in content if key not in ("merge", "apart")]
    if unknown:
        raise DataError(f"{path}: unknown key {unknown[0]!r}; it holds {_EXAMPLE}.")
    return KnownTwins(
        merge=_names(path, "merge", content.get("merge")),
        apart=_names(path, "apart", content.get("apart")),
        file=path,
    )


def _names(path: Path, key: str, lists: object) -> tuple[tuple[str, ...], ...]:
    if lists is None or lists == "":
        return ()
    if not isinstance(lists, list) or not all(isinstance(names, list) and len(names) > 1 for names in lists):
        raise DataError(
            f"{path}: {key} must be a list of lists of two or more names; the file holds {_EXAMPLE}."
        )
    if not all(isinstance(name, str) and name for names in lists for name in names):
        raise DataError(f"{path}: {key} holds something that is no name; the file holds {_EXAMPLE}.")
    return tuple(tuple(name.upper() for name in names) for names in lists)
