"""Jobs in processes of this machine, by joblib's loky: each slot is a worker that lives on from job to job.

Every slot has an executor of its own, as one that dies takes all of its executor's jobs with it.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any

from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.backend import get_context

from leukemia_lab.progress import CONSOLE
from leukemia_lab.sweeping.job import Job, JobEnd
from leukemia_lab.sweeping.launching import Launcher
from leukemia_lab.sweeping.workers import lost_job, say_begun, say_ended, work

PARENT_POLL_SECONDS = 1.0
PR_SET_PDEATHSIG = 1  # prctl(2)


class JoblibLauncher(Launcher):
    """`n_jobs` jobs at once, each in a process that shares imports and data with those it did before.

    The cores of the machine are divided among them, unless OMP_NUM_THREADS says otherwise; jobs that may use CUDA are
    dealt over the visible devices.
    """

    def __init__(self, n_jobs: int) -> None:
        self.capacity = n_jobs
        self._idle = [_Slot(number, n_jobs) for number in range(n_jobs)]
        self._running: dict[Future[JobEnd], tuple[_Slot, Job]] = {}

    def submit(self, jobs: Sequence[Job]) -> None:
        """Give each job to an idle worker."""
        for job in jobs:
            slot = self._idle.pop(0)
            say_begun(job)
            self._running[slot.start(job)] = (slot, job)

    def wait(self) -> JobEnd:
        """Wait for the first to end; a worker that died is replaced."""
        done = next(iter(wait(self._running, return_when=FIRST_COMPLETED).done))
        slot, job = self._running.pop(done)
        try:
            end = done.result()
        except BrokenProcessPool as error:
            slot.replace()
            end = lost_job(job, _death(error))
        self._idle.append(slot)
        say_ended(end)
        return end

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the workers; after an interruption when their steps are done, after another one at once."""
        finish = False
        try:
            if kind is not None and self._running:
                CONSOLE.print(f"stopping {len(self._running)} runs after their step; again stops at once")
                for slot, _ in self._running.values():
                    slot.ask_to_stop()
                wait(self._running)
            finish = True
        finally:
            for slot in [*self._idle, *(slot for slot, _ in self._running.values())]:
                slot.close(at_once=not finish)


class _Slot:
    """A place for one job at a time."""

    def __init__(self, number: int, n_slots: int) -> None:
        self._number = number
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        share = max(1, (1 if cores is None else cores) // n_slots)
        threads = os.environ.get("OMP_NUM_THREADS", str(share))
        self._environment = {"OMP_NUM_THREADS": threads, "TERM": "dumb"}  # a log has no colours
        self.replace()

    def replace(self) -> None:
        """Make a fresh executor; its process starts with the first job."""
        self._stop = get_context("loky").Semaphore(0)
        self._executor: Any = ProcessPoolExecutor(
            max_workers=1,
            initializer=_begin,
            initargs=(os.getpid(), self._stop),
            env=self._environment,
        )

    def start(self, job: Job) -> Future[JobEnd]:
        """Do a job."""
        future: Future[JobEnd] = self._executor.submit(_work, job, self._number)
        return future

    def ask_to_stop(self) -> None:
        """Have the job end after its step."""
        self._stop.release()

    def close(self, *, at_once: bool) -> None:
        """End the process."""
        self._executor.shutdown(wait=True, kill_workers=at_once)


def _begin(parent: int, stop: Any) -> None:
    """Prepare a worker: it hears of Ctrl-C from its parent alone, and ends with it."""
    if hasattr(os, "setpgid"):
        os.setpgid(
            0, 0
        )  # the terminal's Ctrl-C would come on top of the parent's word and so count as a second one
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # whose parent was started in the background ignores the first
        signal.signal(number, signal.default_int_handler)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_listen, args=(parent, stop), daemon=True).start()


def _listen(parent: int, stop: Any) -> None:
    """Interrupt the main thread when the parent says so; end this process when the parent is gone."""
    while True:
        if stop.acquire(timeout=PARENT_POLL_SECONDS):
            os.kill(os.getpid(), signal.SIGINT)
        elif os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM if os.name == "nt" else signal.SIGKILL)


def _work(job: Job, slot: int) -> JobEnd:
    if job.settings.trainer.accelerator != "cpu":
        import torch

        if torch.cuda.is_available():
            torch.cuda.set_device(slot % torch.cuda.device_count())
    return work(job)


def _death(error: BrokenProcessPool) -> str:
    """How a worker died, by loky's words `{SIGKILL(-9)}`."""
    found = re.search(r"(\w+)\((-?\d+)\)\}", str(error))
    if found is None:
        return "the process of this run ended all of a sudden"
    name, code = found[1], int(found[2])
    if code >= 0:
        return f"the process of this run ended all of a sudden, with exit status {code}"
    hint = ": was there too little memory?" if name == "SIGKILL" else ""
    return f"the process of this run was ended by signal {-code} ({name}){hint}"
