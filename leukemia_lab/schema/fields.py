"""What the values of a configuration may be, and the node that all others are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError(f"{size} is even; a kernel has a centre: use {size - 1} or {size + 1}")
    return size


def _not_empty(path: object) -> object:
    if path == "":
        raise ValueError("empty: give a path, or null for none")
    return path


Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]


def _as_list(paths: object) -> object:
    return [] if paths is None else (paths if isinstance(paths, list) else [paths])


GivenPath = Annotated[Path, BeforeValidator(_not_empty), AfterValidator(Path.expanduser)]
Paths = Annotated[list[GivenPath], BeforeValidator(_as_list)]  # one path, a list of them, or null for none
Seed = Annotated[int, Field(ge=0, lt=2**32)]
OddSize = Annotated[int, Field(ge=3, le=255), AfterValidator(_odd)]
Auto = Literal["auto"]
LogMode = Literal["none", "replace", "append", "sharpen"]
ImageSize = Annotated[int, Field(ge=16, le=1024)]
Metric = Literal[
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "precision",
    "f1",
    "weighted_f1",
    "auroc",
    "auprc",
    "mcc",
    "ece",
    "brier",
]
BadFiles = Literal["error", "skip"]
Target = dict[str, Any]  # a `_target_` node; leukemia_lab.config checks its arguments


class Node(BaseModel):
    """A config node: frozen, no unknown keys, no silent conversions ("3" is no number, 1 no truth value)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
