"""The data and protocol nodes of a configuration."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from leukemia_lab.schema.fields import Auto, BadFiles, Count, GivenPath, Node, NonNegative, Paths, Seed, Share


def _leave_some_to_train(val_share: float, test_share: float) -> None:
    if val_share + test_share >= 1:
        raise ValueError(f"val_share {val_share} and test_share {test_share} leave nothing to train on")


def _fold_exists(fold: int | Literal["all"], n_folds: int) -> None:
    if fold != "all" and fold >= n_folds:
        raise ValueError(f"fold {fold} does not exist: the {n_folds} folds are 0 to {n_folds - 1}")


def _sources(trees: dict[str, CombinedTreeNode]) -> dict[str, CombinedTreeNode]:
    if len(trees) < 2:
        raise ValueError(
            "a combined data set needs two trees or more: "
            "data.trees='{cnmc: {layout: cnmc, root: /data/C-NMC}, ours: {layout: folder, root: /data/ours}}'"
        )
    if len({name.upper() for name in trees}) < len(trees):
        raise ValueError(
            f"{', '.join(trees)}: two sources have one name, whose case does not count for subjects"
        )
    odd = [name for name in trees if not name.isidentifier()]
    if odd:
        raise ValueError(f"{odd[0]!r} is no name for a source: letters, digits and _ only")
    return trees


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
    manifest: Paths
    twins_file: GivenPath | None
    bad_files: BadFiles


Metadata = Annotated[Auto | GivenPath | None, Field(union_mode="left_to_right")]


class FolderData(Node):
    """conf/data/folder.yaml."""

    name: Literal["folder"]
    root: GivenPath | None
    metadata: Metadata
    subject_pattern: str | None
    positive_class: str | None
    manifest: Paths
    twins_file: GivenPath | None
    bad_files: BadFiles


class CombinedTreeNode(Node):
    """One tree of conf/data/combined.yaml: the keys of `cnmc` or `folder`.

    The trees are the user's own, none stands in conf/: so the defaults stand here.
    """

    layout: Literal["cnmc", "folder"]
    root: GivenPath
    metadata: Metadata = "auto"
    subject_pattern: str | None = None
    classes: dict[str, str | None] = Field(default={})


class CombinedData(Node):
    """conf/data/combined.yaml."""

    name: Literal["combined"]
    # null in conf/: Hydra lets no command line put names into an empty mapping
    trees: Annotated[
        dict[str, CombinedTreeNode],
        BeforeValidator(lambda trees: {} if trees is None else trees),
        AfterValidator(_sources),
    ]
    positive_class: str | None
    twins_file: GivenPath | None
    bad_files: BadFiles


class ManifestData(Node):
    """conf/data/manifest.yaml."""

    name: Literal["manifest"]
    file: Annotated[Paths, Field(min_length=1)]
    twins_file: GivenPath | None


Data = Annotated[
    SyntheticData | CnmcData | FolderData | CombinedData | ManifestData, Field(discriminator="name")
]


class GroupedProtocol(Node):
    """What all protocols by subject share."""

    val_share: Share
    seed: Seed
    twins: Literal["merge", "drop", "ignore"]


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
    fold: Annotated[int, Field(ge=0)] | Literal["all"]

    @model_validator(mode="after")
    def fold_exists(self) -> SubjectKfold:
        """`fold` counts from 0."""
        _fold_exists(self.fold, self.n_folds)
        return self


class Challenge(GroupedProtocol):
    """conf/protocol/challenge.yaml."""

    name: Literal["challenge"]


class OfficialFolds(GroupedProtocol):
    """conf/protocol/official_folds.yaml."""

    name: Literal["official_folds"]
    n_folds: ClassVar[int] = 3
    fold: Annotated[int, Field(ge=0, le=2)] | Literal["all"]


class RandomCells(Node):
    """conf/protocol/random_cells.yaml."""

    name: Literal["random_cells"]
    val_share: Share
    test_share: Share
    # With defaults and left out of dumps where null: runs from before there were folds keep config and identity.
    n_folds: Annotated[int, Field(ge=2)] | None = None
    fold: Annotated[int, Field(ge=0)] | Literal["all"] | None = None
    seed: Seed

    @model_validator(mode="after")
    def some_train(self) -> RandomCells:
        """The training part gets what val and test leave; of folds, what val leaves outside the test fold."""
        if self.n_folds is None and self.fold is None:
            _leave_some_to_train(self.val_share, self.test_share)
        elif self.n_folds is None:
            raise ValueError(f"fold {self.fold} of no folds: give n_folds too")
        elif self.fold is None:
            raise ValueError(f"{self.n_folds} folds: give fold too, 0 to {self.n_folds - 1} or all")
        else:
            _fold_exists(self.fold, self.n_folds)
        return self

    @model_serializer(mode="wrap")
    def without_absent_folds(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The keys that are set."""
        return {key: value for key, value in dump(self).items() if value is not None}


class LeaveOneSourceOut(GroupedProtocol):
    """conf/protocol/leave_one_source_out.yaml; `source` names the one to test, or is all."""

    name: Literal["leave_one_source_out"]
    source: str


class ManifestProtocol(Node):
    """conf/protocol/manifest.yaml."""

    name: Literal["manifest"]
    file: GivenPath
    leaky: bool
    twins: Literal["merge", "ignore"]


ProtocolNode = Annotated[
    SubjectHoldout
    | SubjectKfold
    | Challenge
    | OfficialFolds
    | LeaveOneSourceOut
    | RandomCells
    | ManifestProtocol,
    Field(discriminator="name"),
]
