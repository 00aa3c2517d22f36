"""The losses against those of PyTorch, Kornia (whose mean divides by the classes too) and scikit-learn."""

from __future__ import annotations

import kornia
import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from leukemia_lab.estimators.averaging import move_average
from leukemia_lab.estimators.losses import balanced_class_weights, classification_loss

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(64, 3, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.randint(0, 3, (64,), generator=GENERATOR)
WEIGHTS = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_focus_it_is_cross_entropy(weights: torch.Tensor | None, smoothing: float) -> None:
    expected = nn.CrossEntropyLoss(weights, label_smoothing=smoothing)(LOGITS, LABELS)
    for gamma in (None, 0.0) if smoothing == 0.0 or weights is None else (None,):
        found = classification_loss(
            LOGITS, LABELS, class_weights=weights, focal_gamma=gamma, label_smoothing=smoothing
        )
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_focal_loss_is_kornias(gamma: float) -> None:
    expected = kornia.losses.focal_loss(LOGITS, LABELS, alpha=None, gamma=gamma, reduction="sum") / 64
    found = classification_loss(LOGITS, LABELS, class_weights=None, focal_gamma=gamma, label_smoothing=0.0)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


def test_focal_loss_weighs_classes_and_its_gradient_is_right() -> None:
    def loss(logits: torch.Tensor) -> torch.Tensor:
        return classification_loss(
            logits, LABELS, class_weights=WEIGHTS, focal_gamma=2.0, label_smoothing=0.1
        )

    assert torch.autograd.gradcheck(loss, (LOGITS.clone().requires_grad_(),))
    probabilities = LOGITS.softmax(1)[torch.arange(64), LABELS]
    each = WEIGHTS[LABELS] * (1 - probabilities) ** 2 * -probabilities.log()
    unsmoothed = classification_loss(
        LOGITS, LABELS, class_weights=WEIGHTS, focal_gamma=2.0, label_smoothing=0.0
    )
    torch.testing.assert_close(unsmoothed, each.sum() / WEIGHTS[LABELS].sum())


def test_the_focal_gradient_is_finite_where_a_cell_is_certain() -> None:
    for gamma in (0.5, 1.0, 2.0):
        logits = torch.tensor([[60.0, -60.0], [0.3, 0.1]], requires_grad=True)
        loss = classification_loss(
            logits, torch.tensor([0, 1]), class_weights=None, focal_gamma=gamma, label_smoothing=0.0
        )
        loss.backward()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        assert logits.grad[1].abs().sum() > 0


def test_class_weights_are_scikit_learns() -> None:
    labels = np.repeat([0, 1, 2], [5, 70, 25])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert balanced_class_weights([5, 70, 25]) == pytest.approx(expected, rel=1e-12)
    assert balanced_class_weights([5, 0]) == [0.5, 0.0]


def test_the_moving_average_follows_its_recurrence() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average.load_state_dict(net.state_dict())
    expected = net[0].weight.detach().double().clone()
    for step in range(40):
        with torch.no_grad():
            net[0].weight.add_(torch.randn(2, 3))
        net(torch.randn(8, 3))
        move_average(average, net, 0.8, step)
        decay = min(0.8, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * net[0].weight.detach().double()
    torch.testing.assert_close(average[0].weight.double(), expected, rtol=1e-5, atol=1e-6)
    assert average[1].num_batches_tracked == 40
    assert not torch.equal(average[1].running_mean, net[1].running_mean)


def test_a_weight_that_two_layers_share_is_averaged_once() -> None:
    def tied() -> nn.Sequential:
        first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        second.weight = first.weight
        return nn.Sequential(first, second)

    average, net = tied(), tied()
    nn.init.zeros_(average[0].weight)
    nn.init.ones_(net[0].weight)
    move_average(average, net, 0.9, step=1000)
    torch.testing.assert_close(average[0].weight.detach(), torch.full((2, 2), 0.1))
