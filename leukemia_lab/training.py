"""What `train` does: prepare, fit, predict the training and validation parts, record. The test part stays closed."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from lightning.pytorch.loggers import TensorBoardLogger

from leukemia_lab.cells import Cells
from leukemia_lab.classical_runs import train_classical
from leukemia_lab.config import standard_evaluation
from leukemia_lab.dashboards import log_part, log_projector
from leukemia_lab.data.split_files import write_split
from leukemia_lab.device import device_name, resolve_device
from leukemia_lab.errors import HeldRunError, InterruptedRunError, PrunedRunError, TrainingError
from leukemia_lab.estimators.checkpoints import OBJECTIVE
from leukemia_lab.estimators.memory import free_memory
from leukemia_lab.evaluation.document import metrics_document
from leukemia_lab.evaluation.predictions import predictions_table, write_predictions
from leukemia_lab.evaluation.result_lines import show_metrics
from leukemia_lab.experiment import SEEN_PARTS, Trained, permuted, resolve_auto
from leukemia_lab.explaining import explain
from leukemia_lab.hashing import content_hash
from leukemia_lab.identity import identity_settings, run_identity
from leukemia_lab.initial_weights import weights_hash
from leukemia_lab.net_runs import train_net
from leukemia_lab.progress import CONSOLE, RESULTS
from leukemia_lab.runs import record, tensorboard
from leukemia_lab.runs.deaths import count_death, heed_deaths
from leukemia_lab.runs.record import RunFolder
from leukemia_lab.schema import ClassicalModel, TrainSettings
from leukemia_lab.shared_cells import shared_cells
from leukemia_lab.sweeping.job import TrialAddress

OF_FAILURE = ("error", "traceback")  # fields of the record
RUNS_DIR = Path("runs")


@dataclass(frozen=True)
class Order:
    """Who asks for a run: the words that were typed to get its settings, the trial of a search that it reports to.

    `opened` hears of the run folder before anything is done in it. With `give_up` the run fails untried where too
    many processes have died over it (`runs.deaths`).
    """

    overrides: Sequence[str] | None = None
    trial: TrialAddress | None = None
    opened: Callable[[Path], None] = lambda _: None
    give_up: bool = False


def train(
    settings: TrainSettings, parent: Path, given: Path | None, order: Order
) -> tuple[Path, float | None]:
    """Train a run, finish an interrupted one, or return a finished one: its folder and its objective (val AUROC).

    The folder is `given`, or `<parent>/<model>-<identity>`.

    Raises:
        LeukemiaLabError: bad data, a split that cannot be made, a folder that is another run's, an interruption.
    """
    settings = resolve_auto(settings)
    return train_split(settings, permuted(settings, shared_cells(settings)), parent, given, order)


def train_split(
    settings: TrainSettings, cells: Cells, parent: Path, given: Path | None, order: Order
) -> tuple[Path, float | None]:
    """`train` on cells that are split already, with settings in which every `auto` is resolved."""
    identity = split_identity(settings, cells)
    path = default_folder(parent, settings, identity) if given is None else given
    order.opened(path)
    return finished(path, identity, settings, lambda folder: _train_recorded(settings, cells, folder, order))


def finished(
    path: Path, identity: str, settings: TrainSettings, work: Callable[[RunFolder], None]
) -> tuple[Path, float | None]:
    """The folder and the objective of what `identity` names: as it was finished before, or once `work` is done."""
    folder = RunFolder.open(path, identity, settings.force)
    if folder.finished:
        CONSOLE.print(
            f"{folder.path}: finished before ({folder.record['finished']}); force=true starts it over"
        )
    else:
        with folder.held():
            folder.require_identity(identity)  # another process may have put its own run here
            count_death(folder)
            if not folder.finished:  # another process may have been faster
                free_memory()  # of a run before in this process that failed: its error has held on to it until now
                work(folder)
                free_memory()
    return folder.path, folder.metrics()["objective"]


def split_identity(settings: TrainSettings, cells: Cells) -> str:
    """The identity of the run on these cells."""
    return run_identity(settings, cells.index.fingerprint, cells.split.hash, weights_hash(settings.model))


def default_folder(parent: Path, settings: TrainSettings, identity: str) -> Path:
    """Where a run goes that was given no folder."""
    name = settings.model.name.replace("/", "_")  # some of timm's names hold slashes
    return parent / f"{name}-{identity}"


def show(folder: Path) -> None:
    """Print the training and validation metrics of a finished run, and where it is."""
    show_metrics(RunFolder.existing(folder).metrics(), SEEN_PARTS)
    RESULTS.print(f"run folder: {folder}", markup=False, soft_wrap=True)


def _train_recorded(settings: TrainSettings, cells: Cells, folder: RunFolder, order: Order) -> None:
    folder.set_split(cells.split.hash)
    start_record(settings, cells, folder, order, protocol=cells.split.protocol)
    write_split(cells.split, folder.path / record.SPLIT)
    with recorded(folder):
        heed_deaths(folder, give_up=order.give_up)
        _train(settings, cells, folder, order.trial)


@contextmanager
def recorded(folder: RunFolder) -> Iterator[None]:
    """Note in the record how the work inside ended, and the seconds that it took."""
    started = time.monotonic()
    try:
        yield
    except (InterruptedRunError, KeyboardInterrupt, HeldRunError):  # of a fold that another process has
        folder.update(status="interrupted", finished=record.now())
        raise
    except PrunedRunError as pruned:
        folder.update(status="pruned", finished=record.now(), objective=pruned.objective)
        raise
    except Exception as error:
        folder.update(
            status="failed",
            finished=record.now(),
            error=f"{type(error).__name__}: {error}",
            traceback=traceback.format_exc(),
            **(error.facts if isinstance(error, TrainingError) else {}),
        )
        raise
    finally:
        folder.update(seconds=round(folder.record.get("seconds", 0.0) + time.monotonic() - started, 3))


def start_record(
    settings: TrainSettings, cells: Cells, folder: RunFolder, order: Order, **fields: Any
) -> None:
    """Write config.yaml and what is known before a run begins of settings, data, software, hardware; `fields` too."""
    device = resolve_device(settings.trainer.accelerator, "trainer.accelerator")
    for field in [name for name in folder.record if name in OF_FAILURE or name.startswith("nan_")]:
        del folder.record[field]  # of an attempt before this one
    folder.update(
        status="running",
        started=record.now(),
        config_hash=content_hash(identity_settings(settings)),
        data_fingerprint=cells.index.fingerprint,
        data_root=cells.index.where,
        class_names=list(cells.index.class_names),
        positive=cells.index.positive,
        stamps=list(cells.stamps),
        model=settings.model.name,
        overrides=None if order.overrides is None else list(order.overrides),
        trial=None if order.trial is None else order.trial.shown(),
        weights_hash=weights_hash(settings.model),
        versions=record.versions(),
        commit=record.commit(),
        hardware={"processor": record.processor(), "device": device_name(device)},
        devices=settings.trainer.devices,
        **fields,
    )
    config = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
    record.write_atomically(folder.path / record.CONFIG, config)


def _train(settings: TrainSettings, cells: Cells, folder: RunFolder, trial: TrialAddress | None) -> None:
    (folder.path / record.FIGURES).mkdir(exist_ok=True)
    with tensorboard.logging_to(folder.path) as logger:
        tensorboard.log_about(logger, record.flat(settings.model_dump(mode="json")), cells.stamps)
        if isinstance(settings.model, ClassicalModel):
            trained = train_classical(settings, cells, folder)
        else:
            trained = train_net(settings, cells, folder, logger, trial)
        predictions = _predictions(cells, trained, run_id=folder.record["identity"])
        folder.require_hold()
        write_predictions(predictions, folder.path / record.PREDICTIONS)
        document = _show(settings, cells, folder, logger, predictions, trained)
    folder.write_metrics(document)
    folder.update(status="finished", finished=record.now(), objective=document["objective"], **trained.record)


def _predictions(cells: Cells, trained: Trained, run_id: str) -> pd.DataFrame:
    """The predictions for the training and validation parts."""
    table = cells.split.table
    tables = [
        predictions_table(table[table["part"] == part], logits, cells.index.class_names, run_id)
        for part, logits in trained.logits.items()
    ]
    return pd.concat(tables, ignore_index=True)


def _show(
    settings: TrainSettings,
    cells: Cells,
    folder: RunFolder,
    logger: TensorBoardLogger,
    predictions: pd.DataFrame,
    trained: Trained,
) -> dict[str, Any]:
    """Write figures and dashboards; returns the content of metrics.json."""
    class_names, positive = cells.index.class_names, cells.index.positive
    document = metrics_document(
        predictions, class_names, positive, cells.stamps, OBJECTIVE, standard_evaluation()
    )
    val = predictions[predictions["part"] == "val"]
    step = trained.best_epoch
    log_part(logger, folder.path, "val", val, class_names, positive, cells.stamps, step)
    if trained.embedded is not None:
        log_projector(logger, trained.embedded, val, class_names, cells.stamps)
    explain(folder, "val", predictions, trained.data, trained.net, logger, step)
    config = record.flat(settings.model_dump(mode="json"))
    tensorboard.log_final(logger, config, tensorboard.final_values(document), cells.stamps)
    return document
