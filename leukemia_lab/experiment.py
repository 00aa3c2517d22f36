"""The steps that train and evaluate share once the cells are split: `auto` resolved, data module, normalisation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from leukemia_lab.cells import Cells
from leukemia_lab.dashboards import Embedded
from leukemia_lab.data.cache import cache_folder, decoded_images
from leukemia_lab.data.datamodule import CellDataModule, fits_on_device
from leukemia_lab.data.permuting import PERMUTED_LABELS, permute_labels
from leukemia_lab.data.protocols import PARTS
from leukemia_lab.device import resolve_device, resolve_precision
from leukemia_lab.errors import ConfigError
from leukemia_lab.estimators.classifiers import accelerated
from leukemia_lab.estimators.neural import CellClassifier, input_pipeline
from leukemia_lab.initial_weights import RGB_MODES, pretrained_constants
from leukemia_lab.ops.pipeline import channel_statistics
from leukemia_lab.progress import CONSOLE
from leukemia_lab.schema import (
    ClassicalModel,
    NetModel,
    Pipeline,
    TrainSettings,
)
from leukemia_lab.targets import build

SEEN_PARTS = ("train", "val")  # what training sees
STATISTICS_CELLS = 2048  # training cells, evenly spaced, that mean and SD are estimated from
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Trained:
    """What came of training: logits [n, K] of the training and validation parts, and fields of the run's record.

    `net` is the best net, None where the model is none; `embedded` are validation cells with features.
    """

    logits: dict[str, npt.NDArray[Any]]
    best_epoch: int
    record: dict[str, Any]
    data: CellDataModule
    net: CellClassifier | None
    embedded: Embedded | None


def resolve_auto(settings: TrainSettings) -> TrainSettings:
    """`settings` with every `auto` replaced by what it stands for with this model, on this machine.

    Raises:
        ConfigError: two settings exclude each other.
    """
    device = resolve_device(settings.trainer.accelerator, "trainer.accelerator")
    trainer = settings.trainer.model_copy(
        update={
            "accelerator": device.type,
            "devices": _n_devices(settings),
            "precision": resolve_precision(settings.trainer.precision, device),
        }
    )
    lr = settings.optim.lr
    if lr == "auto" and isinstance(settings.model, NetModel):
        lr = settings.model.lr
    pipeline = _resolved_pipeline(settings)
    resolved = settings.model_copy(
        update={
            "trainer": trainer,
            "pipeline": pipeline,
            "optim": settings.optim.model_copy(update={"lr": lr}),
            "model": _resolved_model(settings.model, pipeline),
        }
    )
    _check_pipeline(resolved)
    if isinstance(resolved.model, NetModel):
        _check_training(resolved)
    return resolved


def _n_devices(settings: TrainSettings) -> int:
    wanted = settings.trainer.devices
    return 1 if wanted == "auto" or isinstance(settings.model, ClassicalModel) else wanted


def _resolved_model(model: NetModel | ClassicalModel, pipeline: Pipeline) -> NetModel | ClassicalModel:
    """The model with the size and filter in effect, so that a run's config says nothing else than was done."""
    own = {"image_size": pipeline.image_size, "log_mode": pipeline.log.mode}
    if isinstance(model, NetModel):
        return model.model_copy(update=own)
    accelerate = model.classifier.accelerate
    can = accelerated(model.classifier.estimator["_target_"]) != model.classifier.estimator["_target_"]
    if accelerate is True and not can:
        raise ConfigError(
            f"model.classifier.accelerate=true: there is no {model.classifier.estimator['_target_']} of "
            "scikit-learn-intelex here; pip install 'leukemia-lab[fast]', or set it to auto"
        )
    classifier = model.classifier.model_copy(
        update={"accelerate": can and model.classifier.searches if accelerate == "auto" else accelerate}
    )
    features = model.features.model_copy(update=own)
    return model.model_copy(update=own | {"classifier": classifier, "features": features})


def _resolved_pipeline(settings: TrainSettings) -> Pipeline:
    """The pipeline with the model's own size and filter where these are `auto`."""
    pipeline, model = settings.pipeline, settings.model
    size = model.image_size if pipeline.image_size == "auto" else pipeline.image_size
    mode = model.log_mode if pipeline.log.mode == "auto" else pipeline.log.mode
    normalise = pipeline.normalise
    if normalise == "auto":
        constants = pretrained_constants(model) if model.loads_weights else None
        normalise = "pretrained" if constants is not None and mode in constants.log_modes else "train"
    log = pipeline.log.model_copy(update={"mode": mode})
    return pipeline.model_copy(update={"image_size": size, "log": log, "normalise": normalise})


def _check_pipeline(settings: TrainSettings) -> None:
    pipeline, mode = settings.pipeline, settings.pipeline.log.mode
    if pipeline.normalise == "imagenet" and mode not in RGB_MODES:
        raise ConfigError(
            f"pipeline.normalise=imagenet holds for RGB images, not for log.mode={mode}: set pipeline.normalise=train"
        )
    if pipeline.normalise == "pretrained":
        constants = pretrained_constants(settings.model)
        if constants is None or mode not in constants.log_modes:
            raise ConfigError(
                f"pipeline.normalise=pretrained: the weights of {settings.model.name} bring no constants for "
                f"log.mode={mode}; set pipeline.normalise=train"
            )


def _check_training(settings: TrainSettings) -> None:
    trainer = settings.trainer
    if settings.augment.on_host is not None and trainer.resident is True:
        raise ConfigError(
            f"trainer.resident=true: augment={settings.augment.name} works on the host, cell by cell; set "
            "trainer.resident=auto, or a policy on the device (augment=strong)"
        )
    if settings.optim.ema_decay is not None and trainer.precision == "bf16-true":
        raise ConfigError(
            "optim.ema_decay: bfloat16 has too few digits for a moving average of weights; set "
            "trainer.precision=bf16-mixed, or optim.ema_decay=null"
        )


def data_module(
    settings: TrainSettings, cells: Cells, device: torch.device, batch_size: int, *, augmented: bool = False
) -> CellDataModule:
    """The loaders of every part of the split over the decoded cache; `augmented` builds the host's policy too."""
    size = settings.pipeline.image_size
    assert isinstance(size, int)  # resolve_auto has run
    images = decoded_images(cells.index, size, cache_folder())
    wanted = settings.trainer.resident
    resident = fits_on_device(images, device) if wanted == "auto" else wanted and device.type == "cuda"
    on_host = settings.augment.on_host if augmented else None
    return CellDataModule(
        images,
        label_indices(cells),
        part_rows(cells),
        batch_size=batch_size,
        seed=settings.seed,
        num_workers=settings.trainer.num_workers,
        device=device,
        resident=resident and on_host is None,
        oversample=settings.balance.oversample,
        host_policy=None if on_host is None else build(on_host),
    )


def training_data(settings: TrainSettings, cells: Cells) -> CellDataModule:
    """The loaders as training has them."""
    device = resolve_device(settings.trainer.accelerator, "trainer.accelerator")
    is_net = isinstance(settings.model, NetModel)
    return data_module(settings, cells, device, settings.trainer.batch_size, augmented=is_net)


def permuted(settings: TrainSettings, cells: Cells) -> Cells:
    """`cells` with permuted labels where the settings ask for them: those of the split, which all stages read."""
    if settings.permute_labels is None:
        return cells
    split = permute_labels(cells.split, settings.permute_labels)
    for note in split.notes[len(cells.split.notes) :]:
        CONSOLE.print(note, markup=False)
    return replace(cells, split=split, stamps=(*cells.stamps, PERMUTED_LABELS))


def label_indices(cells: Cells) -> npt.NDArray[np.int64]:
    """The class that the split gives each cell of the index, as its place in `class_names`, int64 [N]; -1 for none."""
    places = {name: place for place, name in enumerate(cells.index.class_names)}
    labels = cells.split.table.set_index("cell_id")["label"].map(places)
    return np.array(labels.reindex(cells.index.table["cell_id"], fill_value=-1), dtype=np.int64)


def part_rows(cells: Cells) -> dict[str, npt.NDArray[np.int64]]:
    """The rows of the index that each part holds, in the order of the split's table."""
    row_of = {cell_id: row for row, cell_id in enumerate(cells.index.table["cell_id"])}
    table = cells.split.table
    return {
        part: np.array(table.loc[table["part"] == part, "cell_id"].map(row_of), dtype=np.int64)
        for part in PARTS
    }


def normalisation(
    settings: TrainSettings, data: CellDataModule
) -> tuple[list[float] | None, list[float] | None]:
    """Mean and SD of each channel that the pipeline gives out, from the training part alone where estimated."""
    if settings.pipeline.normalise == "none":
        return None, None
    if settings.pipeline.normalise == "pretrained":
        constants = pretrained_constants(settings.model)
        assert constants is not None  # resolve_auto has run
        return list(constants.mean), list(constants.std)
    pipeline = input_pipeline(settings.pipeline.log.model_dump(), None, None, None).to(data.device)
    if settings.pipeline.normalise == "train":
        loader = data.loader("train", limit=STATISTICS_CELLS)
        return channel_statistics(pipeline, (batch["image"].to(data.device) for batch in loader))
    return list(IMAGENET_MEAN), list(IMAGENET_STD)
