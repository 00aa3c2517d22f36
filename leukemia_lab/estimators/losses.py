"""What training minimises."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def classification_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    class_weights: Tensor | None,
    focal_gamma: float | None,
    label_smoothing: float,
    whole: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of logits float [B, K] and labels int64 [B], averaged over the batch by the cells' weights.

    Of a piece of a batch, whose labels are `whole` int64 [B'], it is the part that the piece has in the loss of the
    batch: these parts sum to the loss.

    `class_weights` float [K] weighs cells by class, as in `torch.nn.CrossEntropyLoss`; `focal_gamma` weighs them by
    (1 - probability of the true class)^gamma besides (Lin et al. 2017, equation 4), which does not enter the average.
    """
    if focal_gamma is None and whole is None:
        return functional.cross_entropy(logits, labels, class_weights, label_smoothing=label_smoothing)
    each = functional.cross_entropy(
        logits, labels, class_weights, reduction="none", label_smoothing=label_smoothing
    )
    averaged = labels if whole is None else whole
    total = len(averaged) if class_weights is None else class_weights[averaged].sum()
    if focal_gamma is None:
        return each.sum() / total
    true_class = logits.softmax(dim=1).gather(1, labels.unsqueeze(1)).squeeze(1)
    # clamped, as the gradient of x^gamma with gamma below 1 is infinite at x = 0
    focus = (1 - true_class).clamp_min(torch.finfo(logits.dtype).tiny ** 0.5) ** focal_gamma
    return (focus * each).sum() / total


def balanced_class_weights(counts: Sequence[int]) -> list[float]:
    """n_cells / (n_classes * n_cells of the class), as scikit-learn's `balanced`; 0 for a class without cells."""
    n_cells = sum(counts)
    return [n_cells / (len(counts) * count) if count > 0 else 0.0 for count in counts]
