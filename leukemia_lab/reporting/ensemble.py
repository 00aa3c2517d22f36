"""An ensemble as one more run of a report: the members' mean calibrated probabilities, never trained, never saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.document import metrics_document
from leukemia_lab.results.comparable import joined_stamps
from leukemia_lab.results.ensembles import averaged, ensemble_identity
from leukemia_lab.results.run_result import RunResult
from leukemia_lab.schema.evaluation import Evaluation

OBJECTIVE = "val/auroc"
OF_DATA = ("data", "protocol", "permute_labels")  # keys of the configuration
SHARED = ("class_names", "positive", "data_fingerprint", "data_root", "split_hash", "protocol")


@dataclass(frozen=True)
class Ensemble(RunResult):
    """A run whose predictions are in `table` instead of a file."""

    table: pd.DataFrame
    members: tuple[RunResult, ...]

    @property
    def predictions(self) -> pd.DataFrame:
        """The mean probabilities."""
        return self.table

    @property
    def split(self) -> pd.DataFrame | None:
        """The split of its members."""
        return self.members[0].split

    @property
    def history(self) -> pd.DataFrame | None:
        """None: it has no epochs."""
        return None


def ensemble(members: Sequence[RunResult], evaluation: Evaluation) -> Ensemble:
    """The ensemble of two or more runs on one split, on validation cells, and on test cells where all opened them.

    Raises:
        RunError: there are fewer members, they are cross-validations, or differ in split, data or classes.
    """
    for run in members:
        if run.is_cross_validation:
            raise RunError(f"ensemble: {run.path} is a cross-validation; name runs of one split")
    parts = ["val", *(["test"] if all("test" in run.predicted_parts for run in members) else [])]
    table = pd.concat([averaged(members, part) for part in parts], ignore_index=True)
    first, identity, stamps = members[0], ensemble_identity(members), joined_stamps(members)
    record: dict[str, Any] = {key: first.record.get(key) for key in SHARED}
    record |= {
        "identity": identity,
        "status": "finished",
        "model": "ensemble",
        "ensemble": [str(run.path) for run in members],
        "stamps": stamps,
        "test_looks": max(run.record.get("test_looks", 0) for run in members),
    }
    metrics = metrics_document(table, first.class_names, first.positive, stamps, OBJECTIVE, evaluation)
    name = f"ensemble of {len(members)}"
    config = {key: first.config[key] for key in OF_DATA if key in first.config}
    return Ensemble(name, first.path.parent / identity, record, metrics, config, table, tuple(members))
