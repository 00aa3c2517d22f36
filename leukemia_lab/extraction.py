"""Features of cells, one row a cell: a net's activations before its last layer, pixels, morphology, measures, border.

What was extracted once is kept in the cache, under a hash of all that shaped it: VGG16 + RF, SVM and KNN share theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from leukemia_lab.atomic import replacing
from leukemia_lab.auditing.confounds import SINGLE
from leukemia_lab.cells import Cells
from leukemia_lab.data.cache import cache_folder
from leukemia_lab.data.datamodule import CellDataModule
from leukemia_lab.data.images import RESIZE_METHOD
from leukemia_lab.data.scan import MEMO_VERSION
from leukemia_lab.errors import CacheError, ConfigError
from leukemia_lab.estimators.fit import predict
from leukemia_lab.estimators.neural import CellClassifier, input_pipeline
from leukemia_lab.experiment import normalisation
from leukemia_lab.features.border import BORDER_NAMES, border_features
from leukemia_lab.features.morphology import MORPHOLOGY_NAMES, morphology_features
from leukemia_lab.features.pixels import pixel_features, pixel_names
from leukemia_lab.features.table import numbered_names
from leukemia_lab.hashing import content_hash
from leukemia_lab.identity import PIPELINE_VERSION
from leukemia_lab.initial_weights import initial_weights
from leukemia_lab.net_runs import new_classifier
from leukemia_lab.nets.stages import HEAD, stages
from leukemia_lab.progress import CONSOLE, progress
from leukemia_lab.schema import (
    BorderFeatures,
    ClassicalModel,
    MeasureFeatures,
    MorphologyFeatures,
    NetFeatures,
    NetModel,
    PixelFeatures,
    TrainSettings,
)
from leukemia_lab.schema.fields import Target

MORPHOLOGY_BLOCK = 4096  # cells whose pixels are in memory at a time
VERSION = 1  # raise it when the same settings give other features


@dataclass(frozen=True)
class FeatureExtractor:
    """Where features come from: what shaped them (hashed), in words, their names, how to get those of a part.

    `weights` says which weights the net has that they come from; None where there is no net. `n_weights` counts
    those before its head, 0 without a net.
    """

    shaped_by: dict[str, Any]
    description: str
    names: Callable[[int], Sequence[str]]
    extract: Callable[[str], npt.NDArray[np.float32]]
    weights: str | None = None
    n_weights: int = 0

    @property
    def weights_state(self) -> str | None:
        """The hash of the net's weights before its head; None where there is no net."""
        state: str | None = self.shaped_by.get("state")
        return state

    @property
    def hash(self) -> str:
        """The hash of what shaped the features."""
        return content_hash(
            self.shaped_by | {"version": VERSION, "resize": RESIZE_METHOD, "pipeline": PIPELINE_VERSION}
        )


def feature_extractor(settings: TrainSettings, cells: Cells, data: CellDataModule) -> FeatureExtractor:
    """The features of a classical model, or the activations before a net's last layer from its initial weights."""
    model = settings.model
    if isinstance(model, NetModel):
        return _net_extractor(settings, model.net, cells, data)
    assert isinstance(model, ClassicalModel)
    if isinstance(model.features, NetFeatures):
        return _net_extractor(settings, model.features.net, cells, data)
    if isinstance(model.features, PixelFeatures):
        return pixel_extractor(settings, data, model.features.size)
    if isinstance(model.features, MeasureFeatures):
        return measure_extractor(cells, data, model.features.columns)
    if isinstance(model.features, BorderFeatures):
        return border_extractor(data, model.features.width)
    assert isinstance(model.features, MorphologyFeatures)
    return morphology_extractor(data)


def features_of(
    extractor: FeatureExtractor, cells: Cells, data: CellDataModule, part: str
) -> npt.NDArray[np.float32]:
    """Features float32 [n, D] of the cells of `part`, in the order of the data module's rows."""
    hashes = cells.index.table["sha256"].to_numpy()[data.rows[part].cpu().numpy()]
    key = content_hash({"features": extractor.hash, "cells": hashes.tolist()})
    path = cache_folder() / "features" / f"{key}.npy"
    found = _cached(path)
    if found is not None and len(found) == len(hashes):
        CONSOLE.print(f"features of part {part}: from the cache")
        return found
    values = extractor.extract(part)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, partial.open("wb") as file:
            np.save(file, values, allow_pickle=False)
    except OSError as error:
        raise CacheError(f"{path} cannot be written: {error}; LEUKEMIA_LAB_CACHE moves the cache") from error
    return values


def _cached(path: Path) -> npt.NDArray[np.float32] | None:
    try:
        values: npt.NDArray[np.float32] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # absent, or damaged and to be made again
        return None
    return values


def pixel_extractor(settings: TrainSettings, data: CellDataModule, size: int) -> FeatureExtractor:
    """The input pipeline's output, downsized to `size` px a side."""
    mean, std = normalisation(settings, data)
    log = settings.pipeline.log.model_dump()
    pipeline = input_pipeline(log, None, mean, std).to(data.device)

    def extract(part: str) -> npt.NDArray[np.float32]:
        n_cells = len(data.rows[part])
        blocks = []
        with torch.inference_mode(), progress(f"Features of part {part}", n_cells, "cells") as advance:
            for batch in data.loader(part):
                inputs = pipeline(batch["image"].to(data.device), batch["draw"], 0, 0, augment=False)
                blocks.append(pixel_features(inputs, size).cpu())
                advance(len(inputs))
        return torch.cat(blocks).numpy()

    shaped_by = {"kind": "pixels", "size": size} | _pipeline_values(settings, mean, std)
    return FeatureExtractor(
        shaped_by,
        f"the input pipeline's output at {size} px",
        lambda _: pixel_names(pipeline.out_channels, size),
        extract,
    )


def morphology_extractor(data: CellDataModule) -> FeatureExtractor:
    """Size, outline, colour and texture of the cells, on the raw pixels of the resized images."""
    image_size = int(data.cells.images.shape[1])

    def extract(part: str) -> npt.NDArray[np.float32]:
        blocks = [
            morphology_features(data.cells[rows, 0]["image"].permute(0, 2, 3, 1).cpu().numpy())
            for rows in torch.split(data.rows[part], MORPHOLOGY_BLOCK)
        ]
        return np.concatenate(blocks)

    shaped_by = {
        "kind": "morphology",
        "image_size": image_size,
        "scikit-image": metadata.version("scikit-image"),
    }
    return FeatureExtractor(shaped_by, f"morphology at {image_size} px", lambda _: MORPHOLOGY_NAMES, extract)


def measure_extractor(cells: Cells, data: CellDataModule, measured: str) -> FeatureExtractor:
    """The columns of the cell index that an audit calls `measured` (`SINGLE`), of each file as it is on disk."""
    columns = SINGLE[measured]

    def extract(part: str) -> npt.NDArray[np.float32]:
        table = cells.index.table[columns].iloc[data.rows[part].cpu().numpy()]
        return table.to_numpy(dtype=np.float32, na_value=np.nan)

    shaped_by = {"kind": "measures", "columns": columns, "measured": MEMO_VERSION}
    return FeatureExtractor(
        shaped_by, f"{measured.replace('_', ' ')} alone ({', '.join(columns)})", lambda _: columns, extract
    )


def border_extractor(data: CellDataModule, width: float) -> FeatureExtractor:
    """The outermost frame of the resized images, on the raw pixels."""
    image_size = int(data.cells.images.shape[1])

    def extract(part: str) -> npt.NDArray[np.float32]:
        batches = (batch["image"] for batch in data.loader(part))
        return torch.cat([border_features(images, width).cpu() for images in batches]).numpy()

    shaped_by = {"kind": "border", "image_size": image_size, "width": width}
    return FeatureExtractor(
        shaped_by, f"the border alone, {width:.1%} of {image_size} px", lambda _: BORDER_NAMES, extract
    )


def _net_extractor(
    settings: TrainSettings, net: Target, cells: Cells, data: CellDataModule
) -> FeatureExtractor:
    model = new_classifier(settings, net, cells, data)
    weights = initial_weights(settings.model)
    if weights is not None:
        model.start_from(weights.state)
    return trained_net_extractor(
        settings, model, data, "random weights" if weights is None else weights.source
    )


def trained_net_extractor(
    settings: TrainSettings, model: CellClassifier, data: CellDataModule, weights: str
) -> FeatureExtractor:
    """The activations before the last layer of `model`'s net as it is now; `weights` says which those are."""
    net = model.evaluated_net
    if not hasattr(net, "forward_features"):
        raise ConfigError(
            f"{type(net).__name__} has no method forward_features(images) -> [B, num_features]: write one, which gives "
            "the activations before the last layer"
        )

    def extract(part: str) -> npt.NDArray[np.float32]:
        CONSOLE.print(f"features of part {part}: {len(data.rows[part])} cells through the net")
        precision = settings.trainer.precision
        return predict(model, data, part, output="features", precision=precision, deterministic=True)

    pipeline = model.pipeline
    shaped_by = (
        {"kind": "net", "net": model.hparams["net"], "state": _state_hash(net)}
        | {"precision": settings.trainer.precision, "device": data.device.type, "torch": torch.__version__}
        | _pipeline_values(settings, pipeline.mean.flatten().tolist(), pipeline.std.flatten().tolist())
    )
    name = model.hparams["net"].get("name", model.hparams["net"]["_target_"].rpartition(".")[2])
    description = f"activations before the last layer of {name}, {weights}"
    head = _head_weights(net)
    n_weights = sum(weight.numel() for weight in net.parameters() if id(weight) not in head)
    return FeatureExtractor(shaped_by, description, numbered_names, extract, weights, n_weights)


def _state_hash(net: nn.Module) -> str:
    digest = hashlib.blake2b(digest_size=16)
    head = _head_weights(net)
    for name, value in net.state_dict(keep_vars=True).items():
        if id(value) in head:
            continue
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _head_weights(net: nn.Module) -> set[int]:
    """The ids of the weights that take no part in the features."""
    return {id(weight) for module in _head(net) for weight in module.parameters()}


def _head(net: nn.Module) -> list[nn.Module]:
    try:
        return stages(net)[HEAD]
    except ConfigError:  # a user's net that cannot be cut: all of it counts
        return []


def _pipeline_values(
    settings: TrainSettings, mean: list[float] | None, std: list[float] | None
) -> dict[str, Any]:
    log = settings.pipeline.log.model_dump()
    return {"image_size": settings.pipeline.image_size, "log": log, "mean": mean, "std": std}
