"""The model node of a configuration: a neural net, or a classical baseline on features."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from leukemia_lab.schema.fields import Auto, Count, GivenPath, ImageSize, LogMode, Node, Positive, Target


class ModelNode(Node):
    """What every model has, of use to it or not."""

    name: str
    image_size: ImageSize
    log_mode: LogMode
    pretrained: bool
    weights_path: GivenPath | None

    @property
    @abstractmethod
    def net_node(self) -> Target | None:
        """The `_target_` node of the net that the model is or takes its features from; None without one."""

    @property
    @abstractmethod
    def weights_node(self) -> Target | None:
        """The `_target_` node of that net's ImageNet weights; None where there are none."""

    @property
    def loads_weights(self) -> bool:
        """Whether that net starts from a file's weights or from ImageNet's."""
        if self.net_node is None:
            return False
        return self.weights_path is not None or (self.pretrained and self.weights_node is not None)


class NetModel(ModelNode):
    """conf/model/*.yaml of a neural net; `net` gets in_channels, n_classes and image_size from the framework."""

    lr: Positive
    net: Target
    weights: Target | None
    freeze: str
    thaw_every: Count | None

    @property
    def net_node(self) -> Target:
        """The model itself."""
        return self.net

    @property
    def weights_node(self) -> Target | None:
        """Its ImageNet weights."""
        return self.weights


class PixelFeatures(Node):
    """conf/model/features/pixels.yaml."""

    kind: Literal["pixels"]
    image_size: ImageSize
    log_mode: LogMode
    size: Annotated[int, Field(ge=2)]


class MorphologyFeatures(Node):
    """conf/model/features/morphology.yaml."""

    kind: Literal["morphology"]
    image_size: ImageSize
    log_mode: LogMode


class MeasureFeatures(Node):
    """conf/model/features/{size,colour,file_size}.yaml: `columns` of `auditing.confounds.SINGLE`."""

    kind: Literal["measures"]
    image_size: ImageSize
    log_mode: LogMode
    columns: Literal["size", "colour", "sharpness", "file_size"]


class BorderFeatures(Node):
    """conf/model/features/border.yaml."""

    kind: Literal["border"]
    image_size: ImageSize
    log_mode: LogMode
    width: Annotated[float, Field(gt=0.0, le=0.25)]


class NetFeatures(Node):
    """conf/model/features/<net>.yaml: the activations before the net's last layer."""

    kind: Literal["net"]
    image_size: ImageSize
    log_mode: LogMode
    net: Target
    weights: Target | None


FeaturesNode = Annotated[
    PixelFeatures | MorphologyFeatures | MeasureFeatures | BorderFeatures | NetFeatures,
    Field(discriminator="kind"),
]


class ClassifierNode(Node):
    """conf/model/classifier/*.yaml; `estimator` names a scikit-learn class."""

    estimator: Target
    scale: bool
    pca: Count | None
    grid: dict[str, list[Any]] | None
    cv_folds: Annotated[int, Field(ge=2)]
    accelerate: Auto | bool

    @property
    def search_grid(self) -> dict[str, list[Any]]:
        """The grid, empty where there is none."""
        return {} if self.grid is None else self.grid

    @property
    def searches(self) -> bool:
        """Whether the grid leaves a choice."""
        return any(len(values) > 1 for values in self.search_grid.values())


class ClassicalModel(ModelNode):
    """conf/model/*.yaml of a classical baseline: features, then a scikit-learn classifier."""

    features: FeaturesNode
    classifier: ClassifierNode

    @property
    def net_node(self) -> Target | None:
        """The net that its features come from."""
        return self.features.net if isinstance(self.features, NetFeatures) else None

    @property
    def weights_node(self) -> Target | None:
        """The ImageNet weights of that net."""
        return self.features.weights if isinstance(self.features, NetFeatures) else None


def _model_kind(values: Any) -> str:
    is_classical = "classifier" in values if isinstance(values, dict) else isinstance(values, ClassicalModel)
    return "classical" if is_classical else "net"


Model = Annotated[
    Annotated[NetModel, Tag("net")] | Annotated[ClassicalModel, Tag("classical")], Discriminator(_model_kind)
]
