"""What the runs of one process share instead of making it anew: the last of its kind, kept for the next run."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class LastOne(Generic[Value]):
    """Keeps the value made last under a key of all that determines it; the value is never to be changed."""

    def __init__(self) -> None:
        self.key: Hashable | None = None
        self._values: list[Value] = []

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of `key`: the one that is kept, or a new one, before which the kept one is let go."""
        if key != self.key:
            self.clear()
            self._values.append(make())
            self.key = key
        return self._values[0]

    def clear(self) -> None:
        """Let go of the value."""
        self.key = None
        self._values.clear()
