"""The weights that a model's net starts from: a file's, ImageNet's, or random ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from leukemia_lab.errors import ConfigError
from leukemia_lab.nets.weights import PretrainedWeights, load_weights_file
from leukemia_lab.schema import ModelNode
from leukemia_lab.targets import build


@dataclass(frozen=True)
class InitialWeights:
    """A state dict and where it comes from; `sha256` is that of a user's file, None of a library's own weights."""

    state: Mapping[str, Tensor]
    source: str
    sha256: str | None


def initial_weights(model: ModelNode) -> InitialWeights | None:
    """The weights to start from, downloaded where needed; None for random ones.

    Raises:
        ConfigError: the file cannot be read, or the download failed; says where to put the file.
    """
    if not model.loads_weights:
        return None
    if model.weights_path is not None:
        return InitialWeights(
            load_weights_file(model.weights_path), str(model.weights_path), weights_hash(model)
        )
    source = _source(model)
    return InitialWeights(source.load(), source.source, None)


def weights_hash(model: ModelNode) -> str | None:
    """SHA-256 of the model's `weights_path`; None where it is not given or of no use to the model."""
    if model.weights_path is None or not model.loads_weights:
        return None
    try:
        with model.weights_path.expanduser().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(
            f"model.weights_path={model.weights_path} cannot be read: {error.strerror}; give a .pth or .safetensors "
            "file, or null"
        ) from error


def pretrained_constants(model: ModelNode) -> tuple[list[float], list[float]]:
    """Mean and SD of each RGB channel that the ImageNet weights of the model's net were trained with."""
    source = _source(model)
    return list(source.mean), list(source.std)


def _source(model: ModelNode) -> PretrainedWeights:
    assert model.weights_node is not None
    source = build(model.weights_node)
    assert isinstance(source, PretrainedWeights)
    return source
