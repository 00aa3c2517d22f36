from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torchvision import models

from leukemia_lab.errors import ConfigError
from leukemia_lab.nets.stages import eval_frozen, frozen_stages, set_frozen, stages
from leukemia_lab.nets.torchvision_nets import alexnet, vgg16, vgg16_extractor, vgg19

Net = Callable[..., Any]
ALEXNET = partial(alexnet, dropout=0.5)
VGG16 = partial(vgg16, dropout=0.5, batch_norm=False)
VGG16_BN = partial(vgg16, dropout=0.5, batch_norm=True)
VGG19 = partial(vgg19, dropout=0.5, batch_norm=False)
VGG19_BN = partial(vgg19, dropout=0.5, batch_norm=True)
PAIRS = [
    (ALEXNET, models.alexnet),
    (VGG16, models.vgg16),
    (VGG16_BN, models.vgg16_bn),
    (VGG19, models.vgg19),
    (VGG19_BN, models.vgg19_bn),
]


def _with_random_weights(net: nn.Module) -> nn.Module:
    """A net from the meta device with weights that keep a signal; quicker than its own initialisation."""
    torch.manual_seed(0)
    net = net.to_empty(device="cpu").eval()
    for weight in net.parameters():
        nn.init.uniform_(weight, -1, 1)
        weight.data *= (3.0 / weight[0].numel()) ** 0.5
    return net


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_state_dict_is_torchvisions_key_by_key(ours: Net, theirs: Net) -> None:
    with torch.device("meta"):
        own, reference = ours(3, 1000, 224).state_dict(), theirs(weights=None).state_dict()
    assert [(key, weight.shape) for key, weight in own.items()] == [
        (key, weight.shape) for key, weight in reference.items()
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "image_size"),
    [
        (ALEXNET, models.alexnet, 224),
        (ALEXNET, models.alexnet, 100),
        (VGG16, models.vgg16, 224),
        (VGG16, models.vgg16, 64),
        pytest.param(VGG19, models.vgg19, 224, marks=pytest.mark.slow),
    ],
)
def test_torchvisions_weights_give_torchvisions_logits(ours: Net, theirs: Net, image_size: int) -> None:
    with torch.device("meta"):
        reference, net = theirs(weights=None), ours(3, 1000, image_size).eval()
    reference = _with_random_weights(reference)
    net.load_state_dict(reference.state_dict(), assign=True)
    images = torch.randn(2, 3, image_size, image_size)
    with torch.no_grad():
        expected = reference(images)
        assert expected.std() > 0.01
        assert torch.equal(net(images), expected)
        features = net.forward_features(images)
        assert features.shape == (2, 4096) == (2, net.num_features)
        assert torch.equal(net.classifier[-1](features), expected)


@pytest.mark.parametrize(("net", "smallest"), [(ALEXNET, 63), (VGG16, 32), (vgg16_extractor, 32)])
def test_smallest_image(net: Net, smallest: int) -> None:
    with torch.device("meta"):
        images = torch.zeros(2, 6, smallest, smallest)
        assert net(6, 5, smallest)(images).shape == (2, 5)
        with pytest.raises(
            ConfigError, match=rf"{smallest} px or more: got {smallest - 1}\. Set model\.image_size"
        ):
            net(6, 5, smallest - 1)
        first = net(6, 5, smallest).features[:1]  # nothing smaller would do: a map of 1x1 is left
        assert first(images).shape[-1] >= 1
        assert net(6, 5, smallest).features(images).shape[-2:] == (1, 1)


@pytest.mark.parametrize("net", [ALEXNET, VGG16, VGG16_BN, VGG19, vgg16_extractor])
def test_no_layer_works_in_place_and_no_pooling_is_adaptive_at_224(net: Net) -> None:
    with torch.device("meta"):
        at_224, at_128 = net(3, 2, 224), net(3, 2, 128)
    assert not any(getattr(module, "inplace", False) for module in at_224.modules())
    assert isinstance(at_224.avgpool, nn.Identity)
    assert isinstance(at_128.avgpool, nn.AdaptiveAvgPool2d)


def _first_gradients(net: nn.Module, names: list[str]) -> dict[str, bool]:
    """Of each weight whether one step's gradient reaches it, with the stages `names` frozen."""
    set_frozen(net, names)
    eval_frozen(net.train(), names)
    torch.manual_seed(0)
    images, labels = torch.randn(4, 3, 64, 64), torch.tensor([0, 1, 0, 1])
    cross_entropy(net(images), labels).backward()
    return {
        name: weight.grad is not None and bool(weight.grad.abs().sum() > 0)
        for name, weight in net.named_parameters()
    }


@pytest.mark.parametrize(
    ("net", "freeze"),
    [
        (ALEXNET, "none"),
        (ALEXNET, "conv3"),
        (VGG16, "block2"),
        (vgg16_extractor, "none"),
        (vgg16_extractor, "backbone"),
        pytest.param(VGG16, "none", marks=pytest.mark.slow),
        pytest.param(VGG19_BN, "none", marks=pytest.mark.slow),
    ],
)
def test_gradients_reach_every_trainable_weight_and_no_frozen_one(net: Net, freeze: str) -> None:
    torch.manual_seed(0)
    model = net(3, 2, 64)
    names = frozen_stages(model, freeze, 0, None)
    frozen = {id(weight) for name in names for part in stages(model)[name] for weight in part.parameters()}
    assert bool(frozen) == (freeze != "none")
    expected = {name: id(weight) not in frozen for name, weight in model.named_parameters()}
    assert _first_gradients(model, names) == expected


@pytest.mark.parametrize(
    ("net", "names", "layers"),
    [
        (ALEXNET, [*(f"conv{number}" for number in range(1, 6)), "fc6", "fc7", "head"], [1] * 8),
        (
            VGG16,
            [*(f"block{number}" for number in range(1, 6)), "fc6", "fc7", "head"],
            [2, 2, 3, 3, 3, 1, 1, 1],
        ),
        (
            VGG19,
            [*(f"block{number}" for number in range(1, 6)), "fc6", "fc7", "head"],
            [2, 2, 4, 4, 4, 1, 1, 1],
        ),
        (
            VGG16_BN,
            [*(f"block{number}" for number in range(1, 6)), "fc6", "fc7", "head"],
            [4, 4, 6, 6, 6, 1, 1, 1],
        ),
        (vgg16_extractor, [*(f"block{number}" for number in range(1, 6)), "head"], [2, 2, 3, 3, 3, 1]),
    ],
)
def test_stages_are_the_papers_blocks(net: Net, names: list[str], layers: list[int]) -> None:
    with torch.device("meta"):
        found = stages(net(3, 2, 64))
    assert list(found) == names
    assert [sum(bool(module._parameters) for module in modules) for modules in found.values()] == layers


def test_the_extractor_is_a_softmax_regression_on_25088_features() -> None:
    torch.manual_seed(0)
    net = vgg16_extractor(3, 5, 64).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = net.forward_features(images)
        assert features.shape == (2, 25088)
        assert net.num_features == 7 * 7 * 512
        torch.testing.assert_close(net(images), features @ net.head.weight.T + net.head.bias)
    assert sum(weight.numel() for weight in net.head.parameters()) == 5 * 25089


@pytest.mark.slow
@pytest.mark.parametrize("net", [alexnet, partial(vgg16, batch_norm=False)])
def test_trains_from_scratch_without_batch_normalisation(net: Net) -> None:
    """Fine against coarse noise; with PyTorch's default initialisation VGG-16 is at 0.4 by then."""
    torch.manual_seed(0)
    fine = torch.randn(8, 3, 64, 64)
    coarse = torch.randn(8, 3, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    images, labels = torch.cat([fine, coarse]), torch.arange(16) // 8
    model = net(3, 2, 64, dropout=0.0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for step in range(15):
        optimiser.param_groups[0]["lr"] = 1e-4 * min(1.0, (step + 1) / 6)
        optimiser.zero_grad()
        loss = cross_entropy(model(images), labels)
        loss.backward()
        optimiser.step()
    assert loss < 0.3
