"""One fit on several devices: a process for each, started from the resolved settings and watched until all have ended.

The process that holds the run stays the supervisor: it keeps the record, passes a stop on, and raises what a device's
process raised. Nothing here reads a command line, so that it works within a sweep.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from leukemia_lab.cells import Cells
from leukemia_lab.errors import TrainingError
from leukemia_lab.estimators.fit import FitResult
from leukemia_lab.estimators.interruption import StopRequest, interruptible
from leukemia_lab.estimators.neural import CellClassifier
from leukemia_lab.runs.lease import Claim
from leukemia_lab.runs.record import RunFolder
from leukemia_lab.schema import TrainSettings
from leukemia_lab.sweeping.job import TrialAddress

WORKER = "leukemia_lab.device_worker"
ORDER, RENDEZVOUS = "order", "rendezvous"  # in the folder that supervisor and workers share
POLL_SECONDS = 0.05
STOP_SECONDS = 20.0  # for finishing a step after a stop; batch systems kill after 30
GRACE_SECONDS = 5.0  # for the others after the first failure: they wait for that one, or fail too and say so


@dataclass(frozen=True)
class Order:
    """What every worker gets: the run, and a classifier as its arguments and weights."""

    settings: TrainSettings
    cells: Cells
    run_folder: Path
    arguments: dict[str, Any]
    weights: dict[str, Tensor]
    accumulated: int
    n_ranks: int
    trial: TrialAddress | None
    claim: Claim | None


@dataclass(frozen=True)
class Report:
    """How a worker ended, and when: what it did, or what it raised."""

    ended: float
    fitted: FitResult | None
    error: BaseException | None


def fit_on_devices(
    settings: TrainSettings,
    cells: Cells,
    run_folder: RunFolder,
    model: CellClassifier,
    accumulated: int,
    trial: TrialAddress | None,
) -> FitResult:
    """Fit `model` on `settings.trainer.devices` devices; the best weights are in the run folder's checkpoints.

    Raises:
        InterruptedRunError: Ctrl-C, or the system asked this process or a worker to end.
        LostRunError: another process has taken the run over.
        TrainingError: a worker was killed.
        Exception: what a worker raised first, with its traceback as a note.
    """
    order = Order(
        settings,
        cells,
        run_folder.path.absolute(),
        dict(model.hparams),
        {name: value.cpu() for name, value in model.state_dict().items()},
        accumulated,
        int(settings.trainer.devices),
        trial,
        run_folder.claim,
    )
    request = StopRequest()
    with TemporaryDirectory(prefix="leukemia_lab-") as place, interruptible(request):
        folder = Path(place)
        (folder / ORDER).write_bytes(pickle.dumps(order))
        workers: list[subprocess.Popen[bytes]] = []
        try:
            workers.extend(_start(folder, rank, order.n_ranks) for rank in range(order.n_ranks))
            _wait(workers, request, run_folder)
            statuses = [worker.poll() for worker in workers]
        finally:
            for worker in workers:
                worker.kill()  # of no effect on one that has ended
                worker.communicate()
        request.stop_if_requested()  # whatever the workers say of it
        return _outcome([_report(folder, rank) for rank in range(order.n_ranks)], statuses)


def report_path(folder: Path, rank: int) -> Path:
    """Where the worker of `rank` leaves its report."""
    return folder / f"report-{rank}"


def _start(folder: Path, rank: int, n_ranks: int) -> subprocess.Popen[bytes]:
    threads = max(1, torch.get_num_threads() // n_ranks)
    environment = {
        "OMP_NUM_THREADS": str(threads),
        "TORCH_CPP_LOG_LEVEL": "ERROR",  # DDP warns of every net in which it finds no unused weights
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),  # tells Lightning that the processes are there already
        "NODE_RANK": "0",
        "WORLD_SIZE": str(n_ranks),
    }
    return subprocess.Popen(
        [sys.executable, "-m", WORKER, str(folder)],
        env=environment,
        stdin=subprocess.PIPE,  # its end tells the worker that the supervisor is gone
        start_new_session=True,  # Ctrl-C reaches the supervisor alone, which passes it on once
    )


def _wait(workers: list[subprocess.Popen[bytes]], request: StopRequest, run_folder: RunFolder) -> None:
    """Return when all have ended, or some time after a stop, or after the first that failed or was stopped."""
    deadline, passed_on, one_has_failed = float("inf"), False, False
    while any(worker.poll() is None for worker in workers) and time.monotonic() < deadline:
        if request.requested and not passed_on:
            passed_on = True
            deadline = min(deadline, time.monotonic() + STOP_SECONDS)
            for worker in workers:
                worker.send_signal(signal.SIGTERM)
        if not one_has_failed and any(worker.returncode not in (None, 0) for worker in workers):
            one_has_failed = True
            deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
        if run_folder.lost:
            run_folder.require_hold()
        time.sleep(POLL_SECONDS)


def _report(folder: Path, rank: int) -> Report | None:
    try:
        report: Report = pickle.loads(report_path(folder, rank).read_bytes())
    except FileNotFoundError:
        return None
    return report


def _outcome(reports: list[Report | None], statuses: list[int | None]) -> FitResult:
    """What rank 0 has done; raises what went wrong first: a death without a word, then the earliest error."""
    for rank, (report, status) in enumerate(zip(reports, statuses, strict=True)):
        if report is None and status is not None:
            raise TrainingError(
                f"the process of device {rank} {_ending(status)}. The same command goes on from the last "
                "finished epoch."
            )
    failed = [report for report in reports if report is not None and report.error is not None]
    if failed:
        first = min(failed, key=lambda report: report.ended)
        assert first.error is not None
        raise first.error
    fits = [report.fitted for report in reports if report is not None and report.fitted is not None]
    peaks = [fit.peak_device_memory_bytes for fit in fits if fit.peak_device_memory_bytes is not None]
    return replace(fits[0], peak_device_memory_bytes=max(peaks, default=None))


def _ending(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status} before its work was done"
    name = signal.Signals(-status).name
    return f"was killed by {name}" + (", as systems do that run out of memory" if name == "SIGKILL" else "")
