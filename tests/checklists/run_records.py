"""The files of a run as a checklist is given them, and what it answers."""

from __future__ import annotations

from typing import Any

from leukemia_lab.checklists.checklist import Item, checklist
from leukemia_lab.checklists.facts import RunFiles, facts_of


def part(value: float) -> dict[str, Any]:
    sizes = {"n_cells": 321, "n_groups": 21}
    names = (
        "accuracy",
        "auroc",
        "balanced_accuracy",
        "sensitivity",
        "specificity",
        "weighted_f1",
        "ece",
        "brier",
    )
    return {name: {"value": value, "low": value - 0.1, "high": value + 0.05, **sizes} for name in names}


def files(**changes: Any) -> RunFiles:
    """A finished, evaluated neural net with every kind of result; `changes` replace values at keys like `record__x`."""
    by_class = {"ALL": {"n_cells": 221}, "HEM": {"n_cells": 100}}
    subjects = {"20": {"n_cells": 9, "accuracy": 0.25}, "H3": {"n_cells": 36, "accuracy": 0.75}}
    whole = {
        "record": {
            "identity": "0123456789ab",
            "model": "vgg13",
            "status": "finished",
            "class_names": ["ALL", "HEM"],
            "positive": "ALL",
            "stamps": [],
            "data_fingerprint": "f1ngerpr1nt",
            "split_hash": "5p11t",
            "protocol": {"name": "subject_holdout", "val_share": 0.2, "seed": 7},
            "config_hash": "c0nf16",
            "commit": "abcdef0",
            "versions": {"leukemia_lab": "0.1.0", "torch": "2.14.1"},
            "hardware": {"processor": "a processor", "device": "a GPU"},
            "best_epoch": 3,
            "epochs": 9,
            "seconds": 61.0,
            "test_looks": 1,
        },
        "config": {
            "seed": 0,
            "data": {"name": "cnmc", "bad_files": "error"},
            "protocol": {"twins": "merge"},
            "model": {"name": "vgg13", "net": {"_target_": "nets.vgg13", "dropout": 0.5}},
            "augment": {"name": "dihedral"},
            "balance": {"name": "focal", "oversample": False, "class_weight": True, "focal_gamma": 2.0},
            "optim": {"lr": 0.0123, "optimizer": {"_target_": "torch.optim.SGD"}},
            "trainer": {"batch_size": 32, "monitor": "val/loss", "max_epochs": 50, "precision": "32-true"},
            "pipeline": {
                "image_size": 128,
                "log": {"mode": "replace", "sigma_px": 1.5},
                "normalise": "train",
            },
        },
        "metrics": {
            "train": part(0.9),
            "val": part(0.8),
            "test": part(0.7),
            "stamps": [],
            "per_class": {"test": by_class},
            "per_subject": {"test": subjects},
            "intervals": {"method": "jackknife", "level": 0.95, "unit": "group"},
            "calibration": {
                "method": "temperature",
                "fitted_on": "val",
                "test": {"before": {"ece": 0.21}, "after": {"ece": 0.04}},
            },
            "operating_point": {"rule": "balanced_accuracy", "chosen_on": "val", "threshold": 0.43},
        },
    }
    for key, value in changes.items():
        node, _, name = key.partition("__")
        whole[node][name] = value
    return whole  # type: ignore[return-value]


def item(number: str, *runs: RunFiles) -> Item:
    (found,) = [found for found in checklist(facts_of(runs)) if found.id == number]
    return found


def answer(number: str, *runs: RunFiles) -> str:
    return " / ".join(item(number, *runs).facts)
