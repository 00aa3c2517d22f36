"""What is chosen on validation cells and applied unchanged to others: the calibration and the operating point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from leukemia_lab.evaluation.calibration import Calibration, fit_calibration
from leukemia_lab.evaluation.metrics import Floats, positive_index, truth_and_probs
from leukemia_lab.evaluation.operating_point import OperatingPoint, choose_threshold, move_threshold
from leukemia_lab.evaluation.reliability import calibration_scores
from leukemia_lab.schema.evaluation import Evaluation

CHOSEN_ON = "val"


@dataclass(frozen=True)
class Tuning:
    """A calibration, and an operating point where there is a positive class."""

    class_names: tuple[str, ...]
    positive: str | None
    calibration: Calibration
    point: OperatingPoint | None

    def calibrated(self, table: pd.DataFrame) -> pd.DataFrame:
        """A predictions table with calibrated probabilities."""
        logits = table[[f"logit_{name}" for name in self.class_names]].to_numpy(dtype=np.float64)
        return self._with_probs(table, self.calibration.probs(logits))

    def decided(self, table: pd.DataFrame) -> pd.DataFrame:
        """A predictions table with probabilities moved so that the operating point decides; good for rates alone."""
        positive = positive_index(self.class_names, self.positive)
        if self.point is None or positive is None:
            return table
        _, probs = truth_and_probs(table, self.class_names)
        return self._with_probs(table, move_threshold(probs, positive, self.point.threshold))

    def _with_probs(self, table: pd.DataFrame, probs: Floats) -> pd.DataFrame:
        return table.assign(**{f"prob_{name}": probs[:, k] for k, name in enumerate(self.class_names)})


def tune(
    validation: pd.DataFrame, class_names: Sequence[str], positive: str | None, evaluation: Evaluation
) -> Tuning:
    """Choose both on the rows of a predictions table of the validation part, every cell weighing the same."""
    truth, probs = truth_and_probs(validation, class_names)
    logits = validation[[f"logit_{name}" for name in class_names]].to_numpy(dtype=np.float64)
    at = positive_index(class_names, positive)
    point = None if at is None else choose_threshold(truth == at, probs[:, at], evaluation.operating_rule)
    calibration = fit_calibration(evaluation.calibration, logits, truth)
    return Tuning(tuple(class_names), positive, calibration, point)


def before_and_after(
    raw: pd.DataFrame, calibrated: pd.DataFrame, class_names: Sequence[str], positive: str | None
) -> dict[str, Any]:
    """`calibration_scores` of the same cells before and after calibration."""
    at = positive_index(class_names, positive)
    return {
        name: calibration_scores(*truth_and_probs(table, class_names), at)
        for name, table in (("before", raw), ("after", calibrated))
    }


def described(tunings: Sequence[Tuning]) -> dict[str, dict[str, Any]]:
    """What was chosen, as JSON: `calibration`, and `operating_point` where there is a positive class.

    Of several folds, each of which chose for itself, `per_fold` lists them.
    """
    calibrations = [{**tuning.calibration.describe(), "fitted_on": CHOSEN_ON} for tuning in tunings]
    found = {"calibration": _one_or_all(calibrations)}
    points = [tuning.point for tuning in tunings if tuning.point is not None]
    if points:
        found["operating_point"] = _one_or_all(
            [{**point.describe(), "chosen_on": CHOSEN_ON} for point in points]
        )
    return found


def _one_or_all(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return dict(each[0]) if len(each) == 1 else {"per_fold": [dict(one) for one in each]}
