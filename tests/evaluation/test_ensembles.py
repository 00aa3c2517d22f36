"""Ensembles: calibration undone before averaging, each model on its own validation cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from paired_models import flattened, tables
from scipy.special import softmax

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.ensembles import Member, by_temperature, ensemble_table
from leukemia_lab.evaluation.outcomes import Outcomes

NAMES = ("ALL", "HEM")
PROBS = ["prob_ALL", "prob_HEM"]


def drawn(seed: int) -> list[Member]:
    rng = np.random.default_rng(seed)
    validation, tested = tables(rng, [1.5, 1.0], cells=(40, 40)), tables(rng, [1.5, 1.0])
    return [Member(f"m{k}", validation[k], tested[k]) for k in range(2)]


def test_the_mean_of_calibrated_probabilities() -> None:
    def halved(logits: np.ndarray, truth: np.ndarray):  # type: ignore[no-untyped-def]
        return lambda new: softmax(new / 2, axis=1)

    members = drawn(0)
    table = ensemble_table(members, NAMES, "both", halved)
    logits = [member.predictions[["logit_ALL", "logit_HEM"]].to_numpy() for member in members]
    expected = (softmax(logits[0] / 2, axis=1) + softmax(logits[1] / 2, axis=1)) / 2
    np.testing.assert_allclose(table[PROBS], expected, atol=1e-12)
    assert set(table["run_id"]) == {"both"}
    assert Outcomes.of(table, NAMES, "ALL").n_groups == 11


def test_an_overconfident_member_counts_no_more_than_it_should() -> None:
    first, second = drawn(1)
    loud = Member("loud", flattened(second.validation, 0.1), flattened(second.predictions, 0.1))
    quiet, shouted = (ensemble_table([first, other], NAMES, "e") for other in (second, loud))
    np.testing.assert_allclose(quiet[PROBS], shouted[PROBS], atol=1e-4)


def test_each_model_of_a_pooled_table_is_calibrated_on_its_own_cells() -> None:
    first, second = drawn(2)
    half = np.arange(len(first.predictions)) % 2 == 0
    pooled = pd.concat([first.predictions[half], second.predictions[~half]], ignore_index=True)
    validation = pd.concat([first.validation, flattened(second.validation, 5)], ignore_index=True)
    mixed = Member("mixed", validation, pooled)
    table = ensemble_table([mixed, mixed], NAMES, "e")
    calibrate = by_temperature(
        flattened(second.validation, 5)[["logit_ALL", "logit_HEM"]].to_numpy(),
        (second.validation["label"] == "HEM").to_numpy().astype(np.int64),
    )
    expected = calibrate(second.predictions.loc[~half, ["logit_ALL", "logit_HEM"]].to_numpy())
    np.testing.assert_allclose(table.loc[~half, PROBS], expected, atol=1e-9)


def test_other_cells_or_a_single_member_are_refused() -> None:
    first, second = drawn(3)
    with pytest.raises(RunError, match="other cells"):
        ensemble_table([first, second._replace(predictions=second.predictions.iloc[1:])], NAMES, "e")
    with pytest.raises(RunError, match="two or more"):
        ensemble_table([first], NAMES, "e")
    with pytest.raises(RunError, match="no predictions of the validation part"):
        ensemble_table([first, second._replace(validation=first.validation)], NAMES, "e")
