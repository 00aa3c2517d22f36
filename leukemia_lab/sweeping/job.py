"""One run of a sweep as any process can do it: plain values that can be pickled, no Hydra."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from leukemia_lab.identity import job_identity
from leukemia_lab.schema import EvaluateSettings, TrainSettings
from leukemia_lab.search.storage import without_password

Status = Literal["finished", "pruned", "failed", "interrupted", "held"]


@dataclass(frozen=True)
class TrialAddress:
    """Where a job of a search reports to: trial `number` of `study` in an Optuna storage (URL or journal file)."""

    storage: str
    study: str
    number: int

    def shown(self) -> dict[str, Any]:
        """The fields as they may be written down: without the password of a database."""
        return asdict(self) | {"storage": without_password(self.storage)}


@dataclass(frozen=True)
class Job:
    """What to train, and the sweep's folder that its run folder goes into; absolute, for workers elsewhere.

    `overrides` are the words that a user would type to get `settings`; `number` is its place in the sweep. Where there
    is an `evaluation` the job opens the test part of the finished run too, once.
    """

    sweep: Path
    number: int
    overrides: tuple[str, ...]
    settings: TrainSettings
    trial: TrialAddress | None = None
    evaluation: EvaluateSettings | None = None

    @property
    def key(self) -> str:
        """The name of the job's files in `<sweep>/jobs/`: the same for the same settings in other words."""
        return job_identity(self.settings)


@dataclass(frozen=True)
class JobEnd:
    """How a job ended: its run folder where it has one, its objective, the first line of its error.

    `held`: another process is at work on the same run; ask again later.
    """

    job: Job
    status: Status
    run: Path | None = None
    objective: float | None = None
    error: str | None = None
