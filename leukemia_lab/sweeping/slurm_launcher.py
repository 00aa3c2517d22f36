"""Jobs of a SLURM cluster by submitit, or processes of this machine that behave alike (`cluster: local`)."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from leukemia_lab.errors import ConfigError
from leukemia_lab.progress import CONSOLE
from leukemia_lab.runs import record
from leukemia_lab.schema.sweep import SlurmLauncherNode
from leukemia_lab.sweeping.job import Job, JobEnd
from leukemia_lab.sweeping.launching import Launcher
from leukemia_lab.sweeping.workers import (
    PATIENCE_SECONDS,
    POLL_SECONDS,
    lost_job,
    say_begun,
    say_ended,
    work,
)

FOLDER = "submitit"  # of the sweep: scripts, pickled jobs, what is printed before a job's own log begins
STOPPED_FROM_OUTSIDE = 143  # as a shell says of SIGTERM


class SlurmTask:
    """What runs on the cluster. When its time is nearly up it stops after its step and asks to be queued again."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self) -> JobEnd:
        """Do the job; leaves the process without a result where it is to go on later or was cancelled."""
        number = getattr(signal, f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}")
        requeue: Any = signal.getsignal(number)  # submitit's: it leaves wherever the signal strikes
        time_is_up = False

        def stop(_: int, __: FrameType | None) -> None:
            nonlocal time_is_up
            time_is_up = True
            signal.raise_signal(signal.SIGINT)

        signal.signal(signal.SIGINT, signal.default_int_handler)  # who started in the background ignores it
        signal.signal(number, stop)
        end = work(self.job, patience=PATIENCE_SECONDS)
        if end.status == "interrupted":
            if time_is_up:
                requeue(number, None)
            sys.exit(STOPPED_FROM_OUTSIDE)
        return end

    def checkpoint(self) -> Any:
        """What submitit queues again: the same, as the run folder knows how far it came; it is not begun anew."""
        from submitit.helpers import DelayedSubmission

        settings = self.job.settings.model_copy(update={"force": False})
        return DelayedSubmission(SlurmTask(replace(self.job, settings=settings)))


class SlurmLauncher(Launcher):
    """One job of the cluster a run; those that are handed over together are one job array.

    They go on when this process ends. A repeated sweep joins them instead of queueing them twice.
    """

    def __init__(self, node: SlurmLauncherNode, sweep: Path, *, all_at_once: bool) -> None:
        self.capacity = sys.maxsize if all_at_once else node.max_running
        self._cluster = node.cluster
        self._folder = sweep / FOLDER
        self._executor = _executor(node, self._folder)
        self._running: dict[Any, Job] = {}

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue these jobs, as one array where there are several; raises ConfigError where sbatch refuses."""
        new = []
        for job in jobs:
            known = self._queued_before(job)
            if known is None:
                new.append(job)
            else:
                CONSOLE.print(f"job {known.job_id} of an earlier call is at work: {' '.join(job.overrides)}")
                self._running[known] = job
        if not new:
            return
        try:
            with self._executor.batch():
                queued = [self._executor.submit(SlurmTask(job)) for job in new]
        except Exception as error:
            raise ConfigError(
                f"launcher=slurm: the cluster took no job: {error}\nSee launcher.* for what it was asked for "
                f"(scripts in {self._folder}); the same command goes on"
            ) from error
        for one, job in zip(queued, new, strict=True):
            record.write_atomically(self._id_path(job), one.job_id)
            say_begun(job)
            self._running[one] = job

    def wait(self) -> JobEnd:
        """Ask for the jobs' states until one has ended; without a result it failed."""
        while True:
            for one in self._running:
                if one.done():
                    end = _end(one, self._running.pop(one))
                    say_ended(end)
                    return end
            time.sleep(POLL_SECONDS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say what goes on without this process."""
        if self._running:
            ids = " ".join(one.job_id for one in self._running)
            end_them = f"scancel {ids}" if self._cluster == "slurm" else f"kill {ids}"
            CONSOLE.print(f"jobs that go on: {ids}. The same command joins them, `{end_them}` ends them")

    def _queued_before(self, job: Job) -> Any:
        """The job of the cluster that an earlier call made for `job`, where it still waits or runs."""
        import submitit

        path = self._id_path(job)
        if self._cluster == "local" or not path.exists():  # a local one is only known to who started it
            return None
        known: Any = submitit.SlurmJob(self._folder, path.read_text(encoding="utf-8").strip())
        gone = known.done(force_check=True) or known.state.upper() == "UNKNOWN"
        return None if gone else known

    def _id_path(self, job: Job) -> Path:
        trial = "" if job.trial is None else f"-{job.trial.number}"
        return self._folder / f"{job.key}{trial}.id"


def _executor(node: SlurmLauncherNode, folder: Path) -> Any:
    import submitit

    timeouts: dict[str, Any] = {f"{node.cluster}_max_num_timeout": node.max_timeouts}
    executor = submitit.AutoExecutor(folder, cluster=node.cluster, **timeouts)
    executor.update_parameters(
        name="leukemia_lab",
        timeout_min=node.timeout_minutes,
        cpus_per_task=node.cpus_per_job,
        gpus_per_node=node.gpus_per_job if node.gpus_per_job > 0 else None,
        mem_gb=node.memory_gb,
        stderr_to_stdout=True,
        slurm_partition=node.partition,
        slurm_array_parallelism=node.max_running,
        slurm_setup=node.setup if node.setup else None,
        slurm_additional_parameters=node.parameters,
    )
    return executor


def _end(one: Any, job: Job) -> JobEnd:
    """What a job of the cluster returned, or how it was lost."""
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        end: JobEnd = one.result()
    except FailedJobError as error:
        lines = [line for line in str(error).splitlines() if ": " in line and not line.startswith(" ")]
        why = lines[-1] if len(lines) > 1 else str(error).splitlines()[0]
        end = lost_job(job, f"{_name(one)} failed: {why}", PATIENCE_SECONDS)
    except UncompletedJobError:
        why = f"{_name(one)} ended without a result: its state is {one.state}"
        end = lost_job(job, why, PATIENCE_SECONDS)
    return end


def _name(one: Any) -> str:
    return f"job {one.job_id} ({one.paths.stdout})"
