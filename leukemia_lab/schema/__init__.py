"""The typed shape of a configuration: which keys there are and which values they take.

Defaults live in conf/; here every key is required. The models are frozen and refuse unknown keys.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from leukemia_lab.schema.data import (
    CnmcData,
    CombinedData,
    Data,
    FolderData,
    ManifestData,
    OfficialFolds,
    ProtocolNode,
    RandomCells,
    SubjectKfold,
    SyntheticData,
)
from leukemia_lab.schema.evaluation import Evaluation
from leukemia_lab.schema.fields import Count, Fraction, GivenPath, Metric, Node, Paths, Seed, Share
from leukemia_lab.schema.model import (
    BorderFeatures,
    ClassicalModel,
    FeaturesNode,
    MeasureFeatures,
    Model,
    ModelNode,
    MorphologyFeatures,
    NetFeatures,
    NetModel,
    PixelFeatures,
)
from leukemia_lab.schema.sweep import LauncherNode, SearchNode, Sweep
from leukemia_lab.schema.training import Augment, Balance, Optim, Pipeline, Trainer

__all__ = [
    "AuditSettings",
    "BorderFeatures",
    "CellSettings",
    "CheckClaimsSettings",
    "ClassicalModel",
    "CnmcData",
    "CombinedData",
    "CompareSettings",
    "DownloadSettings",
    "EvaluateSettings",
    "Evaluation",
    "ExportSettings",
    "FeaturesNode",
    "FolderData",
    "Fraction",
    "ManifestData",
    "MeasureFeatures",
    "ModelNode",
    "MorphologyFeatures",
    "NetFeatures",
    "NetModel",
    "OfficialFolds",
    "Pipeline",
    "PixelFeatures",
    "RandomCells",
    "ReportSettings",
    "SplitSettings",
    "SubjectKfold",
    "SyntheticData",
    "TrainCommandSettings",
    "TrainSettings",
]


def _distinct(parts: list[str]) -> list[str]:
    if not parts or len(set(parts)) < len(parts):
        raise ValueError(f"{parts}: name one part or more, each once: [train, val]")
    return parts


class CellSettings(Node):
    """What every command needs that splits cells."""

    data: Data
    protocol: ProtocolNode


class TrainSettings(CellSettings):
    """conf/train.yaml with one choice of every group."""

    seed: Seed
    force: bool
    model: Model
    augment: Augment
    balance: Balance
    optim: Optim
    trainer: Trainer
    pipeline: Pipeline
    permute_labels: Seed | None = None  # runs recorded before the key was there, and exports, permute nothing


class TrainCommandSettings(TrainSettings):
    """conf/train.yaml: a run, and how a sweep of runs is carried out."""

    sweep: Sweep
    launcher: LauncherNode
    search: SearchNode

    def as_training(self) -> TrainSettings:
        """The settings of the run alone."""
        return _part_of(self)


class ExportSettings(TrainSettings):
    """conf/export_features.yaml: what a training run would be made of, and what to write of it."""

    run: GivenPath | None
    features: Literal["model", "pixels", "morphology"]
    parts: Annotated[list[Literal["train", "val", "test"]], AfterValidator(_distinct)]
    output: GivenPath | None
    data_root: GivenPath | None
    pixels: PixelFeatures
    morphology: MorphologyFeatures

    def as_training(self) -> TrainSettings:
        """The settings of the training run."""
        return _part_of(self)


def _part_of(settings: TrainSettings) -> TrainSettings:
    return TrainSettings(**{name: getattr(settings, name) for name in TrainSettings.model_fields})


def _downloadable(data: Data) -> Data:
    if not isinstance(data, CnmcData):
        raise ValueError(f"{data.name} cannot be downloaded, only data=cnmc can")
    return data


class DownloadSettings(Node):
    """conf/download.yaml."""

    data: Annotated[Data, AfterValidator(_downloadable)]
    output: GivenPath | None
    mirror: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]


class EvaluateSettings(Node):
    """conf/evaluate.yaml."""

    run: GivenPath | None
    sweep: GivenPath | None
    choose: Literal["best", "one_standard_error"]
    data_root: GivenPath | None
    test_time: Literal["none", "dihedral"]
    accelerator: Literal["auto", "cpu", "cuda"]
    batch_size: Count
    evaluation: Evaluation


class CompareSettings(Node):
    """conf/compare.yaml."""

    a: GivenPath | None
    b: GivenPath | None
    runs: Paths
    ensemble: Paths
    part: Literal["auto", "val", "test"]
    metric: Metric
    level: Share
    output: GivenPath | None


class CheckClaimsSettings(Node):
    """conf/check_claims.yaml."""

    table: GivenPath
    positive_share: Share | None
    n_cells: Count | None
    output: GivenPath | None


class AuditSettings(Node):
    """conf/audit.yaml."""

    data: Data
    output: GivenPath | None


class ReportSettings(Node):
    """conf/report.yaml."""

    runs: Paths
    watch: bool
    ensemble: Paths
    metric: Metric
    part: Literal["auto", "val", "test"]
    output: GivenPath | None


class SplitSettings(CellSettings):
    """conf/split.yaml."""

    output: GivenPath | None
    force: bool
