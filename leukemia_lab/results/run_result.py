"""One finished run as it lies in its folder: what is small at once, the tables when they are asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.metrics import PARTS
from leukemia_lab.evaluation.predictions import read_predictions
from leukemia_lab.evaluation.uncertainty import LEVEL
from leukemia_lab.hashing import content_hash
from leukemia_lab.runs import record
from leukemia_lab.runs.record import CROSS_VALIDATION, EXPLAINED, EXPLAINED_CELLS, HISTORY, PREDICTIONS, SPLIT
from leukemia_lab.schema import TrainSettings


@dataclass(frozen=True)
class RunResult:
    """A finished run: `record.json`, `metrics.json` and `config.yaml` as mappings, the rest read on demand.

    `name` is unique in a report: the folder's name, or its path where two have the same.
    """

    name: str
    path: Path
    record: Mapping[str, Any]
    metrics: Mapping[str, Any]
    config: Mapping[str, Any]

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.record["model"])

    @property
    def protocol(self) -> str:
        """The name of the protocol that split the cells."""
        return str(self.settings.get("protocol.name", "unknown"))

    @property
    def stamps(self) -> tuple[str, ...]:
        """The stamps of its results."""
        return tuple(self.metrics["stamps"])

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that it has metrics of."""
        return tuple(part for part in PARTS if part in self.metrics)

    @property
    def level(self) -> float:
        """The level of its intervals: 0.95, or what it was evaluated with."""
        return float(self.metrics.get("intervals", {}).get("level", LEVEL))

    @property
    def is_ensemble(self) -> bool:
        """Whether it is the mean of other runs, made for a report."""
        return "ensemble" in self.record

    @property
    def is_cross_validation(self) -> bool:
        """Whether it is one run a fold, pooled."""
        return self.record.get("kind") == CROSS_VALIDATION

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes."""
        return tuple(self.record["class_names"])

    @property
    def positive(self) -> str | None:
        """The positive class."""
        positive: str | None = self.record["positive"]
        return positive

    @property
    def split_hashes(self) -> tuple[str, ...]:
        """The hash of its split, or those of its folds."""
        if self.is_cross_validation:
            return tuple(str(fold["split_hash"]) for fold in self.record["folds"])
        return (str(self.record.get("split_hash", "unknown")),)

    @cached_property
    def split_hash(self) -> str:
        """The hash of its split; of a cross-validation the hash of its folds' hashes."""
        hashes = self.split_hashes
        return content_hash({"folds": list(hashes)}) if self.is_cross_validation else hashes[0]

    @property
    def data_fingerprint(self) -> str:
        """The fingerprint of the data that it saw."""
        return str(self.record["data_fingerprint"])

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Its configuration by dotted keys: `optim.lr`."""
        return record.flat(self.config)

    @property
    def seed(self) -> int | None:
        """The seed of training."""
        return self.settings.get("seed")

    @cached_property
    def train_settings(self) -> TrainSettings | None:
        """The settings it was trained with; None where config.yaml was changed, or made by another version."""
        try:
            return TrainSettings.model_validate_json(json.dumps(self.config))
        except ValueError:
            return None

    @property
    def overrides(self) -> tuple[str, ...] | None:
        """What its command named; None where the record does not say."""
        found = self.record.get("overrides")
        return None if found is None else tuple(map(str, found))

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Its predictions table; of a cross-validation the pooled one. RunError where it cannot be read."""
        return read_predictions(self.path / PREDICTIONS)

    def predicted(self, part: str) -> pd.DataFrame:
        """The predictions of one part; of a cross-validation those of val are each fold's own model's, run by run.

        RunError where there are none.
        """
        if self.is_cross_validation and part == "val":
            folds = [read_predictions(self.path / fold["run"] / PREDICTIONS) for fold in self.record["folds"]]
            table = pd.concat(folds, ignore_index=True)
        else:
            table = self.predictions
        rows = table[table["part"] == part].reset_index(drop=True)
        if rows.empty:
            raise RunError(f"{self.path}: its predictions have no cell of part {part}")
        return rows

    @cached_property
    def predicted_parts(self) -> tuple[str, ...]:
        """The parts whose cells are predicted once; of a cross-validation none before `evaluate`."""
        if self.is_cross_validation and not (self.path / PREDICTIONS).exists():
            return ()
        return tuple(map(str, self.predictions["part"].unique()))

    @cached_property
    def split(self) -> pd.DataFrame | None:
        """Its split table; None for a cross-validation, RunError where it cannot be read."""
        return None if self.is_cross_validation else _read(pd.read_parquet, self.path / SPLIT)

    @cached_property
    def history(self) -> pd.DataFrame | None:
        """One row an epoch; None where the model has no epochs. RunError where it cannot be read."""
        path = self.path / HISTORY
        return _read(pd.read_csv, path) if path.exists() else None

    def subject_rows(self, part: str) -> list[dict[str, Any]]:
        """What it says of each subject of a part, names that share cells as one: rows of `subjects.subject_rows`.

        Of a run of an earlier version each name by itself, with None for what was not looked at.
        """
        if part in self.metrics.get("subjects", {}):
            return list(self.metrics["subjects"][part]["rows"])
        by_name = self.metrics.get("per_subject", {}).get(part, {})
        unknown = dict.fromkeys(("positive_fraction", "mean_logit", "decided"))
        return [
            {
                "subject": name,
                "group": name,
                "label": ", ".join(row["labels"]),
                "n_cells": row["n_cells"],
                "accuracy": row["accuracy"],
                **unknown,
            }
            for name, row in by_name.items()
        ]

    def explained(self, part: str) -> Mapping[str, Any] | None:
        """`explained/<part>/cells.json`; None where there is none. RunError where it cannot be read."""
        path = self.path / EXPLAINED / part / EXPLAINED_CELLS
        return record.read_json(path) if path.exists() else None


def _read(reader: Any, path: Path) -> pd.DataFrame:
    try:
        table: pd.DataFrame = reader(path)
    except Exception as error:  # each reader has many errors of its own
        raise RunError(f"{path.name} cannot be read ({error})") from error
    return table
