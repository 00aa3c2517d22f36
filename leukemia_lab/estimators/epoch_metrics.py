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

from leukemia_lab.evaluation.metrics import expected_calibration_error

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_UNCHECKED: dict[str, Any] = {"validate_args": False}  # checking values would wait for the device


class EpochMetrics(nn.Module):
    """Metrics of one part; with two classes sensitivity, AUROC and the like speak of the `positive` class index."""

    def __init__(self, n_classes: int, positive: int | None) -> None:
        super().__init__()
        self.positive = positive
        self._seen: list[tuple[Tensor, Tensor]] = []
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

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """Add a batch: probabilities float [B, K], labels int64 [B]."""
        self._seen.append((probabilities, labels))
        self.of_all.update(probabilities, labels)
        if self.positive is None:
            self.of_classes.update(probabilities, labels)
        else:
            self.of_classes.update(probabilities[:, self.positive], (labels == self.positive).long())

    def compute(self) -> dict[str, Tensor]:
        """The metrics of all batches since the last reset."""
        return {**self.of_all.compute(), **self.of_classes.compute(), **self._calibration()}

    def seen(self) -> tuple[Floats, Ints]:
        """Probabilities [n, K] and labels [n] of all batches since the last reset, of which there must be one."""
        probabilities = torch.cat([batch for batch, _ in self._seen]).double().cpu().numpy()
        return probabilities, torch.cat([labels for _, labels in self._seen]).cpu().numpy()

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
        self.of_all.reset()
        self.of_classes.reset()
