"""The node that says how numbers are made of predictions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from leukemia_lab.schema.fields import Node, Share


class Evaluation(Node):
    """conf/evaluation/*.yaml."""

    level: Share
    interval: Literal["jackknife", "bootstrap"]
    calibration: Literal["temperature", "vector", "isotonic", "none"]
    min_sensitivity: Annotated[float, Field(gt=0.0, le=1.0)] | None

    @property
    def operating_rule(self) -> str:
        """The rule that chooses the operating point, as `choose_threshold` takes it."""
        if self.min_sensitivity is None:
            return "balanced_accuracy"
        return f"min_sensitivity={self.min_sensitivity!r}"
