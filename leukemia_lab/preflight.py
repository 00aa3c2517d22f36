"""What no schema can say about a training run: build its pipeline, net and optimiser once, without data or weights."""

from __future__ import annotations

import torch

from leukemia_lab.data.host_augment import check_policy
from leukemia_lab.errors import ConfigError
from leukemia_lab.estimators.classifiers import classifier_faults
from leukemia_lab.estimators.neural import input_pipeline
from leukemia_lab.estimators.stages import parameter_groups
from leukemia_lab.experiment import resolve_auto
from leukemia_lab.initial_weights import initial_weights
from leukemia_lab.nets.stages import frozen_stages
from leukemia_lab.nets.weights import weight_faults
from leukemia_lab.schema import ClassicalModel, NetModel, TrainSettings
from leukemia_lab.targets import build


def build_faults(settings: TrainSettings) -> list[str]:
    """The faults that building shows: layers that do not fit, weights that are not there, values out of range."""
    try:
        settings = resolve_auto(settings)
        in_channels = _try_pipeline(settings)
        if isinstance(settings.model, ClassicalModel):
            classifier = settings.model.classifier
            faults = classifier_faults(classifier.estimator, classifier.grid)
            if faults:
                return faults
    except ConfigError as error:
        return [str(error)]
    try:
        return [] if settings.model.net_node is None else _net_faults(settings, in_channels)
    except ConfigError as error:
        return [str(error)]
    except (NotImplementedError, RuntimeError):
        return []  # a user's net that cannot be built without weights: training will judge it


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
    with torch.device("meta"):
        net = build(
            model.net_node,
            in_channels=in_channels,
            n_classes=2,
            image_size=int(settings.pipeline.image_size),
        )
    if isinstance(model, NetModel):
        frozen_stages(net, model.freeze, 0, model.thaw_every)
        groups = parameter_groups(net, float(optim.lr), optim.stage_decay)
        build(optim.optimizer, params=groups, lr=optim.lr, weight_decay=optim.weight_decay)
    weights = initial_weights(model)  # downloaded now: an error comes before any data are touched
    return [] if weights is None else weight_faults(net, weights.state)
