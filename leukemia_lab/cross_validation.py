"""`train` of any settings: one run, or with `protocol.fold=all` one run a fold, which together are one experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from leukemia_lab import training
from leukemia_lab.cells import Cells, draw_folds, is_of_folds
from leukemia_lab.errors import InterruptedRunError, LeukemiaLabError, PrunedRunError
from leukemia_lab.evaluation.folds import balance_table, fold_balance, mean_metrics
from leukemia_lab.experiment import SEEN_PARTS, permuted, resolve_auto
from leukemia_lab.hashing import content_hash
from leukemia_lab.progress import CONSOLE, RESULTS
from leukemia_lab.runs import record, tensorboard
from leukemia_lab.runs.deaths import heed_deaths
from leukemia_lab.runs.record import RunFolder
from leukemia_lab.schema import TrainSettings
from leukemia_lab.search.pruning import TrialReports, objective_by_folds
from leukemia_lab.shared_cells import shared_known_cells
from leukemia_lab.sweeping.job import TrialAddress
from leukemia_lab.training import Order


@dataclass(frozen=True)
class Fold:
    """One run of a cross-validation: its folder in that of the whole, its settings, its cells."""

    name: str
    settings: TrainSettings
    cells: Cells


def train(
    settings: TrainSettings, parent: Path, given: Path | None, order: Order
) -> tuple[Path, float | None]:
    """Train what `settings` stand for, finish it, or return it: its folder and its objective.

    A cross-validation has its folder as a run has, `given` or `<parent>/<model>-<identity>`; in it the runs
    of its folds are `fold_0`, `fold_1`, …, and its objective is the mean of theirs. All splits are made before
    the first fold is trained.

    Raises:
        LeukemiaLabError: as `training.train` does; a fold's error names the fold.
    """
    if not is_of_folds(settings.protocol):
        return training.train(settings, parent, given, order)
    settings = resolve_auto(settings)
    drawn = draw_folds(shared_known_cells(settings), settings)
    folds = [Fold(f"fold_{k}", fold, permuted(fold, cells)) for k, (fold, cells) in enumerate(drawn)]
    identities = [training.split_identity(fold.settings, fold.cells) for fold in folds]
    identity = content_hash({"kind": record.CROSS_VALIDATION, "folds": identities})
    path = training.default_folder(parent, settings, identity) if given is None else given
    order.opened(path)

    def work(folder: RunFolder) -> None:
        _start_record(settings, folds, identities, folder, order)
        with training.recorded(folder):
            heed_deaths(folder, give_up=order.give_up)
            _train(settings, folds, folder, order.trial)

    return training.finished(path, identity, settings, work)


def show(path: Path) -> None:
    """Print the training and validation metrics of what `train` returned; of a cross-validation its balance too."""
    folder = RunFolder.existing(path)
    if folder.is_cross_validation:
        RESULTS.print(balance_table(folder.record["balance"]))
    training.show(path)


def _start_record(
    settings: TrainSettings,
    folds: Sequence[Fold],
    identities: Sequence[str],
    folder: RunFolder,
    order: Order,
) -> None:
    stamps = dict.fromkeys(stamp for fold in folds for stamp in fold.cells.stamps)
    looks = folder.record["test_looks_by_split"]
    training.start_record(
        settings,
        replace(folds[0].cells, stamps=tuple(stamps)),
        folder,
        order,
        kind=record.CROSS_VALIDATION,
        protocol=settings.protocol.model_dump(mode="json"),
        folds=[
            {"fold": k, "run": fold.name, "identity": identity, "split_hash": fold.cells.split.hash}
            for k, (fold, identity) in enumerate(zip(folds, identities, strict=True))
        ],
        test_looks=max(looks.get(fold.cells.split.hash, 0) for fold in folds),
        balance=fold_balance([fold.cells.split.table for fold in folds]),
    )


def _train(
    settings: TrainSettings, folds: Sequence[Fold], folder: RunFolder, trial: TrialAddress | None
) -> None:
    reports = None if trial is None else TrialReports(trial)
    paths = [folder.path / fold.name for fold in folds]
    for k, fold in enumerate(folds):
        where = f"fold {k} of {len(folds)} ({paths[k]})"
        CONSOLE.print(where, markup=False)
        try:
            training.train_split(fold.settings, fold.cells, folder.path, paths[k], Order())
        except InterruptedRunError:
            raise
        except LeukemiaLabError as error:
            named = type(error)(f"{where}: {error}")
            vars(named).update(vars(error))  # its facts too stand in the record of the whole
            raise named from error
        if reports is not None and k + 1 < len(folds):
            objective = objective_by_folds(reports, paths[: k + 1])
            if objective is not None:
                raise PrunedRunError(objective)
    documents = [RunFolder.existing(path).metrics() for path in paths]
    document = mean_document(documents, folder.record["stamps"])
    stamps = folder.record["stamps"]
    config = record.flat(settings.model_dump(mode="json"))
    with tensorboard.logging_to(folder.path) as logger:
        tensorboard.log_about(logger, config, stamps)
        tensorboard.log_final(logger, config, tensorboard.final_values(document), stamps)
    folder.write_metrics(document)
    folder.update(status="finished", finished=record.now(), objective=document["objective"])


def mean_document(documents: Sequence[dict[str, Any]], stamps: Sequence[str]) -> dict[str, Any]:
    """The metrics.json of a cross-validation by those of its folds: means of what training saw.

    `per_class` and `per_subject` are empty: they are of cells predicted once, as those of the test parts are.
    """
    means = {part: mean_metrics([document[part] for document in documents]) for part in SEEN_PARTS}
    objectives = [document["objective"] for document in documents]
    return means | {
        "stamps": list(stamps),
        "objective": None if None in objectives else fmean(objectives),
        "per_class": {},
        "per_subject": {},
    }
