"""The errors a user may meet: each says what, where, what was given and what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class LeukemiaLabError(Exception):
    """Base of all errors that a command prints without a traceback."""

    exit_status = 2

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as arguments and attributes: errors come back from workers, whatever their own `__init__` takes."""
        return _restored, (type(self), self.args, vars(self))


class ConfigError(LeukemiaLabError):
    """A key, value or `_target_` that cannot be used; lists all faults found."""


class DataError(LeukemiaLabError):
    """The images, their names or their label files cannot be used."""


class UnexpectedDataError(DataError):
    """The data can be read, but they are not what was published."""

    exit_status = 1


class ClaimError(LeukemiaLabError):
    """A table of published results cannot be read; `faults` are all that were found."""

    def __init__(self, *faults: str) -> None:
        super().__init__(*faults)
        self.faults = faults

    def __str__(self) -> str:
        return listed(self.faults)


class SplitError(LeukemiaLabError):
    """A protocol cannot be carried out on this data, or a split breaks its promise."""


class CacheError(LeukemiaLabError):
    """The decoded cache cannot be written or read."""


class RunError(LeukemiaLabError):
    """A run folder is missing, incomplete or belongs to another configuration."""


class HeldRunError(RunError):
    """Another process is at work on the run."""


class LostRunError(HeldRunError):
    """Another process took the run over from this one, which counts as interrupted: the same command goes on."""

    exit_status = 3


class TrainingError(LeukemiaLabError):
    """Training could not go on; `facts` stand in the run's record."""

    exit_status = 1

    def __init__(self, text: str, **facts: Any) -> None:
        super().__init__(text)
        self.facts = facts


class InterruptedRunError(LeukemiaLabError):
    """The user or the system stopped a run that the same command can resume."""

    exit_status = 3


class PrunedRunError(LeukemiaLabError):
    """A search has ended a run early: others were better after as many epochs. Its `objective` is the best so far."""

    exit_status = 1

    def __init__(self, objective: float) -> None:
        super().__init__(f"pruned with objective {objective:.4f}")
        self.objective = objective


def listed(faults: Iterable[str]) -> str:
    """A single fault as it stands; of several their number, and each once on a line of its own."""
    unique = list(dict.fromkeys(faults))
    if len(unique) == 1:
        return unique[0]
    return f"{len(unique)} faults:\n" + "\n".join(f"  {fault}" for fault in unique)


def _restored(
    kind: type[LeukemiaLabError], args: tuple[Any, ...], fields: dict[str, Any]
) -> LeukemiaLabError:
    error = kind.__new__(kind, *args)
    vars(error).update(fields)
    return error


def error_text(error: Exception) -> str:
    """`SplitError: …` for our own errors; an unexpected one says so and how to see its traceback."""
    name = type(error).__name__
    if isinstance(error, InterruptedRunError):
        return f"\n{error}"
    if isinstance(error, LeukemiaLabError):
        return f"{name}: {error}"
    return f"Unexpected {name}: {error}\nThis is a fault of leukemia_lab. LEUKEMIA_LAB_DEBUG=1 shows the traceback."
