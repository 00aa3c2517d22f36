"""A sweep trained, chosen from and evaluated through the real entry points, runs and cross-validations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from small_runs import DATA, DONE, NET, record_of

from leukemia_lab import evaluate, report, train
from leukemia_lab.choosing import choose_run
from leukemia_lab.results.collect import read_run
from leukemia_lab.runs import record

FAST = ("model.classifier.cv_folds=2", "model.classifier.grid={}")


def runs_of(sweep: Path) -> list[Path]:
    return sorted(path.parent for path in sweep.glob(f"*/{record.RECORD}"))


@pytest.mark.slow
def test_nets_and_baselines_are_chosen_from_and_the_winner_evaluated_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    place = f"hydra.sweep.dir={sweep}"
    assert train.main(["-m", "model=simple_cnn", "optim.lr=1e-3,1e-4", *DATA, *NET, place]) == DONE
    assert train.main(["-m", "model=knn,rf", *FAST, *DATA, place]) == DONE
    runs = runs_of(sweep)
    weights = {record_of(run)["model"]: record_of(run)["n_weights"] for run in runs}
    assert all(isinstance(n, int) and n > 0 for n in weights.values())
    objectives = {run: read_run(run).metrics["objective"] for run in runs}
    for run in runs:  # the objective is what is drawn again
        val = read_run(run).predicted("val")
        assert roc_auc_score(val["label"] == "ALL", val["prob_ALL"]) == pytest.approx(objectives[run])

    assert evaluate.main([f"sweep={sweep}"]) == DONE
    assert evaluate.main([f"sweep={sweep}", "data_root=/no/longer/there"]) == DONE  # opens nothing
    winner = choose_run(sweep, "best").run.path
    assert objectives[winner] == max(objectives.values())
    assert {run: record_of(run)["test_looks"] for run in runs} == {run: int(run == winner) for run in runs}
    assert record_of(winner)["sweep_choice"]["n_configurations"] == 4

    capsys.readouterr()
    assert report.main([f"runs={sweep}", f"output={tmp_path / 'report'}"]) == DONE
    said = f"{winner.name} was chosen from 4 configurations by val/auroc"
    assert said in " ".join(capsys.readouterr().out.split())
    assert said in (tmp_path / "report" / "report.html").read_text()


@pytest.mark.slow
def test_cross_validations_are_chosen_from_by_the_mean_of_their_folds(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    folds = ("protocol=subject_kfold", "protocol.n_folds=3", "protocol.fold=all", "data.n_subjects=18")
    data = [word for word in DATA if not word.startswith("data.n_subjects")]
    words = ["-m", "model=knn", "seed=1,2", "model.features.size=4,8", *FAST, *data, *folds]
    assert train.main([*words, f"hydra.sweep.dir={sweep}"]) == DONE
    choice = choose_run(sweep, "one_standard_error" if choose_run(sweep, "best").standard_error else "best")
    about = choice.document()
    aurocs = [
        json.loads((choice.run.path / f"fold_{k}" / record.METRICS).read_text())["objective"]
        for k in range(3)
    ]
    assert about["objective"] == pytest.approx(np.mean(aurocs))
    assert evaluate.main([f"sweep={sweep}"]) == DONE
    winner = choose_run(sweep, "best").run
    assert winner.record["test_looks"] == 1
    assert winner.record["sweep_choice"]["n_finished"] == len(runs_of(sweep))
