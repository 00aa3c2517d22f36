"""Batch normalisation over several devices, here a group of one, against PyTorch's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from leukemia_lab.estimators.batch_norm import SynchronisedBatchNorm, synchronised_batch_norm


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    rendezvous = (tmp_path / "rendezvous").as_uri()
    distributed.init_process_group("gloo", init_method=rendezvous, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 5), (4, 3, 5, 7), (2, 3, 2, 3, 4)])
@pytest.mark.parametrize("affine", [True, False])
def test_values_gradients_and_moving_statistics_are_those_of_pytorch(
    shape: tuple[int, ...], affine: bool
) -> None:
    torch.manual_seed(0)
    inputs = 3 + 2 * torch.randn(shape, dtype=torch.float64)
    asked = torch.randn(shape, dtype=torch.float64)

    def results(synchronised: bool) -> list[Tensor]:
        x = inputs.clone().requires_grad_()
        weight, bias = (torch.linspace(start, 2, 3).double().requires_grad_() for start in (1, -1))
        mean, var = torch.zeros(3).double(), torch.ones(3).double()
        parameters = (weight, bias) if affine else (None, None)
        if synchronised:
            y = synchronised_batch_norm(x, mean, var, *parameters, 0.3, 1e-5)
        else:
            y = functional.batch_norm(x, mean, var, *parameters, True, 0.3, 1e-5)
        (y * asked).sum().backward()
        gradients = [tensor.grad for tensor in (x, weight, bias) if tensor.grad is not None]
        return [y.detach(), mean, var, *gradients]

    for found, expected in zip(results(True), results(False), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("group")
def test_the_mode_takes_over_training_alone_and_leaves_the_net_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []

    def counted(inputs: Tensor, *rest: object) -> Tensor:
        calls.append(len(inputs))
        return inputs

    monkeypatch.setattr("leukemia_lab.estimators.batch_norm.synchronised_batch_norm", counted)

    class NormalisedAndActivated(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            y = functional.batch_norm(x, self.running_mean, self.running_var, training=self.training)
            return functional.relu(y)

    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), NormalisedAndActivated(2))
    names = list(net.state_dict())
    with SynchronisedBatchNorm():
        net(torch.ones(5, 1, 2, 2))
        net.eval()(torch.ones(4, 1, 2, 2))
    net.train()(torch.ones(3, 1, 2, 2))
    assert calls == [5, 5]
    assert list(net.state_dict()) == names
