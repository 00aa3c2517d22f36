"""The nodes that say how a net is fed and trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from leukemia_lab.schema.fields import (
    Auto,
    Count,
    Fraction,
    ImageSize,
    LogMode,
    Node,
    NonNegative,
    OddSize,
    Positive,
    Target,
)


class Augment(Node):
    """conf/augment/*.yaml: on the device, batch by batch, or on the host, cell by cell, or both."""

    name: str
    on_device: Target | None
    on_host: Target | None


class Balance(Node):
    """conf/balance/*.yaml: what makes up for unequal numbers of cells in the classes, in training alone."""

    name: str
    oversample: bool
    class_weight: bool
    focal_gamma: NonNegative | None


class Optim(Node):
    """conf/optim/*.yaml; `optimizer` gets params, lr and weight_decay from the framework."""

    name: str
    lr: Auto | Positive
    stage_decay: Annotated[float, Field(gt=0.0, le=1.0)]
    weight_decay: NonNegative
    schedule: Literal["cosine", "constant"]
    warmup_epochs: Annotated[int, Field(ge=0)]
    label_smoothing: Fraction
    ema_decay: Fraction | None
    gradient_clip_norm: Positive | None
    optimizer: Target


class Trainer(Node):
    """conf/trainer/default.yaml."""

    max_epochs: Count
    monitor: Literal["val/loss", "val/auroc"]
    patience: Count | None
    batch_size: Count
    accelerator: Literal["auto", "cpu", "cuda"]
    devices: Auto | Count
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true"]
    deterministic: bool
    resident: Auto | bool
    num_workers: Annotated[int, Field(ge=0)]


class Log(Node):
    """The Laplacian-of-Gaussian filter; see leukemia_lab.ops.log_filter."""

    mode: Auto | LogMode
    stencil: Literal["kornia", "sampled"]
    sigma_px: Annotated[float, Field(gt=0.0, le=64.0)]
    gaussian_size: OddSize | None
    laplacian_size: OddSize
    strength: float


class Pipeline(Node):
    """The input pipeline; see leukemia_lab.ops.pipeline."""

    image_size: Auto | ImageSize
    log: Log
    normalise: Auto | Literal["train", "pretrained", "imagenet", "none"]
