"""A net of a few hundred weights and forty drawn cells, for tests of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leukemia_lab.data.datamodule import CellDataModule
from leukemia_lab.estimators.fit import FitResult, fit
from leukemia_lab.estimators.neural import CellClassifier
from leukemia_lab.runs.tensorboard import run_logger

LOG: dict[str, Any] = {
    "mode": "append",
    "stencil": "kornia",
    "sigma_px": 1.0,
    "gaussian_size": None,
    "laplacian_size": 3,
    "strength": 1.0,
}
NET = {"_target_": "leukemia_lab.nets.small.simple_cnn", "width": 4, "dropout": 0.2}
OPTIM: dict[str, Any] = {
    "lr": 1e-3,
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup_epochs": 1,
    "label_smoothing": 0.0,
    "stage_decay": 1.0,
    "ema_decay": None,
    "optimizer": {"_target_": "torch.optim.AdamW", "betas": [0.9, 0.999]},
}


def a_model(seed: int = 0, **changes: Any) -> CellClassifier:
    torch.manual_seed(seed)
    arguments: dict[str, Any] = {
        "net": NET,
        "class_names": ["ALL", "HEM"],
        "positive": "ALL",
        "image_size": 32,
        "log": LOG,
        "augment": {"_target_": "leukemia_lab.ops.augment.Dihedral"},
        "mean": None,
        "std": None,
        "freeze": "none",
        "thaw_every": None,
        "class_weights": None,
        "focal_gamma": None,
        "optim": OPTIM,
        "seed": seed,
    }
    return CellClassifier(**(arguments | changes))


def some_data(n_cells: int = 40, batch_size: int = 8, size: int = 32, **changes: Any) -> CellDataModule:
    rng = np.random.default_rng(1)
    labels = np.arange(n_cells) % 2
    images = rng.integers(0, 120, (n_cells, size, size, 3), dtype=np.uint8)
    images[labels == 1] += 60
    rows = np.arange(n_cells)
    arguments: dict[str, Any] = {
        "batch_size": batch_size,
        "seed": 0,
        "num_workers": 0,
        "device": torch.device("cpu"),
        "resident": False,
        "oversample": False,
        "host_policy": None,
    }
    parts = {"train": rows[: n_cells // 2], "val": rows[n_cells // 2 :]}
    return CellDataModule(images, labels, parts, **(arguments | changes))


def fitted(folder: Path, model: CellClassifier, data: CellDataModule, **changes: Any) -> dict[str, Tensor]:
    arguments: dict[str, Any] = {
        "max_epochs": 3,
        "monitor": "val/auroc",
        "patience": None,
        "precision": "32-true",
        "deterministic": True,
        "gradient_clip_norm": 1.0,
    }
    fit(model, data, checkpoints=folder / "checkpoints", logger=run_logger(folder), **(arguments | changes))
    return {name: value.clone() for name, value in model.state_dict().items()}


def a_fit(
    folder: Path, max_epochs: int, patience: int | None = None, monitor: str = "val/auroc", **changes: Any
) -> FitResult:
    return fit(
        a_model(**changes),
        some_data(),
        checkpoints=folder / "checkpoints",
        logger=run_logger(folder),
        max_epochs=max_epochs,
        monitor=monitor,
        patience=patience,
        precision="32-true",
        deterministic=True,
        gradient_clip_norm=1.0,
    )


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
