"""What a report shows, as plain values: the templates know nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


class Drawing(NamedTuple):
    """An inline SVG, and in a sentence what it shows."""

    svg: str
    alt: str


class Picture(NamedTuple):
    """A JPEG of a run folder: where it lies, its bytes, what it shows and the word below it."""

    path: Path
    n_bytes: int
    alt: str
    caption: str


@dataclass(frozen=True)
class ErrorCell:
    """A cell that was taken for another class, with its pictures where the run has them."""

    cell_id: str
    subject: str | None
    label: str
    predicted: str
    probability: float
    mass_on_cell: float | None
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Confusion:
    """Counts of cells, one row a true class, one column a predicted one."""

    class_names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class Subject(NamedTuple):
    """A subject's cells in one part: how many, of which classes, the share told right.

    `positive_share` is that taken for the positive class, `decided` the class most cells were taken for; None where
    the run does not say.
    """

    name: str
    labels: str
    n_cells: int
    accuracy: float
    positive_share: float | None = None
    decided: str | None = None


@dataclass(frozen=True)
class RunView:
    """What only a run's tables can say, of one part; `faults` say what could not be read."""

    part: str
    drawings: Mapping[str, Drawing]
    confusion: Confusion | None
    worst_subjects: tuple[Subject, ...]
    errors: tuple[ErrorCell, ...]
    attribution: Mapping[str, Any] | None
    faults: tuple[str, ...]


class Caution(NamedTuple):
    """A sentence that a reader must not miss; level `act` (may change the conclusion), `know` or `fine`."""

    level: str
    text: str


@dataclass(frozen=True)
class Pair:
    """The difference a - b of two runs in the leaderboard's metric, on the same cells, with its p-values.

    `p_holm` is adjusted for all pairs of the leaderboard. McNemar's and DeLong's take every cell for an independent
    one; None where they do not apply.
    """

    a: str
    b: str
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    p_mcnemar: float | None
    p_delong: float | None
    reason: str | None = None


@dataclass(frozen=True)
class Comparison:
    """All pairs of a leaderboard's runs, and the groups of them that cannot be told apart."""

    pairs: tuple[Pair, ...]
    groups: tuple[tuple[str, ...], ...]
    drawing: Drawing | None
    notes: tuple[str, ...]
    level: float = 0.95


@dataclass(frozen=True)
class SeedGroup:
    """Runs that differ only in the seed: their values, the mean with an interval that holds seeds and subjects, and
    how far the mean varies with each: the SD between seeds, the standard error from subjects. `reason` says why
    something of this is missing.
    """

    name: str
    runs: tuple[str, ...]
    values: Mapping[int, float | None]
    mean: float | None
    low: float | None
    high: float | None
    sd_seeds: float | None
    sd_subjects: float | None
    reason: str | None = None


@dataclass(frozen=True)
class Seeds:
    """The groups of runs of a leaderboard that differ only in the seed."""

    groups: tuple[SeedGroup, ...]
    drawing: Drawing | None
    level: float = 0.95


@dataclass(frozen=True)
class CheckItem:
    """An item of a reporting checklist; status is `filled`, `partly` or `authors`."""

    checklist: str
    number: str
    section: str
    asks: str
    status: str
    text: str


@dataclass(frozen=True)
class Reproduction:
    """The commands that make a run again, and what they need; none, with a reason, where its record does not say."""

    commands: tuple[str, ...]
    needs: tuple[str, ...]
    reason: str | None
