"""The errors a user may meet: each says what, where, what was given and what to do next."""

from __future__ import annotations


class LeukemiaLabError(Exception):
    """Base of all errors that a command prints without a traceback."""

    exit_status = 2


class ConfigError(LeukemiaLabError):
    """A key, value or `_target_` that cannot be used; lists all faults found."""


class DataError(LeukemiaLabError):
    """The images, their names or their label files cannot be used."""


class UnexpectedDataError(DataError):
    """The data can be read, but they are not what was published."""

    exit_status = 1


class SplitError(LeukemiaLabError):
    """A protocol cannot be carried out on this data, or a split breaks its promise."""


class CacheError(LeukemiaLabError):
    """The decoded cache cannot be written or read."""


class RunError(LeukemiaLabError):
    """A run folder is missing, incomplete or belongs to another configuration."""


class TrainingError(LeukemiaLabError):
    """Training could not go on."""

    exit_status = 1


class InterruptedRunError(LeukemiaLabError):
    """The user or the system stopped a run that the same command can resume."""

    exit_status = 3
