from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from leukemia_lab.errors import ConfigError
from leukemia_lab.nets.small import SimpleCNN, simple_cnn
from leukemia_lab.nets.vgg import VGG13, vgg13


def _small(in_channels: int = 3, n_classes: int = 2, image_size: int = 32, width: int = 8) -> SimpleCNN:
    return simple_cnn(in_channels, n_classes, image_size, width, dropout=0.0)


def _vgg(in_channels: int = 3, n_classes: int = 2, image_size: int = 32, batch_norm: bool = False) -> VGG13:
    return vgg13(in_channels, n_classes, image_size, hidden=64, dropout=0.0, batch_norm=batch_norm)


NETS = [_small, _vgg, lambda *a: _vgg(*a, batch_norm=True)]


def _gflop(net: nn.Module, images: Tensor) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(images)
    return counter.get_total_flops() / 1e9


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(("in_channels", "n_classes", "image_size"), [(3, 2, 32), (6, 5, 64)])
def test_logits_are_the_head_of_the_features(net, in_channels: int, n_classes: int, image_size: int) -> None:
    torch.manual_seed(0)
    model = net(in_channels, n_classes, image_size).eval()
    images = torch.randn(2, in_channels, image_size, image_size)
    features = model.forward_features(images)
    assert features.shape == (2, model.num_features)
    assert torch.equal(model(images), features @ model.head.weight.T + model.head.bias)
    channels_last = model.to(memory_format=torch.channels_last)(
        images.contiguous(memory_format=torch.channels_last)
    )
    torch.testing.assert_close(channels_last, model(images), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("net", NETS)
def test_gradients_reach_every_weight(net) -> None:
    torch.manual_seed(0)
    model = net()
    cross_entropy(model(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 0, 1])).backward()
    silent = [name for name, weight in model.named_parameters() if not weight.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.parametrize("net", NETS)
def test_no_layer_works_in_place_or_pools_adaptively(net) -> None:
    modules = list(net().modules())
    assert not any(getattr(module, "inplace", False) for module in modules)
    assert not any("Adaptive" in type(module).__name__ for module in modules)


def test_simple_cnn_learns_a_texture_in_a_few_steps() -> None:
    """Fine against coarse noise of equal mean and variance: brightness and contrast do not tell."""
    generator = torch.Generator().manual_seed(0)
    fine = torch.randn(64, 3, 32, 32, generator=generator)
    coarse = torch.randn(64, 3, 8, 8, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)
    images, labels = torch.cat([fine, coarse]), torch.arange(128) // 64
    torch.manual_seed(0)
    model = _small()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for batch in torch.arange(0, 128, 2).view(16, 4).T.repeat(3, 1):  # even images train, odd ones test
        optimiser.zero_grad()
        cross_entropy(model(images[batch]), labels[batch]).backward()
        optimiser.step()
    accuracy = (model.eval()(images[1::2]).argmax(1) == labels[1::2]).float().mean()
    assert accuracy > 0.9


def test_simple_cnn_costs_a_third_of_a_gflop() -> None:
    # 2 * 9 * (3 * 32 * 128^2 + 32 * 64 * 64^2 + 64 * 128 * 32^2) + 2 * 128 * 2, by hand
    net = simple_cnn(3, 2, 128, width=32, dropout=0.5)
    assert _gflop(net, torch.zeros(1, 3, 128, 128)) == pytest.approx(0.330301952, abs=1e-9)


@pytest.mark.parametrize("image_size", [32, 45, 100])
def test_simple_cnn_takes_any_size_and_single_images(image_size: int) -> None:
    net = _small(image_size=image_size)
    assert net(torch.randn(1, 3, image_size, image_size)).shape == (1, 2)


def test_simple_cnn_pools_before_relu_without_a_difference() -> None:
    torch.manual_seed(0)
    net, images = _small().eval(), torch.randn(2, 3, 32, 32)
    expected = images
    for layer in net.features:
        if isinstance(layer, nn.MaxPool2d):
            expected = expected.relu()
        expected = layer(expected)
    assert torch.equal(net.features(images), expected)


def test_simple_cnn_refuses_tiny_images() -> None:
    with pytest.raises(ConfigError, match=r"32 px or more: got 31\. Set model\.image_size"):
        _small(image_size=31)


def test_vgg13_has_the_papers_layers() -> None:
    expected = []
    for width in (64, 128, 256, 512, 512):
        expected += [f"conv {width}", "relu", f"conv {width}", "relu", "max"]
    expected[-1] = "average"
    names = {nn.ReLU: "relu", nn.MaxPool2d: "max", nn.AvgPool2d: "average"}
    found = [
        f"conv {layer.out_channels}" if isinstance(layer, nn.Conv2d) else names[type(layer)]
        for layer in _vgg().features
    ]
    assert found == expected
    convolutions = [layer for layer in _vgg().features if isinstance(layer, nn.Conv2d)]
    assert {(layer.kernel_size, layer.stride, layer.padding) for layer in convolutions} == {
        ((3, 3), (1, 1), (1, 1))
    }


def test_vgg13_has_ten_convolutions_and_three_fully_connected_layers() -> None:
    """ "The customized VGG13 architecture has ten convolutional layers and three fully linked layers. ... 13 layers,
    each of which possesses adjustable parameters"; the image "decreased to half" by the pooling after each block."""
    net = vgg13(3, 2, 128, hidden=64, dropout=0.5, batch_norm=False)
    layers = [type(module).__name__ for module in net.modules() if module._parameters]
    assert layers == ["Conv2d"] * 10 + ["Linear"] * 3
    maps, shapes = torch.zeros(1, 3, 128, 128), []
    for layer in net.features:
        maps = layer(maps)
        if isinstance(layer, (nn.MaxPool2d, nn.AvgPool2d)):
            shapes.append(tuple(maps.shape[1:]))
    assert shapes == [(64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8), (512, 4, 4)]
    assert [type(layer).__name__ for layer in net.hidden] == ["Flatten", *["Linear", "ReLU", "Dropout"] * 2]


def test_vgg13_of_the_configuration_has_59_7_million_parameters() -> None:
    # by hand: 9,404,992 in the convolutions, 8192 * 4096 + 4096, 4096 * 4096 + 4096 and 4096 * 2 + 2 behind them
    with torch.device("meta"):
        net = vgg13(3, 2, 128, hidden=4096, dropout=0.5, batch_norm=False)
    assert sum(weight.numel() for weight in net.parameters()) == 9_404_992 + 33_558_528 + 16_781_312 + 8_194


@pytest.mark.parametrize(("image_size", "hidden", "n_classes"), [(128, 256, 2), (64, 32, 5)])
def test_vgg13_parameter_count(image_size: int, hidden: int, n_classes: int) -> None:
    widths = [3, 64, 64, 128, 128, 256, 256, 512, 512, 512, 512]
    convolutions = sum(9 * a * b + b for a, b in pairwise(widths))
    flat = 512 * (image_size // 32) ** 2
    dense = (flat + 1) * hidden + (hidden + 1) * hidden + (hidden + 1) * n_classes
    net = vgg13(3, n_classes, image_size, hidden, dropout=0.5, batch_norm=False)
    assert sum(weight.numel() for weight in net.parameters()) == convolutions + dense
    with_norm = vgg13(3, n_classes, image_size, hidden, dropout=0.5, batch_norm=True)
    assert sum(weight.numel() for weight in with_norm.parameters()) == convolutions + dense + sum(widths[1:])


def test_vgg13_costs_seven_gflops() -> None:
    net = vgg13(3, 2, 128, hidden=256, dropout=0.5, batch_norm=False)
    assert 3 * _gflop(net, torch.zeros(1, 3, 128, 128)) == pytest.approx(22, rel=0.02)


def test_vgg13_keeps_the_signal_at_the_start() -> None:
    torch.manual_seed(0)
    net = vgg13(3, 2, 128, hidden=256, dropout=0.5, batch_norm=False).eval()
    signal = torch.randn(1, 3, 128, 128)
    for layer in net.features:
        signal = layer(signal)
        if isinstance(layer, nn.Conv2d):
            assert 0.3 < signal.std() < 6, layer
    assert 0.1 < net.hidden(signal).std() < 10


@pytest.mark.parametrize(
    ("image_size", "nearest"), [(100, "96 or 128"), (33, "32 or 64"), (16, "32"), (0, "32")]
)
def test_vgg13_names_the_nearest_sizes(image_size: int, nearest: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"{image_size} px .*model\.image_size .*pipeline\.image_size\) to {nearest}\."
    ):
        _vgg(image_size=image_size)


@pytest.mark.parametrize("net", [simple_cnn, vgg13])
def test_dropout_works_in_training_only(net) -> None:
    extra = {"width": 8} if net is simple_cnn else {"hidden": 64, "batch_norm": False}
    torch.manual_seed(0)
    model = net(in_channels=3, n_classes=2, image_size=32, dropout=0.5, **extra)
    images = torch.randn(4, 3, 32, 32)
    assert not torch.equal(model.train()(images), model(images))
    assert torch.equal(model.eval()(images), model(images))
