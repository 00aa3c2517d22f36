"""Where in a cell a net saw its class: Grad-CAM by captum, and the share of it that lies on the cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from leukemia_lab.data.images import BACKGROUND_LEVEL, WHOLE_FRAME
from leukemia_lab.errors import DataError, LeukemiaLabError
from leukemia_lab.estimators.neural import CellClassifier

METHOD = "Grad-CAM"
SMALLEST_SIDE = 4  # of a map that can tell parts of a cell apart
BATCH = 16

Floats = npt.NDArray[np.float64]


class NoSpatialMapError(LeukemiaLabError):
    """The net has no layer whose activations are a map of the image, so nothing can be laid over the cell."""


class Attribution(NamedTuple):
    """maps float32 [B, H, W], 0 or more, and the name of the layer within the net that they come from."""

    maps: Tensor
    layer: str


def grad_cam(model: CellClassifier, images: Tensor, classes: Tensor) -> Attribution:
    """Grad-CAM (Selvaraju et al. 2017) of the evaluated net for `classes` int64 [B] in `images` uint8 [B, 3, H, W].

    relu(sum over channels of activation x mean gradient of the class's logit) at `spatial_layer`, enlarged to H x W
    bilinearly; captum's LayerGradCam, in the net's own precision, in evaluation mode and without augmentation. A map
    is zero throughout where nothing speaks for the class. Mode, weights and what learns are as before afterwards, and
    layers that work in place do no harm: captum hands them a copy.

    A weight holds for a channel wherever it is active. Where all places count alike in the end (a mean over the map)
    that is exact; nets that weigh places by fully connected layers, as AlexNet and VGG, may be shown to look at more
    than they use (Draelos and Carin 2020).

    Raises:
        NoSpatialMapError: see `spatial_layer`.
        DataError: the images and the classes are of different number.
    """
    from captum.attr import LayerAttribution, LayerGradCam

    if len(images) != len(classes):
        raise DataError(f"Grad-CAM of {len(images)} images needs as many classes; got {len(classes)}.")
    net = model.evaluated_net
    device, dtype = model.device, next(net.parameters()).dtype
    maps = []
    with _untouched(model), torch.inference_mode(False), torch.enable_grad():
        name, layer = spatial_layer(net, _inputs(model, images[:1]).to(dtype))
        explainer = LayerGradCam(net, layer)
        for some, target in zip(torch.split(images, BATCH), torch.split(classes, BATCH), strict=True):
            inputs = _inputs(model, some).to(dtype)
            small = explainer.attribute(inputs, target=target.to(device), relu_attributions=True)
            large = LayerAttribution.interpolate(small.float(), tuple(images.shape[2:]), "bilinear")
            maps.append(large[:, 0].detach().cpu())
    return Attribution(torch.cat(maps), name)


def shown_inputs(model: CellClassifier, images: Tensor) -> Tensor | None:
    """What the LoG makes of `images` uint8 [B, 3, H, W], float32 [B, 3, H, W] in 0-1; None where there is no LoG."""
    if model.pipeline.log.mode == "none":
        return None
    images = images.to(model.device)
    draws = torch.arange(len(images), device=model.device)
    return model.pipeline.stages(images, draws, model.seed, 0)["filtered"].cpu()


def spatial_layer(net: nn.Module, inputs: Tensor) -> tuple[str, nn.Module]:
    """The last layer of `net` that gives a map [B, C, S, S] of S >= SMALLEST_SIDE, and its name within the net.

    Found by forward passes of `inputs` [B, C, H, W]; give a net in evaluation mode. All that the net makes of the
    image goes through this map: one branch of several, or one beside a shortcut, would tell half. Poolings do not
    count: the map before them is finer. Of modules that hand on the same map it is the last that has no parts, or
    else the innermost.

    Raises:
        NoSpatialMapError: there is none, or the net goes on with tokens or with channels last, as transformers do.
    """
    outputs = _outputs(net, inputs)
    modules = dict(net.named_modules())
    pooled = [output for name, output in outputs.items() if "Pool" in type(modules[name]).__name__]
    maps = [
        name
        for name, output in outputs.items()
        if _is_map(output, inputs) and not any(output is small for small in pooled)
    ]
    last = next((name for name in reversed(maps) if _is_bottleneck(net, modules[name], inputs)), None)
    if last is None:
        raise NoSpatialMapError(
            f"{type(net).__name__} has no layer through which all goes as a square map of {SMALLEST_SIDE} x "
            f"{SMALLEST_SIDE} or more, from images of {inputs.shape[-1]} px. Train on larger images, or choose another "
            "net, to see where it looks."
        )
    order = list(outputs)
    later = order[order.index(last) + 1 :]
    tokens = next((name for name in later if _is_tokens(outputs[name], inputs)), None)
    if tokens is not None:
        raise NoSpatialMapError(
            f"{type(net).__name__} goes on with tokens or with channels last after its last map ({last}): {tokens} "
            f"gives {list(outputs[tokens].shape)}. Grad-CAM needs a late map [B, C, S, S]; choose a convolutional net "
            "to see where it looks."
        )
    same = [name for name in maps if outputs[name] is outputs[last]]
    leaves = [name for name in same if not any(modules[name].children())]
    name = leaves[-1] if leaves else same[0]
    return name, modules[name]


def cell_mask(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Where the cell is in `images` uint8 [B, H, W, 3]: bool [B, H, W], any channel above the black background.

    False throughout where an image has no black background (WHOLE_FRAME of it or more is above) or is black: nothing
    then tells the cell from the rest.
    """
    mask: npt.NDArray[np.bool_] = images.max(axis=3) > BACKGROUND_LEVEL
    mask[mask.mean(axis=(1, 2)) >= WHOLE_FRAME] = False
    return mask


def mass_on_cell(attribution: npt.NDArray[np.floating], mask: npt.NDArray[np.bool_]) -> Floats:
    """The share [B] of each map's mass that lies on the cell; `attribution` [B, H, W], 0 or more, `mask` [B, H, W].

    NaN where the map or the mask is empty. A map that knows nothing of the cell has the mask's share of the area.
    """
    total = attribution.sum(axis=(1, 2), dtype=np.float64)
    inside = np.where(mask, attribution, 0).sum(axis=(1, 2), dtype=np.float64)
    known = (total > 0) & mask.any(axis=(1, 2))
    share: Floats = np.divide(inside, total, out=np.full(len(mask), np.nan), where=known)
    return share


def _inputs(model: CellClassifier, images: Tensor) -> Tensor:
    images = images.to(model.device)
    draws = torch.zeros(len(images), dtype=torch.int64, device=model.device)
    inputs: Tensor = model.pipeline(images, draws, model.seed, 0, augment=False)
    return inputs


@contextmanager
def _untouched(model: CellClassifier) -> Iterator[None]:
    """Evaluation mode, and weights that need no gradient, so that only the layers after the map keep theirs."""
    modes = {module: module.training for module in model.modules()}
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    try:
        for module in modes:
            module.training = False
        for weight in learning:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)
        for module, mode in modes.items():
            module.training = mode


def _outputs(net: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """The tensor that each part of `net` gave last, in the order in which they were done."""
    outputs: dict[str, Tensor] = {}

    def keeping(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            outputs.pop(name, None)
            if isinstance(output, Tensor):
                outputs[name] = output

        return hook

    handles = [module.register_forward_hook(keeping(name)) for name, module in net.named_modules() if name]
    try:
        with torch.no_grad():
            net(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def _is_bottleneck(net: nn.Module, layer: nn.Module, inputs: Tensor) -> bool:
    """Whether the net sees nothing of the image but through `layer`: without it no gradient reaches the image."""
    handle = layer.register_forward_hook(lambda module, given, output: output.detach().clone())
    try:
        with torch.enable_grad():
            image = inputs.detach().clone().requires_grad_()
            logits = net(image)
    finally:
        handle.remove()
    if not logits.requires_grad:
        return True
    return torch.autograd.grad(logits.sum(), image, allow_unused=True)[0] is None


def _is_map(output: Tensor, inputs: Tensor) -> bool:
    if output.ndim != 4 or len(output) != len(inputs):
        return False
    height, width = output.shape[2:]
    return height == width and SMALLEST_SIDE <= height <= inputs.shape[-1]


def _is_tokens(output: Tensor, inputs: Tensor) -> bool:
    """Whether the output still holds places of the image, but not as a map: [B, N, C] or [B, S, S, C]."""
    if output.ndim == 3:
        return output.shape[1] >= SMALLEST_SIDE**2
    return output.ndim == 4 and not _is_map(output, inputs) and min(output.shape[1:3]) >= SMALLEST_SIDE
