"""Sweeps: what Hydra alone would not do."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from small_runs import DATA, DONE

from leukemia_lab import train


def test_a_key_of_a_swept_choice_can_be_fixed(tmp_path: Path) -> None:
    """`model.classifier` exists in the swept models only, not in the default one that Hydra composes first."""
    fixed = ["model.classifier.cv_folds=2", "model.classifier.grid={}", "data.root=null"]
    assert train.main(["-m", "model=knn,rf", *fixed, *DATA, f"hydra.sweep.dir={tmp_path}"]) == DONE
    table = pd.read_csv(tmp_path / "table.csv")
    assert sorted(table["model"]) == ["knn", "rf"]
    assert set(table["status"]) == {"finished"}
    assert all("model.classifier.cv_folds=2" in overrides for overrides in table["overrides"])
