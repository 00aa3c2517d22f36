"""The weights that a model's net starts from, and the normalisation that they were trained with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from leukemia_lab.errors import ConfigError
from leukemia_lab.nets.weights import PretrainedWeights, load_weights_file
from leukemia_lab.schema import ModelNode
from leukemia_lab.targets import build

RGB_MODES = ("none", "sharpen")  # of the LoG: what comes out is still an RGB image


@dataclass(frozen=True)
class InitialWeights:
    """A state dict, and where it comes from in words."""

    state: Mapping[str, Tensor]
    source: str


@dataclass(frozen=True)
class Constants:
    """Mean and SD of each channel that weights were trained with, and the modes of the LoG that they hold for."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    log_modes: tuple[str, ...]


def initial_weights(model: ModelNode) -> InitialWeights | None:
    """The weights to start from, downloaded where needed; None for random ones.

    Raises:
        ConfigError: the file cannot be read, or the download failed; says where to put the file.
    """
    if not model.loads_weights:
        return None
    if model.weights_path is not None:
        return InitialWeights(
            load_weights_file(model.weights_path), f"model.weights_path={model.weights_path}"
        )
    source = _library_weights(model)
    assert source is not None  # `loads_weights`
    return InitialWeights(source.load(), source.source)


def weights_hash(model: ModelNode) -> str | None:
    """SHA-256 of the model's `weights_path`; None where it is not given or of no use to the model."""
    if model.weights_path is None or not model.loads_weights:
        return None
    try:
        with model.weights_path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(
            f"model.weights_path={model.weights_path} cannot be read: {error.strerror}; give a .pth or .safetensors "
            "file, or null"
        ) from error


def pretrained_constants(model: ModelNode) -> Constants | None:
    """The constants of the file that the model starts from: a run's own, else those of its net's ImageNet weights."""
    if model.weights_path is not None:
        own = _run_constants(model.weights_path)
        if own is not None:
            return own
    source = _library_weights(model)
    return None if source is None else Constants(source.mean, source.std, RGB_MODES)


def _run_constants(path: Path) -> Constants | None:
    """Those in a run's checkpoint; None for any other file. Loading the weights says what is wrong with a bad one."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        state, mode = content["state_dict"], content["hyper_parameters"]["log"]["mode"]
        mean, std = (tuple(state[f"pipeline.{name}"].flatten().tolist()) for name in ("mean", "std"))
    except Exception:
        return None
    return Constants(mean, std, (mode,))


def _library_weights(model: ModelNode) -> PretrainedWeights | None:
    if model.weights_node is None:
        return None
    source = build(model.weights_node)
    if not isinstance(source, PretrainedWeights):
        raise ConfigError(
            f"model.weights: {model.weights_node['_target_']} returns a {type(source).__name__}; it must return a "
            "leukemia_lab.nets.weights.PretrainedWeights"
        )
    return source
