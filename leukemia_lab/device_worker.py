"""The process of one device of a fit on several: `leukemia_lab.several_devices` starts it, no user does."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
import traceback
from contextlib import nullcontext
from pathlib import Path

import lightning
import torch
from torch.distributed import FileStore  # type: ignore[attr-defined]  # documented, not exported

from leukemia_lab.atomic import replacing
from leukemia_lab.errors import InterruptedRunError
from leukemia_lab.estimators.fit import FitResult
from leukemia_lab.estimators.interruption import EpochGuard
from leukemia_lab.estimators.neural import CellClassifier
from leukemia_lab.experiment import training_data
from leukemia_lab.net_runs import fit_net
from leukemia_lab.progress import CONSOLE
from leukemia_lab.runs import tensorboard
from leukemia_lab.several_devices import ORDER, RENDEZVOUS, Order, Report, report_path

FAILED = 1


def main(folder: Path, rank: int) -> int:
    """Carry out the order in `folder` as `rank`, and leave a report; returns the exit status."""
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    CONSOLE.quiet = rank > 0
    try:
        order: Order = pickle.loads((folder / ORDER).read_bytes())
        report = Report(time.time(), _fit(order, folder, rank), None)
    except BaseException as error:
        error.add_note(f"In the process of device {rank}:\n{traceback.format_exc()}")
        report = Report(time.time(), None, _picklable(error))
    with replacing(report_path(folder, rank)) as partial:
        partial.write_bytes(pickle.dumps(report))
    if report.error is None:
        return 0
    return InterruptedRunError.exit_status if isinstance(report.error, InterruptedRunError) else FAILED


def _fit(order: Order, folder: Path, rank: int) -> FitResult:
    on_gpu = order.settings.trainer.accelerator == "cuda"
    if on_gpu:
        torch.cuda.set_device(rank)
    torch.distributed.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=FileStore(str(folder / RENDEZVOUS), order.n_ranks),  # no port that another program could take
        rank=rank,
        world_size=order.n_ranks,
    )
    lightning.seed_everything(order.settings.seed, workers=True, verbose=False)
    data = training_data(order.settings, order.cells)
    data.rank, data.n_ranks = rank, order.n_ranks
    data.accumulate(order.accumulated)
    model = CellClassifier(**order.arguments)
    model.load_state_dict(order.weights)
    logging = nullcontext() if rank > 0 else tensorboard.logging_to(order.run_folder)
    with logging as logger:
        return fit_net(
            order.settings,
            model,
            data,
            order.run_folder,
            order.cells.stamps,
            logger,
            order.trial,
            guards=[] if order.claim is None else [EpochGuard(order.claim.check)],
        )


def _picklable(error: BaseException) -> BaseException:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever a foreign exception's own methods raise
        plain = RuntimeError(f"{type(error).__name__}: {error}")
        plain.__notes__ = error.__notes__
        return plain
    return error


def _end_with_supervisor() -> None:
    os.read(0, 1)  # standard input: it ends with the supervisor, however that ends
    os._exit(FAILED)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(os.environ["RANK"])))
