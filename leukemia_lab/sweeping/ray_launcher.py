"""Jobs of a Ray cluster, or of this machine as Ray shares it out; lost ones are begun again on another node by Ray."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from leukemia_lab.progress import CONSOLE
from leukemia_lab.schema.sweep import RayLauncherNode
from leukemia_lab.sweeping.job import Job, JobEnd
from leukemia_lab.sweeping.launching import Launcher
from leukemia_lab.sweeping.workers import PATIENCE_SECONDS, lost_job, say_begun, say_ended, work

ENVIRONMENT = ("LEUKEMIA_LAB_CACHE", "CNMC_ROOT")  # what the nodes should know of this process's
STOP_SECONDS = 60.0  # for the steps at work to end after Ctrl-C


class RayLauncher(Launcher):
    """As many jobs at once as the cluster has room for, spread over its nodes; with `all_at_once` Ray queues the rest.

    The nodes need leukemia_lab installed, and the folders of data, cache and runs under the same paths.
    """

    capacity = 1

    def __init__(self, node: RayLauncherNode, *, all_at_once: bool) -> None:
        self._node, self._all_at_once = node, all_at_once
        self._running: dict[Any, Job] = {}

    def __enter__(self) -> Self:
        """Join the cluster, or start one of this machine."""
        os.environ.setdefault("RAY_task_oom_retries", str(self._node.max_retries))  # Ray's own: without end
        import ray

        self._own = not ray.is_initialized()
        before = signal.getsignal(signal.SIGTERM)
        ray.init(
            address=self._node.address, ignore_reinit_error=True, log_to_driver=False, include_dashboard=False
        )
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray's would end this process without a table
        self._task = ray.remote(_work).options(
            num_cpus=self._node.cpus_per_job,
            num_gpus=self._node.gpus_per_job,
            max_retries=self._node.max_retries,
            scheduling_strategy="SPREAD",
        )
        self.capacity = self._room()
        return self

    def submit(self, jobs: Sequence[Job]) -> None:
        """Give the jobs to Ray."""
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        for job in jobs:
            say_begun(job)
            self._running[self._task.remote(job, environment, str(Path.cwd()))] = job

    def wait(self) -> JobEnd:
        """Wait for the first to end; one that was lost more than `max_retries` times has failed."""
        import ray

        [done], _ = ray.wait(list(self._running), num_returns=1)
        job = self._running.pop(done)
        try:
            end: JobEnd = ray.get(done)
        except ray.exceptions.RayError as error:
            why = f"Ray has lost the run ({type(error).__name__}): {_first_line(error)}"
            end = lost_job(job, why, PATIENCE_SECONDS)
        self.capacity = self._room()  # nodes come and go
        say_ended(end)
        return end

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the cluster; what runs is ended after its step."""
        import ray

        try:
            if self._running:
                CONSOLE.print(f"stopping {len(self._running)} runs after their step; again stops at once")
                for task in self._running:
                    ray.cancel(task)
                ray.wait(list(self._running), num_returns=len(self._running), timeout=STOP_SECONDS)
        finally:
            if self._own:
                ray.shutdown()

    def _room(self) -> int:
        """How many jobs to have with Ray at once."""
        import ray

        if self._all_at_once:
            return sys.maxsize
        there = ray.cluster_resources()
        needs = {"CPU": self._node.cpus_per_job, "GPU": self._node.gpus_per_job}
        return max(1, min(int(there.get(kind, 0) / need) for kind, need in needs.items() if need > 0))


def _work(job: Job, environment: Mapping[str, str], folder: str) -> JobEnd:
    """Do a job on a node, in the environment and (paths may be relative) the folder of the command."""
    import ray

    os.environ.update(environment)
    if Path(folder).is_dir():
        os.chdir(folder)
    node = ray.get_runtime_context().get_node_id()
    return work(job, where=f", Ray node {node}", patience=PATIENCE_SECONDS)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no reason given"
