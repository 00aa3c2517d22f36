"""Overrides of a small cross-validation of a classical model, and the folders of its folds."""

from __future__ import annotations

from pathlib import Path

from small_runs import MORE_DATA

KNN = (*MORE_DATA, "model=knn", "model.features.size=8", "model.classifier.grid.n_neighbors=[5]")
FOLDS = (*KNN, "protocol=subject_kfold", "protocol.fold=all")
N_FOLDS = 5


def folds_of(folder: Path) -> list[Path]:
    return [folder / f"fold_{k}" for k in range(N_FOLDS)]
