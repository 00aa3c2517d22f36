"""Overrides of the commands that make runs of seconds, and a look at their records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from leukemia_lab.config import Composer, checked
from leukemia_lab.runs import record
from leukemia_lab.schema import TrainCommandSettings, TrainSettings

DONE, SOME_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 3
DATA = ("data.n_cells=64", "data.n_subjects=10", "data.n_twins=1", "pipeline.image_size=32")
MORE_DATA = ("data.n_cells=140", "data.n_subjects=28", "data.n_twins=1", "pipeline.image_size=32")
NET = ("model.net.width=4", "trainer.max_epochs=2", "trainer.batch_size=16")


def composed(*overrides: str) -> TrainSettings:
    """The settings of the run that `train` with these overrides is."""
    composer = Composer("train", TrainCommandSettings, None)
    return checked(TrainCommandSettings, composer.compose(overrides)).as_training()


def record_of(folder: Path) -> dict[str, Any]:
    return record.read_json(folder / record.RECORD)


def metrics_of(folder: Path) -> dict[str, Any]:
    return record.read_json(folder / record.METRICS)
