"""What a training run tells the search that it is a trial of, and whether that ends it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from lightning import Callback, LightningModule, Trainer

from leukemia_lab.errors import PrunedRunError
from leukemia_lab.estimators.checkpoints import mode_of
from leukemia_lab.estimators.history import read_history
from leukemia_lab.progress import CONSOLE
from leukemia_lab.search.outcome import objective_values
from leukemia_lab.search.storage import open_storage, optuna, persistently
from leukemia_lab.sweeping.job import TrialAddress
from leukemia_lab.targets import build

if TYPE_CHECKING:
    from optuna import Study

DEFINITION = "definition"  # user attribute of a study
PRUNED_AT = "pruned_at"  # user attribute of a trial: the step after which it was told to end


class TrialReports:
    """The way of one trial to its study. Nothing here raises: a storage that is away must not end a training."""

    def __init__(self, address: TrialAddress) -> None:
        self._address = address
        self._silent = False

    @cached_property
    def objective(self) -> str | None:
        """The one objective that is reported while training goes on; None where there are several or none is known."""
        definition = self._try(lambda: self._study.user_attrs[DEFINITION])
        names = [] if definition is None else definition["search"]["objectives"]
        return names[0] if len(names) == 1 and names[0].startswith("val/") else None

    def ended_before(self) -> bool:
        """Whether the trial was told to end, and its process was killed before it could say so."""
        return bool(self._try(lambda: PRUNED_AT in self._trial().user_attrs))

    def report(self, values: Mapping[int, float]) -> bool:
        """Report the objective by step, where that has not been done; returns whether the study ends the trial."""
        return bool(self._try(lambda: self._report(values)))

    def _report(self, values: Mapping[int, float]) -> bool:
        trial = self._trial()
        known = self._study.get_trials(deepcopy=False)[self._address.number].intermediate_values
        new = {step: value for step, value in values.items() if step not in known and math.isfinite(value)}
        for step in sorted(new):
            trial.report(new[step], step)
        if not new or not trial.should_prune():
            return False
        trial.set_user_attr(PRUNED_AT, max(new))
        return True

    def _trial(self) -> Any:
        trials = self._study.get_trials(deepcopy=False)
        return optuna().trial.Trial(self._study, trials[self._address.number]._trial_id)

    @cached_property
    def _study(self) -> Study:
        library = optuna()
        study: Study = library.load_study(
            study_name=self._address.study,
            storage=open_storage(self._address.storage),
            sampler=library.samplers.RandomSampler(),  # proposes nothing here
        )
        node = study.user_attrs[DEFINITION]["search"]["pruner"]
        study.pruner = library.pruners.NopPruner() if node is None else build(node)
        return study

    def _try(self, work: Any) -> Any:
        try:
            return work() if self._silent else persistently(work)
        except Exception as error:
            if not self._silent:
                line = str(error).strip().partition("\n")[0]
                CONSOLE.print(
                    f"the search cannot be reached, training goes on without it: {line}", markup=False
                )
            self._silent = True
            return None


def pruning_callbacks(address: TrialAddress | None, history: Path, monitor: str) -> list[Callback]:
    """What a training run needs that is a trial of a search: nothing where it is none."""
    return [] if address is None else [Pruning(address, history, monitor)]


class Pruning(Callback):
    """Reports after each epoch what the run's objective would be if it ended now; ends it where the study says so.

    The objective is that of the best epoch so far, by `monitor`, as `history` (the run's history.csv) has it. It is
    asked for when the next epoch begins, as by then the checkpoint of the one before is written.
    """

    def __init__(self, address: TrialAddress, history: Path, monitor: str) -> None:
        self._reports = TrialReports(address)
        self._history, self._monitor = history, monitor

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the epoch before; PrunedRunError where it was the last. One process asks for all."""
        objective = self._told(trainer, ends=True) if trainer.is_global_zero else None
        objective = trainer.strategy.broadcast(objective)
        if objective is not None:
            raise PrunedRunError(objective)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the last epoch, which ends nothing any more."""
        if trainer.is_global_zero:
            self._told(trainer, ends=False)

    def _told(self, trainer: Trainer, *, ends: bool) -> float | None:
        """Report what is new; the objective where that ends the trial, else None."""
        if trainer.current_epoch == 0 or self._reports.objective is None:
            return None
        values = objective_so_far(self._history, self._reports.objective, self._monitor)
        if not values:
            return None
        told_to_end = self._reports.ended_before() or self._reports.report(values)
        return values[max(values)] if told_to_end and ends else None


def objective_by_folds(reports: TrialReports, runs: Sequence[Path]) -> float | None:
    """Report the mean objective of a cross-validation's finished folds; it, where that ends the trial, else None."""
    if reports.objective is None:
        return None
    mean = fmean(objective_values(run, [reports.objective])[0] for run in runs)
    return mean if reports.ended_before() or reports.report({len(runs): mean}) else None


def objective_so_far(history: Path, objective: str, monitor: str) -> dict[int, float]:
    """By number of epochs trained, the `objective` of the epoch that was the best by `monitor` until then."""
    table = read_history(history)
    values: dict[int, float] = {}
    if table.empty:
        return values
    best, at_best = math.nan, math.nan
    for epoch, score, value in zip(table["epoch"], table[monitor], table[objective], strict=True):
        score = -score if mode_of(monitor) == "min" else score
        if not best >= score:
            best, at_best = score, value
        values[int(epoch) + 1] = float(at_best)
    return values
