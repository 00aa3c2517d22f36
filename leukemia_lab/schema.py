"""The typed shape of a configuration: which keys there are and which values they take.

Defaults live in conf/; here every key is required. The models are frozen and refuse unknown keys.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError(f"{size} is even; a kernel has a centre: use {size - 1} or {size + 1}")
    return size


def _leave_some_to_train(val_share: float, test_share: float) -> None:
    if val_share + test_share >= 1:
        raise ValueError(f"val_share {val_share} and test_share {test_share} leave nothing to train on")


def _not_empty(path: object) -> object:
    if path == "":
        raise ValueError("empty: give a path, or null for none")
    return path


def _one_device(count: int) -> int:
    if count != 1:
        raise ValueError(f"{count} devices: a run uses exactly one; set trainer.devices=1")
    return count


Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
GivenPath = Annotated[Path, BeforeValidator(_not_empty)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
OddSize = Annotated[int, Field(ge=3, le=255), AfterValidator(_odd)]
Auto = Literal["auto"]
BadFiles = Literal["error", "skip"]
Target = dict[str, Any]  # a `_target_` node; leukemia_lab.config checks its arguments


class Node(BaseModel):
    """A config node: frozen, no unknown keys, no silent conversions ("3" is no number, 1 no truth value)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class SyntheticData(Node):
    """conf/data/synthetic.yaml."""

    name: Literal["synthetic"]
    root: GivenPath | None
    n_cells: Count
    n_subjects: Count
    seed: Seed
    n_twins: Annotated[int, Field(ge=0)]
    subject_effect: NonNegative
    bad_files: BadFiles


class CnmcData(Node):
    """conf/data/cnmc.yaml."""

    name: Literal["cnmc"]
    root: GivenPath | None
    bad_files: BadFiles


class FolderData(Node):
    """conf/data/folder.yaml."""

    name: Literal["folder"]
    root: GivenPath | None
    subject_pattern: str | None
    positive_class: str | None
    bad_files: BadFiles


Data = Annotated[SyntheticData | CnmcData | FolderData, Field(discriminator="name")]


class GroupedProtocol(Node):
    """What all protocols by subject share."""

    val_share: Share
    seed: Seed
    twins: Literal["merge", "ignore"]


class SubjectHoldout(GroupedProtocol):
    """conf/protocol/subject_holdout.yaml."""

    name: Literal["subject_holdout"]
    test_share: Share

    @model_validator(mode="after")
    def some_train(self) -> SubjectHoldout:
        """The training part gets what val and test leave."""
        _leave_some_to_train(self.val_share, self.test_share)
        return self


class SubjectKfold(GroupedProtocol):
    """conf/protocol/subject_kfold.yaml."""

    name: Literal["subject_kfold"]
    n_folds: Annotated[int, Field(ge=2)]
    fold: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def fold_exists(self) -> SubjectKfold:
        """`fold` counts from 0."""
        if self.fold >= self.n_folds:
            raise ValueError(
                f"fold {self.fold} does not exist: the {self.n_folds} folds are 0 to {self.n_folds - 1}"
            )
        return self


class Challenge(GroupedProtocol):
    """conf/protocol/challenge.yaml."""

    name: Literal["challenge"]


class OfficialFolds(GroupedProtocol):
    """conf/protocol/official_folds.yaml."""

    name: Literal["official_folds"]
    fold: Annotated[int, Field(ge=0, le=2)]


class RandomCells(Node):
    """conf/protocol/random_cells.yaml."""

    name: Literal["random_cells"]
    val_share: Share
    test_share: Share
    seed: Seed

    @model_validator(mode="after")
    def some_train(self) -> RandomCells:
        """The training part gets what val and test leave."""
        _leave_some_to_train(self.val_share, self.test_share)
        return self


ProtocolNode = Annotated[
    SubjectHoldout | SubjectKfold | Challenge | OfficialFolds | RandomCells, Field(discriminator="name")
]


class Model(Node):
    """conf/model/*.yaml; `net` gets in_channels, n_classes and image_size from the framework."""

    name: str
    image_size: Annotated[int, Field(ge=16, le=1024)]
    lr: Positive
    net: Target


class Augment(Node):
    """conf/augment/*.yaml."""

    name: str
    on_device: Target | None


class Optim(Node):
    """conf/optim/*.yaml; `optimizer` gets params, lr and weight_decay from the framework."""

    name: str
    lr: Positive
    weight_decay: NonNegative
    schedule: Literal["cosine", "constant"]
    warmup_epochs: Annotated[int, Field(ge=0)]
    label_smoothing: Fraction
    gradient_clip_norm: Positive | None
    optimizer: Target


class Trainer(Node):
    """conf/trainer/default.yaml."""

    max_epochs: Count
    monitor: Literal["val/loss", "val/auroc"]
    patience: Count | None
    batch_size: Count
    accelerator: Literal["auto", "cpu", "cuda"]
    devices: Auto | Annotated[int, AfterValidator(_one_device)]
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true"]
    deterministic: bool
    resident: Auto | bool
    num_workers: Annotated[int, Field(ge=0)]


class Log(Node):
    """The Laplacian-of-Gaussian filter; see leukemia_lab.ops.log_filter."""

    mode: Literal["none", "replace", "append", "sharpen"]
    stencil: Literal["kornia", "sampled"]
    sigma_px: Annotated[float, Field(gt=0.0, le=64.0)]
    gaussian_size: OddSize | None
    laplacian_size: OddSize
    strength: float


class Pipeline(Node):
    """The input pipeline; see leukemia_lab.ops.pipeline."""

    image_size: Auto | Annotated[int, Field(ge=16, le=1024)]
    log: Log
    normalise: Literal["train", "imagenet", "none"]

    @model_validator(mode="after")
    def imagenet_is_for_rgb(self) -> Pipeline:
        """ImageNet's constants are those of RGB images."""
        if self.normalise == "imagenet" and self.log.mode in ("replace", "append"):
            raise ValueError(
                f"normalise=imagenet holds for RGB images, not for log.mode={self.log.mode}: "
                "set pipeline.normalise=train"
            )
        return self


class TrainSettings(Node):
    """conf/train.yaml with one choice of every group."""

    seed: Seed
    force: bool
    data: Data
    protocol: ProtocolNode
    model: Model
    augment: Augment
    optim: Optim
    trainer: Trainer
    pipeline: Pipeline


class EvaluateSettings(Node):
    """conf/evaluate.yaml."""

    run: GivenPath
    data_root: GivenPath | None
    accelerator: Literal["auto", "cpu", "cuda"]
    batch_size: Count
