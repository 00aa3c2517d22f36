"""What every run shows in TensorBoard once it is trained or tested, nets and classical models alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from leukemia_lab.data.datamodule import CellDataModule, evenly_spaced
from leukemia_lab.evaluation.figures import confusion_figure, roc_figure
from leukemia_lab.evaluation.metrics import confusion
from leukemia_lab.runs import record, tensorboard
from leukemia_lab.runs.projector import MAX_CELLS, write_projector

NAMES = {"val": "validation", "test": "test"}  # of the parts in titles


def log_part(
    logger: TensorBoardLogger,
    folder: Path,
    part: str,
    table: pd.DataFrame,
    class_names: Sequence[str],
    positive: str | None,
    stamps: Sequence[str],
    step: int,
) -> None:
    """PR curves, ROC and confusion matrix of the predictions for one part; the matrix as a picture of the run too."""
    title = tensorboard.figure_title(NAMES[part], stamps)
    matrix = confusion_figure(confusion(table, class_names), class_names, title)
    (folder / record.FIGURES).mkdir(exist_ok=True)
    matrix.savefig(folder / record.FIGURES / f"confusion_{part}.png")
    tensorboard.log_figure(logger, f"confusion/{part}", matrix, step)
    roc = roc_figure(table, class_names, positive, title)
    tensorboard.log_figure(logger, f"roc/{part}", roc, step)
    tensorboard.log_pr_curves(logger, f"pr/{part}", table, class_names, positive, step)


@dataclass(frozen=True)
class Embedded:
    """Validation cells for the projector: places [m] in the part, features [m, D], images uint8 [m, H, W, 3]."""

    places: npt.NDArray[np.int64]
    features: npt.NDArray[Any]
    images: npt.NDArray[np.uint8]


def embedded(data: CellDataModule, features: npt.NDArray[Any]) -> Embedded:
    """At most MAX_CELLS evenly spaced cells of the validation part; `features` are of these, or of the whole part."""
    rows = data.rows["val"]
    chosen = evenly_spaced(rows, MAX_CELLS)
    places = np.flatnonzero(np.isin(rows.cpu().numpy(), chosen.cpu().numpy()))
    images = np.stack([_pixels(data.cells.images[int(row)]) for row in chosen.cpu()])
    return Embedded(places, features if len(features) == len(places) else features[places], images)


def log_projector(
    logger: TensorBoardLogger,
    cells: Embedded,
    predictions: pd.DataFrame,
    class_names: Sequence[str],
    stamps: Sequence[str],
) -> None:
    """Show validation cells by class, subject and what they were taken for; `predictions` are of that whole part."""
    shown = predictions.iloc[cells.places]
    probs = shown[[f"prob_{name}" for name in class_names]].to_numpy()
    predicted = np.array(class_names, dtype=object)[probs.argmax(axis=1)]
    about = shown[["cell_id", "label", "subject", "group"]].assign(
        predicted=predicted,
        correct=np.where(shown["label"] == predicted, "right", "wrong"),
        probability=[f"{p:.3f}" for p in probs.max(axis=1)],
    )
    name = tensorboard.figure_title("validation cells", stamps)
    write_projector(Path(logger.log_dir), name, cells.features, about, cells.images)


def _pixels(image: Tensor | npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A cell of the cache as an array, also where the cells are resident on a GPU."""
    return image.cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
