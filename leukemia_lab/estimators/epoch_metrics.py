"""The metrics of each epoch, kept on the device by torchmetrics; names as in metrics.json.

They steer training. Final figures come from the predictions table (leukemia_lab.evaluation.metrics).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics import classification as tm

from leukemia_lab.errors import RunError
from leukemia_lab.estimators.ranks import gathered
from leukemia_lab.evaluation.metrics import expected_calibration_error

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
# Checking values would wait for the device; what other devices saw is gathered here, in order, not by torchmetrics.
_UNCHECKED: dict[str, Any] = {"validate_args": False, "sync_on_compute": False}


class EpochMetrics(nn.Module):
    """Metrics of one part; with two classes sensitivity, AUROC and the like speak of the `positive` class index."""

    def __init__(self, n_classes: int, positive: int | None) -> None:
        super().__init__()
        self.positive = positive
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []
        k, unchecked = n_classes, _UNCHECKED
        self.of_all = MetricCollection(
            {
                "accuracy": tm.MulticlassAccuracy(k, average="micro", **unchecked),
                "balanced_accuracy": tm.MulticlassAccuracy(k, average="macro", **unchecked),
                "weighted_f1": tm.MulticlassF1Score(k, average="weighted", **unchecked),
                "mcc": tm.MulticlassMatthewsCorrCoef(k, **unchecked),
            }
        )
        self.of_classes = MetricCollection(
            {
                "sensitivity": tm.MulticlassRecall(k, average="macro", **unchecked),
                "specificity": tm.MulticlassSpecificity(k, average="macro", **unchecked),
                "precision": tm.MulticlassPrecision(k, average="macro", **unchecked),
                "f1": tm.MulticlassF1Score(k, average="macro", **unchecked),
                "auroc": tm.MulticlassAUROC(k, average="macro", **unchecked),
                "auprc": tm.MulticlassAveragePrecision(k, average="macro", **unchecked),
            }
            if positive is None
            else {
                "sensitivity": tm.BinaryRecall(**unchecked),
                "specificity": tm.BinarySpecificity(**unchecked),
                "precision": tm.BinaryPrecision(**unchecked),
                "f1": tm.BinaryF1Score(**unchecked),
                "auroc": tm.BinaryAUROC(**unchecked),
                "auprc": tm.BinaryAveragePrecision(**unchecked),
            }
        )

    def update(self, probabilities: Tensor, labels: Tensor, cells: Tensor) -> None:
        """Add a batch: probabilities float [B, K], labels int64 [B], rows of the index int64 [B]."""
        self._seen.append((probabilities, labels, cells))

    def gather(self, cells: Tensor) -> None:
        """Take in what the other devices saw; all must have seen `cells` (rows int64 [n]), each once, in this order.

        Raises:
            RunError: a cell is missing, or was seen twice.
        """
        probabilities, labels, seen = (gathered(column) for column in self._columns())
        if not torch.equal(seen.cpu(), cells.cpu()):
            raise RunError(
                f"validation saw {len(seen)} cells, not each of the part's {len(cells)} once and in order"
            )
        self._seen = [(probabilities, labels, seen)]

    def compute(self) -> dict[str, Tensor]:
        """The metrics of all batches since the last reset."""
        probabilities, labels, _ = self._columns()
        of_class = (
            (probabilities, labels)
            if self.positive is None
            else (probabilities[:, self.positive], (labels == self.positive).long())
        )
        found = {**self.of_all(probabilities, labels), **self.of_classes(*of_class), **self._calibration()}
        self.of_all.reset()
        self.of_classes.reset()
        return found

    def seen(self) -> tuple[Floats, Ints]:
        """Probabilities [n, K] and labels [n] of all batches since the last reset, of which there must be one."""
        probabilities, labels, _ = self._columns()
        return probabilities.double().cpu().numpy(), labels.cpu().numpy()

    def _columns(self) -> tuple[Tensor, Tensor, Tensor]:
        probabilities, labels, cells = (torch.cat(column) for column in zip(*self._seen, strict=True))
        return probabilities, labels, cells

    def _calibration(self) -> dict[str, Tensor]:
        """`ece` and `brier` as leukemia_lab.evaluation.metrics defines them."""
        probabilities, labels = self.seen()
        correct = probabilities.argmax(axis=1) == labels
        squares = (probabilities - np.eye(probabilities.shape[1])[labels]) ** 2
        brier = squares.sum(axis=1) if self.positive is None else squares[:, self.positive]
        ece = expected_calibration_error(correct, probabilities.max(axis=1))
        return {"ece": torch.tensor(ece), "brier": torch.tensor(brier.mean())}

    def reset(self) -> None:
        """Forget all batches."""
        self._seen.clear()
