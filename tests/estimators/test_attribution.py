from __future__ import annotations

import copy
import importlib.util
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from attribution_nets import (
    MARK,
    Flat,
    InPlace,
    MarkNet,
    Shortcut,
    Tokens,
    corner_mass,
    marked,
    some_cells,
    with_net,
)
from small_models import LOG, OPTIM, a_model
from torch import Tensor, nn
from torch.nn import functional

from leukemia_lab.errors import DataError
from leukemia_lab.estimators.attribution import (
    NoSpatialMapError,
    cell_mask,
    grad_cam,
    mass_on_cell,
    shown_inputs,
    spatial_layer,
)
from leukemia_lab.estimators.neural import CellClassifier

NETS = "leukemia_lab.nets."
TIMM = {"_target_": f"{NETS}timm_nets.timm_net", "dropout": 0.0}
needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")


def by_hand(model: CellClassifier, layer: str, images: Tensor, classes: Tensor) -> Tensor:
    """Grad-CAM from its definition with autograd alone, on a copy."""
    model = copy.deepcopy(model).eval()
    net = model.evaluated_net.requires_grad_(True)
    for module in net.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    kept: list[Tensor] = []
    net.get_submodule(layer).register_forward_hook(lambda module, given, output: kept.append(output))
    inputs = model.pipeline(images, torch.zeros(len(images), dtype=torch.int64), 0, 0, augment=False)
    logits = net(inputs)
    (gradient,) = torch.autograd.grad(logits[torch.arange(len(images)), classes].sum(), kept[-1])
    small = (gradient.mean(dim=(2, 3), keepdim=True) * kept[-1]).sum(dim=1, keepdim=True).relu()
    large = functional.interpolate(small, images.shape[2:], mode="bilinear", align_corners=False)
    return large[:, 0].detach()


def test_a_net_that_looks_only_at_a_mark_in_the_corner_has_its_mass_there() -> None:
    model = with_net(MarkNet, size=64, log=LOG | {"mode": "none"})
    images, classes = marked(6, seed=1)
    found = grad_cam(model, images, torch.ones(6, dtype=torch.int64))
    assert found.layer == "relu"
    assert (corner_mass(found.maps)[classes == 1] > 0.8).all()
    assert not found.maps[classes == 0].any()  # nothing speaks for a mark
    assert not grad_cam(model, images, torch.zeros(6, dtype=torch.int64)).maps.any()


def test_a_net_trained_on_a_mark_looks_there_far_more_than_a_uniform_map() -> None:
    model = a_model(image_size=64, log=LOG | {"mode": "none"})
    inputs, classes = marked(32, seed=2)
    optimizer = torch.optim.Adam(model.net.parameters(), lr=0.01)
    pixels = model.pipeline(inputs, torch.zeros(32, dtype=torch.int64), 0, 0, augment=False)
    model.train()
    for _ in range(40):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model.net(pixels), classes)
        loss.backward()
        optimizer.step()
    unseen, truth = marked(16, seed=3)
    found = grad_cam(model, unseen, truth)
    area = (MARK / 64) ** 2
    assert (corner_mass(found.maps)[truth == 1] > 5 * area).all()
    elsewhere = grad_cam(model, unseen, 1 - truth)  # what speaks for the other class is not in the mark
    assert (corner_mass(elsewhere.maps)[truth == 1].nan_to_num(0) < area).all()


@pytest.mark.parametrize("mode", ["none", "replace", "append", "sharpen"])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_grad_cam_by_hand(mode: str, seed: int) -> None:
    model = a_model(seed, image_size=64, log=LOG | {"mode": mode}, mean=None)
    images, classes = some_cells(20, 64, seed), torch.randint(0, 2, (20,))  # more than one batch
    found = grad_cam(model, images, classes)
    expected = by_hand(model, found.layer, images, classes)
    assert expected.amax() > 0
    torch.testing.assert_close(found.maps, expected, atol=1e-5 * float(expected.amax()), rtol=1e-5)


@pytest.mark.parametrize(("kind", "layer"), [(InPlace, "relu"), (Shortcut, "stem")])
def test_in_place_layers_and_shortcuts_equal_grad_cam_by_hand(kind: type[nn.Module], layer: str) -> None:
    torch.manual_seed(3)
    model = with_net(kind)
    images, classes = some_cells(5, 32), torch.tensor([0, 1, 0, 1, 1])
    found = grad_cam(model, images, classes)
    assert found.layer == layer
    if kind is Shortcut:
        return
    # by hand the map must be taken before it is changed in place
    model.net.forward = lambda given: model.net.head(  # type: ignore[method-assign]
        (3 * model.net.relu(model.net.second(model.net.first(given)))).relu().mean(dim=(2, 3))
    )
    expected = by_hand_of(model, images, classes)
    torch.testing.assert_close(found.maps, expected, atol=1e-7, rtol=1e-5)


def by_hand_of(model: CellClassifier, images: Tensor, classes: Tensor) -> Tensor:
    """The same of `InPlace`, without hooks."""
    net = model.net.eval()
    assert isinstance(net, InPlace)
    inputs = model.pipeline(images, torch.zeros(len(images), dtype=torch.int64), 0, 0, augment=False)
    maps = functional.relu(net.second(functional.relu(net.first[1](net.first[0](inputs)))))
    logits = net.head((maps * 3).mean(dim=(2, 3)))
    (gradient,) = torch.autograd.grad(logits[torch.arange(len(images)), classes].sum(), maps)
    small = (gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True).relu()
    return functional.interpolate(small, images.shape[2:], mode="bilinear")[:, 0].detach()


@pytest.mark.parametrize(
    ("net", "size", "layer"),
    [
        ({"_target_": f"{NETS}small.simple_cnn", "width": 4, "dropout": 0.2}, 128, "features.11"),
        ({"_target_": f"{NETS}vgg.vgg13", "hidden": 16, "dropout": 0.5, "batch_norm": False}, 32, None),
        ({"_target_": f"{NETS}vgg.vgg13", "hidden": 16, "dropout": 0.5, "batch_norm": True}, 128, None),
        ({"_target_": f"{NETS}torchvision_nets.alexnet", "dropout": 0.5}, 128, None),
        (
            {"_target_": f"{NETS}torchvision_nets.vgg16", "dropout": 0.5, "batch_norm": False},
            64,
            "features.29",
        ),
        (
            {"_target_": f"{NETS}torchvision_nets.vgg19", "dropout": 0.5, "batch_norm": True},
            64,
            "features.51",
        ),
        ({"_target_": f"{NETS}torchvision_nets.vgg16_extractor"}, 64, "features.29"),
        pytest.param(TIMM | {"name": "efficientnet_lite0"}, 128, "timm_model.bn2.act", marks=needs_timm),
        pytest.param(TIMM | {"name": "resnet18"}, 64, "timm_model.layer3.1.act2", marks=needs_timm),
        pytest.param(TIMM | {"name": "regnetx_002"}, 96, "timm_model.s3.b4.act3", marks=needs_timm),
        pytest.param(TIMM | {"name": "convnext_atto"}, 128, "timm_model.norm_pre", marks=needs_timm),
    ],
)
def test_every_net_gives_finite_maps(net: dict[str, Any], size: int, layer: str | None) -> None:
    model = a_model(net=net, image_size=size, log=LOG | {"mode": "none"})
    images = some_cells(2, size)
    both = [grad_cam(model, images, torch.full((2,), label)) for label in (0, 1)]
    assert layer in (None, both[0].layer)
    for found in both:
        assert found.maps.shape == (2, size, size)
        assert found.maps.isfinite().all()
        assert found.maps.min() >= 0
    assert sum(float(found.maps.sum()) for found in both) > 0


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_leaves_the_model_as_it_was(precision: torch.dtype, training: bool) -> None:
    model = a_model(freeze="block1", image_size=64).to(precision).train(training)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    learning = [weight.requires_grad for weight in model.parameters()]
    found = grad_cam(model, some_cells(3, 64), torch.tensor([0, 1, 1]))
    assert found.maps.dtype == torch.float32
    assert found.maps.isfinite().all()
    assert [module.training for module in model.modules()] == modes
    assert [weight.requires_grad for weight in model.parameters()] == learning
    assert not all(learning)
    assert any(learning)
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.net.modules())


def test_the_moving_average_is_what_is_explained() -> None:
    model = a_model(image_size=64, optim=OPTIM | {"ema_decay": 0.9})
    images, classes = some_cells(4, 64), torch.tensor([0, 1, 0, 1])
    before = grad_cam(model, images, classes).maps
    with torch.no_grad():
        for weight in model.net.parameters():
            weight.zero_()
    torch.testing.assert_close(grad_cam(model, images, classes).maps, before)
    assert before.sum() > 0


def test_under_inference_mode() -> None:
    model = a_model(image_size=64)
    images, classes = some_cells(4, 64), torch.tensor([0, 1, 0, 1])
    expected = grad_cam(model, images, classes).maps
    with torch.inference_mode():
        torch.testing.assert_close(grad_cam(model, images, classes).maps, expected)


@pytest.mark.parametrize(
    ("kind", "words"), [(Tokens, "goes on with tokens"), (Flat, "no layer through which")]
)
def test_a_net_without_a_late_map_is_refused(kind: type[nn.Module], words: str) -> None:
    with pytest.raises(NoSpatialMapError, match=words):
        grad_cam(with_net(kind), some_cells(2, 32), torch.tensor([0, 1]))


def test_the_last_map_is_the_one_before_pooling() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 64, 2)
    )
    assert spatial_layer(net.eval(), torch.rand(1, 3, 16, 16))[0] == "1"


def test_as_many_classes_as_images() -> None:
    with pytest.raises(DataError, match="2 images needs as many classes; got 3"):
        grad_cam(a_model(), some_cells(2, 32), torch.zeros(3, dtype=torch.int64))


def test_mass_on_cell_by_hand() -> None:
    mask = np.zeros((4, 4, 4), dtype=bool)
    mask[:3, :2, :2] = True
    maps = np.zeros((4, 4, 4), dtype=np.float32)
    maps[0] = 1  # uniform: the share of the area
    maps[1, 0, 0], maps[1, 3, 3] = 3, 1
    maps[3] = 1  # no cell
    np.testing.assert_allclose(mass_on_cell(maps, mask), [4 / 16, 0.75, np.nan, np.nan])


def test_a_mask_needs_a_black_background() -> None:
    images = np.zeros((3, 10, 10, 3), dtype=np.uint8)
    images[0, 2:5, 3:7, 1] = 90
    images[0, 9, 9] = 2  # a re-saved background is not quite black
    images[1] = 200
    mask = cell_mask(images)
    assert mask[0].sum() == 12
    assert not mask[1:].any()


def test_the_shown_input_is_what_the_filter_makes() -> None:
    images = some_cells(2, 32)
    assert shown_inputs(a_model(log=LOG | {"mode": "none"}), images) is None
    for mode in ("replace", "append", "sharpen"):
        model = a_model(log=LOG | {"mode": mode})
        shown = shown_inputs(model, images)
        assert shown is not None
        assert shown.shape == (2, 3, 32, 32)
        draws = torch.arange(2)
        torch.testing.assert_close(shown, model.pipeline.stages(images, draws, 0, 0)["filtered"])


def test_captum_is_imported_only_when_needed() -> None:
    code = "import sys, leukemia_lab.explaining; sys.exit('captum' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_as_on_a_cpu() -> None:
    model = a_model(image_size=64)
    images, classes = some_cells(20, 64), torch.arange(20) % 2
    expected = grad_cam(model, images, classes).maps
    found = grad_cam(model.to("cuda"), images, classes).maps
    torch.testing.assert_close(found, expected, atol=1e-3 * float(expected.amax()), rtol=1e-2)
