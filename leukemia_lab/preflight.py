"""What no schema can say about a training run: build its pipeline, net and optimiser once, without data or weights."""

from __future__ import annotations

import torch

from leukemia_lab.errors import ConfigError
from leukemia_lab.estimators.neural import input_pipeline
from leukemia_lab.experiment import resolve_auto
from leukemia_lab.schema import TrainSettings
from leukemia_lab.targets import build


def build_faults(settings: TrainSettings) -> list[str]:
    """The faults that building shows: kernels larger than the image, layers that do not fit, values out of range."""
    try:
        settings = resolve_auto(settings)
        size = int(settings.pipeline.image_size)
        pipeline = input_pipeline(settings.pipeline.log.model_dump(), settings.augment.on_device, None, None)
        black = torch.zeros(1, 3, size, size, dtype=torch.uint8)
        pipeline(black, torch.zeros(1, dtype=torch.int64), 0, 0, augment=True)
    except ConfigError as error:
        return [str(error)]
    try:
        with torch.device("meta"):
            net = build(settings.model.net, in_channels=pipeline.out_channels, n_classes=2, image_size=size)
        optim = settings.optim
        build(optim.optimizer, params=list(net.parameters()), lr=optim.lr, weight_decay=optim.weight_decay)
    except ConfigError as error:
        return [str(error)]
    except (NotImplementedError, RuntimeError):
        return []  # a user's net that cannot be built without weights: training will judge it
    return []
