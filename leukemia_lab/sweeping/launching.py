"""What every place where jobs run has in common, and the simplest: this process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from leukemia_lab.progress import CONSOLE
from leukemia_lab.sweeping.job import Job, JobEnd
from leukemia_lab.sweeping.work import run_job


class Launcher(ABC):
    """Runs jobs, `capacity` of them at once at the most; a context, left when no more jobs come.

    `submit` and `wait` are called from one thread. Left by an exception (Ctrl-C), it ends what runs: these runs are
    recorded as interrupted and can be resumed.
    """

    capacity: int

    @abstractmethod
    def submit(self, jobs: Sequence[Job]) -> None:
        """Start these jobs, no more than there is room for."""

    @abstractmethod
    def wait(self) -> JobEnd:
        """Wait until one of the running jobs has ended; a worker that died is a failed job, never an exception."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what was taken for the workers; where nothing was taken, nothing."""
        return


class LocalLauncher(Launcher):
    """One job after the other in this process: imports, decoded data and resident cells are shared."""

    capacity = 1

    def __init__(self) -> None:
        self._jobs: list[Job] = []

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take the job, to be done by `wait`."""
        self._jobs += jobs

    def wait(self) -> JobEnd:
        """Do the job; raises InterruptedRunError and KeyboardInterrupt."""
        job = self._jobs.pop(0)
        CONSOLE.print(f"\nrun {job.number + 1}: {' '.join(job.overrides)}", markup=False)
        return run_job(job)
