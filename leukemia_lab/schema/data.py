"""The data and protocol nodes of a configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from leukemia_lab.schema.fields import BadFiles, Count, GivenPath, Node, NonNegative, Seed, Share


def _leave_some_to_train(val_share: float, test_share: float) -> None:
    if val_share + test_share >= 1:
        raise ValueError(f"val_share {val_share} and test_share {test_share} leave nothing to train on")


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
