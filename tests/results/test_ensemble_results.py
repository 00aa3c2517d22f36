"""The ensemble of finished runs as a result: of one split, and of cross-validations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from run_folders import EVALUATION, cells, make_run
from sklearn.metrics import f1_score, roc_auc_score

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation.calibration import fit_calibration
from leukemia_lab.evaluation.predictions import read_predictions, write_predictions
from leukemia_lab.results.collect import read_run
from leukemia_lab.results.ensembles import ensemble_identity, ensemble_result

CLASSES = ("ALL", "HEM")
LOGITS = [f"logit_{name}" for name in CLASSES]
PROBS = [f"prob_{name}" for name in CLASSES]


def calibrated(folder: Path, part: str) -> pd.DataFrame:
    """The probabilities of a run for `part`, by cell id, at the temperature of its own validation cells."""
    table = read_predictions(folder / "predictions.parquet").set_index("cell_id")
    validation, asked = (table[table["part"] == name] for name in ("val", part))
    truth = validation["label"].map(CLASSES.index).to_numpy()
    probs = fit_calibration("temperature", validation[LOGITS].to_numpy(), truth).probs(
        asked[LOGITS].to_numpy()
    )
    return pd.DataFrame(probs, asked.index, CLASSES)


@pytest.mark.parametrize("part", ["val", "test"])
def test_metrics_and_table_are_of_the_mean_calibrated_probabilities(tmp_path: Path, part: str) -> None:
    folders = [
        make_run(tmp_path / f"seed_{seed}", seed=seed, quality=1 + seed / 5, stamps=["SYNTHETIC"])
        for seed in range(3)
    ]
    found = ensemble_result(folders, part, EVALUATION)
    mean = sum(calibrated(folder, part) for folder in folders) / 3
    np.testing.assert_allclose(found.table[PROBS], mean.loc[found.table["cell_id"]], atol=1e-9)
    positive = found.table["label"] == "ALL"
    decided = np.where(found.table["prob_ALL"] > 0.5, "ALL", "HEM")
    assert found.metrics["auroc"]["value"] == pytest.approx(roc_auc_score(positive, found.table["prob_ALL"]))
    assert found.metrics["weighted_f1"]["value"] == pytest.approx(
        f1_score(found.table["label"], decided, average="weighted")
    )
    assert found.metrics["auroc"]["low"] < found.metrics["auroc"]["value"] < found.metrics["auroc"]["high"]
    assert found.stamps == ("SYNTHETIC",)
    assert set(found.table["part"]) == {part}
    assert set(found.table["run_id"]) == {ensemble_identity(found.members)}
    assert ensemble_identity(found.members) == ensemble_identity(found.members[::-1])


def cross_validation(folder: Path, quality: float) -> Path:
    """Two folds of which each tests what the other validates on, as `evaluate` leaves them."""
    split = cells()
    splits = [split, split.assign(part=split["part"].replace({"val": "test", "test": "val"}))]
    folds = [
        make_run(folder / f"fold_{k}", split=own, quality=quality, seed=k, bias=float(k))
        for k, own in enumerate(splits)
    ]
    tables = [read_predictions(fold / "predictions.parquet") for fold in folds]
    listed = [
        {"fold": k, "run": f"fold_{k}", "split_hash": read_run(fold).split_hash}
        for k, fold in enumerate(folds)
    ]
    make_run(folder / "whole", quality=quality, seed=9, kind="cross_validation", folds=listed)
    for file in (folder / "whole").iterdir():
        file.rename(folder / file.name)
    tested = [table[table["part"] == "test"] for table in tables]
    (folder / "predictions.parquet").unlink()  # make_run's own
    write_predictions(pd.concat(tested, ignore_index=True), folder / "predictions.parquet")
    return folder


def test_of_cross_validations_each_fold_is_calibrated_by_its_own_cells(tmp_path: Path) -> None:
    folders = [cross_validation(tmp_path / name, quality) for name, quality in (("a", 1.0), ("b", 2.0))]
    found = ensemble_result(folders, "test", EVALUATION)
    of_each = [pd.concat([calibrated(folder / f"fold_{k}", "test") for k in range(2)]) for folder in folders]
    mean = sum(of_each) / 2
    assert len(found.table) == len(mean)
    np.testing.assert_allclose(found.table[PROBS], mean.loc[found.table["cell_id"]], atol=1e-9)
    with pytest.raises(RunError, match="more than once"):
        ensemble_result(folders, "val", EVALUATION)


def test_what_is_no_ensemble_is_refused(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a")
    closed = make_run(tmp_path / "closed", quality=1.1, tested=False)
    elsewhere = make_run(tmp_path / "elsewhere", quality=1.2, split=cells(seed=5))
    cut_off = make_run(tmp_path / "cut_off", quality=1.3, status="running")
    for folders, said in (
        ([a], "two or more"),
        ([a, a], "not all different"),
        ([a, closed], "no cell of part test"),
        ([a, elsewhere], "different splits"),
        ([a, cut_off], "cut_off: running, not finished: repeat its train command"),
        ([a, tmp_path / "nowhere"], "nowhere: no such folder"),
    ):
        with pytest.raises(RunError, match=said):
            ensemble_result(folders, "test", EVALUATION)
