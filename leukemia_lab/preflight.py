"""What no schema can say about a training run: build its pipeline, net and optimiser once, without data or weights."""

from __future__ import annotations

import torch
from torch import nn

from leukemia_lab.data.host_augment import check_policy
from leukemia_lab.device import check_device_count
from leukemia_lab.errors import ConfigError
from leukemia_lab.estimators.classifiers import classifier_faults
from leukemia_lab.estimators.neural import input_pipeline
from leukemia_lab.estimators.stages import parameter_groups
from leukemia_lab.experiment import resolve_auto
from leukemia_lab.features.pixels import pixel_features
from leukemia_lab.indexing import missing_files
from leukemia_lab.initial_weights import initial_weights
from leukemia_lab.nets.stages import frozen_stages
from leukemia_lab.nets.weights import weight_faults
from leukemia_lab.schema import (
    ClassicalModel,
    ManifestData,
    ModelNode,
    NetModel,
    PixelFeatures,
    TrainSettings,
)
from leukemia_lab.targets import build, where

N_CLASSES = 2  # that nets are tried with


def build_faults(settings: TrainSettings) -> list[str]:
    """The faults that building shows: layers that do not fit, weights that are not there, values out of range."""
    if isinstance(settings.data, ManifestData):
        return ["data: a manifest has no pixels to train on; choose data=cnmc, folder, combined or synthetic"]
    missing = missing_files(settings.data, settings.protocol)
    if missing:
        return missing
    try:
        settings = resolve_auto(settings)
        trainer = settings.trainer
        check_device_count(trainer.accelerator, int(trainer.devices), trainer.batch_size)
        in_channels = _try_pipeline(settings)
        if isinstance(settings.model, ClassicalModel):
            classifier = settings.model.classifier
            faults = classifier_faults(classifier.estimator, classifier.search_grid)
            features = settings.model.features
            if isinstance(features, PixelFeatures):
                pixel_features(
                    torch.zeros(1, in_channels, *[int(settings.pipeline.image_size)] * 2), features.size
                )
            if faults:
                return faults
    except ConfigError as error:
        return [str(error)]
    try:
        return [] if settings.model.net_node is None else _net_faults(settings, in_channels)
    except ConfigError as error:
        return [str(error)]


def _try_pipeline(settings: TrainSettings) -> int:
    """Send one black cell through augmentation and pipeline; returns the number of channels that come out."""
    size = int(settings.pipeline.image_size)
    if settings.augment.on_host is not None:
        check_policy(build(settings.augment.on_host), size)
    pipeline = input_pipeline(settings.pipeline.log.model_dump(), settings.augment.on_device, None, None)
    black = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    pipeline(black, torch.zeros(1, dtype=torch.int64), 0, 0, augment=True)
    return pipeline.out_channels


def _net_faults(settings: TrainSettings, in_channels: int) -> list[str]:
    model, optim = settings.model, settings.optim
    assert model.net_node is not None
    size = int(settings.pipeline.image_size)
    try:
        with torch.device("meta"):
            net = build(model.net_node, in_channels=in_channels, n_classes=N_CLASSES, image_size=size)
    except (ConfigError, NotImplementedError) as error:
        if _needs_values(error):
            return []  # training will judge it
        raise
    if not isinstance(net, nn.Module):
        return [f"{model.net_node['_target_']} returns a {type(net).__name__}, not a torch.nn.Module"]
    faults = _forward_faults(
        net, model.net_node["_target_"], torch.zeros(2, in_channels, size, size, device="meta")
    )
    if isinstance(model, NetModel) and not faults:
        frozen_stages(net, model.freeze, 0, model.thaw_every)
        groups = parameter_groups(net, float(optim.lr), optim.stage_decay)
        build(optim.optimizer, params=groups, lr=optim.lr, weight_decay=optim.weight_decay)
    return faults if faults else _weights_faults(net, model)


def _needs_values(error: BaseException) -> bool:
    """Whether the meta device stood in the way: a net that looks at its own weights has none there."""
    cause = error if error.__cause__ is None else error.__cause__
    return isinstance(cause, NotImplementedError) or (
        isinstance(cause, RuntimeError) and "meta" in str(cause)
    )


def _forward_faults(net: nn.Module, target: str, images: torch.Tensor) -> list[str]:
    """What sending images without values through the net shows: layers that do not fit, outputs that are no logits."""
    shape = list(images.shape)
    try:
        found = net.eval()(images)
    except Exception as error:
        if _needs_values(error):
            return []
        return [
            f"{target}: images {shape} do not pass through it: {type(error).__name__}: {error}{where(error)}"
        ]
    finally:
        net.train()
    if not isinstance(found, torch.Tensor) or list(found.shape) != [2, N_CLASSES]:
        given = list(found.shape) if isinstance(found, torch.Tensor) else f"a {type(found).__name__}"
        return [
            f"{target}: images {shape} must give logits [2, {N_CLASSES}] with n_classes={N_CLASSES}, but give {given}"
        ]
    return []


def _weights_faults(net: nn.Module, model: ModelNode) -> list[str]:
    weights = initial_weights(model)  # downloaded now: an error comes before any data are touched
    if weights is None:
        return []
    return [
        f"the weights of {weights.source} are not those of model={model.name}: {fault}"
        for fault in weight_faults(net, weights.state)
    ]
