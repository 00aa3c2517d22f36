"""`history.csv` of a run: one row an epoch with everything that was logged."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from leukemia_lab.atomic import replacing

EPOCH = "epoch"
GROUPS = ("train", "val", "optim", "speed", "memory")  # the order of the columns
LOSS = "loss"  # comes first in its group


class TrainingHistory(Checkpoint):
    """Writes the file whole after each epoch, before the checkpoint of that epoch.

    A resume drops the rows of epochs that are trained again, so that the file is that of an undisturbed run.
    A checkpoint to Lightning, which runs these alone after all that the model logs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[int, dict[str, float]] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the epochs before a resume; forget those that come again."""
        found = read_history(self.path)
        kept = {
            epoch: dict(zip(found.columns[1:], values, strict=True))
            for epoch, *values in found.itertuples(index=False, name=None)
        }
        self._rows = {int(epoch): row for epoch, row in kept.items() if epoch < trainer.current_epoch}
        if len(found) > len(self._rows):
            self._write()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row."""
        values = {name: float(value) for name, value in trainer.callback_metrics.items() if "/" in name}
        self._rows[trainer.current_epoch] = values
        self._write()

    def _write(self) -> None:
        names = sorted({name for row in self._rows.values() for name in row}, key=_place)
        rows = [
            {EPOCH: epoch, **{name: row.get(name, math.nan) for name in names}}
            for epoch, row in sorted(self._rows.items())
        ]
        with replacing(self.path) as partial:
            pd.DataFrame(rows, columns=[EPOCH, *names]).to_csv(partial, index=False, float_format="%.7g")


def read_history(path: Path) -> pd.DataFrame:
    """The rows of `history.csv`: `epoch` from 0, then a column for each logged value; no row where there is none.

    A file that cannot be read, which no run leaves behind, counts as none: training writes it anew.
    """
    try:
        table = pd.read_csv(path)
    except (FileNotFoundError, pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError):
        return pd.DataFrame(columns=[EPOCH])
    return table if list(table.columns[:1]) == [EPOCH] else pd.DataFrame(columns=[EPOCH])


def _place(name: str) -> tuple[int, bool, str]:
    group, _, rest = name.partition("/")
    return GROUPS.index(group) if group in GROUPS else len(GROUPS), rest != LOSS, rest
