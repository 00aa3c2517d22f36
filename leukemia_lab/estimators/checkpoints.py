"""Checkpoints and early stopping that a resume goes on with, in the same folder or a moved one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

OBJECTIVE = "val/auroc"  # what a sweep compares, at the best epoch
BEST, LAST = "best.ckpt", "last.ckpt"


class MovableCheckpoint(ModelCheckpoint):
    """Lightning's, but it remembers the best score also where the run folder has moved since."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state over, its paths put into this folder."""
        moved = state_dict | {"dirpath": self.dirpath}
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            moved[key] = self._here(state_dict[key])
        moved["best_k_models"] = {
            self._here(path): score for path, score in state_dict["best_k_models"].items()
        }
        super().load_state_dict(moved)

    def _here(self, path: str) -> str:
        return str(Path(str(self.dirpath)) / Path(path).name) if path else path


class ResumableEarlyStopping(EarlyStopping):
    """Lightning's, but a run stopped by it and killed before its end trains no further epoch when resumed."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop at once where patience was exhausted before."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


def checkpointing(folder: Path, monitor: str) -> list[ModelCheckpoint]:
    """Best (by `monitor`) and last weights after each epoch; last comes last, as it holds the state of best."""
    shared: dict[str, Any] = {"enable_version_counter": False, "save_on_train_epoch_end": True}
    best = MovableCheckpoint(
        folder,
        filename=Path(BEST).stem,
        monitor=monitor,
        mode=mode_of(monitor),
        save_weights_only=True,  # the optimiser's state is twice as large, and a resume takes it from last
        **shared,
    )
    last = MovableCheckpoint(folder, filename=Path(LAST).stem, **shared)
    return [best, last]


def early_stopping(patience: int, monitor: str) -> EarlyStopping:
    """Stop after `patience` epochs without a better `monitor`."""
    return ResumableEarlyStopping(
        monitor, mode=mode_of(monitor), patience=patience, check_on_train_epoch_end=True
    )


def mode_of(monitor: str) -> str:
    """Whether the best epoch has the least (`min`) or the greatest (`max`) value of `monitor`."""
    return "min" if monitor.endswith("loss") else "max"
