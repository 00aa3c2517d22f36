"""How the validation part is told apart, epoch by epoch: PR curves, ROC and confusion matrix in TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from leukemia_lab.estimators.neural import CellClassifier
from leukemia_lab.evaluation.figures import confusion_figure, roc_figure
from leukemia_lab.evaluation.metrics import confusion
from leukemia_lab.runs import tensorboard

DRAWINGS = 20  # over a run; TensorBoard itself shows 10 of them
DRAWING_SHARE = 0.02  # of the run's time that drawing may take: two figures cost about 0.1 s
FIRST_SECONDS = 0.3  # what the first drawing is taken to cost, fonts being loaded


class ValidationCurves(Callback):
    """PR curves every epoch; figures at most DRAWINGS times, and never for more than DRAWING_SHARE of the time.

    A run of few seconds has no figures by epoch but those that are drawn once at its end.
    """

    def __init__(self, stamps: Sequence[str]) -> None:
        self.stamps = tuple(stamps)
        self._began = time.monotonic()
        self._spent, self._cost = 0.0, FIRST_SECONDS

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock that drawing is measured against."""
        self._began = time.monotonic()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch that was just validated; its metrics are reset only after this."""
        logger = trainer.logger
        if not isinstance(logger, TensorBoardLogger) or not isinstance(pl_module, CellClassifier):
            return
        class_names, positive = pl_module.hparams["class_names"], pl_module.hparams["positive"]
        table = validation_table(pl_module, class_names)
        epoch = trainer.current_epoch
        tensorboard.log_pr_curves(logger, "pr_by_epoch/val", table, class_names, positive, epoch)
        if self._may_draw(epoch, trainer.max_epochs):
            started = time.monotonic()
            title = tensorboard.figure_title(f"validation, epoch {epoch}", self.stamps)
            matrix = confusion_figure(confusion(table, class_names), class_names, title)
            tensorboard.log_figure(logger, "confusion_by_epoch/val", matrix, epoch)
            roc = roc_figure(table, class_names, positive, title)
            tensorboard.log_figure(logger, "roc_by_epoch/val", roc, epoch)
            self._cost = time.monotonic() - started
            self._spent += self._cost

    def _may_draw(self, epoch: int, n_epochs: int | None) -> bool:
        every = 1 if n_epochs is None or n_epochs < 1 else -(-n_epochs // DRAWINGS)
        allowed = DRAWING_SHARE * (time.monotonic() - self._began)
        return epoch % every == 0 and self._spent + self._cost <= allowed


def validation_table(model: CellClassifier, class_names: Sequence[str]) -> pd.DataFrame:
    """The epoch's validation outputs so far as `label, logit_<class>…, prob_<class>…`, as in a predictions table."""
    probs, labels = model.validation_outputs()
    columns: dict[str, Any] = {"label": np.array(class_names, dtype=object)[labels]}
    with np.errstate(divide="ignore"):
        columns |= {f"logit_{name}": np.log(probs[:, k]) for k, name in enumerate(class_names)}
    columns |= {f"prob_{name}": probs[:, k] for k, name in enumerate(class_names)}
    return pd.DataFrame(columns)
