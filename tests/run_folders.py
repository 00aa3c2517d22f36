"""Run folders made in milliseconds: random predictions of planted quality, with all files that a run leaves."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image
from small_runs import composed

from leukemia_lab.evaluation.document import metrics_document
from leukemia_lab.evaluation.predictions import predictions_table, write_predictions
from leukemia_lab.experiment import resolve_auto
from leukemia_lab.hashing import content_hash
from leukemia_lab.schema.evaluation import Evaluation

EVALUATION = Evaluation(level=0.95, interval="jackknife", calibration="temperature", min_sensitivity=None)
MODELS = ("simple_cnn", "alexnet")  # of a sweep
SIZES = {"train": 6, "val": 5, "test": 5}  # subjects of each class


def cells(n_cells: int = 6, classes: Sequence[str] = ("ALL", "HEM"), seed: int = 0) -> pd.DataFrame:
    """A split table of SIZES subjects a class, each with about `n_cells` cells; two names of train are twins."""
    rng = np.random.default_rng(seed)
    rows = []
    for part, n_subjects in SIZES.items():
        for k, label in enumerate(classes):
            for at in range(n_subjects):
                subject = f"{part[:2].upper()}{label[0]}{at}"
                group = f"{part[:2].upper()}{label[0]}0" if part == "train" and at == 1 else subject
                for cell in range(int(rng.integers(max(1, n_cells - 2), n_cells + 3))):
                    name = f"fold_{k}/{label.lower()}/UID_{subject}_{cell}.bmp"
                    rows.append((name, subject, group, label, part, None))
    return pd.DataFrame(rows, columns=["cell_id", "subject", "group", "label", "part", "fold"])


def make_run(
    folder: Path,
    *,
    model: str = "simple_cnn",
    quality: float = 1.5,
    seed: int = 0,
    lr: float = 1e-3,
    stamps: Sequence[str] = (),
    tested: bool = True,
    split: pd.DataFrame | None = None,
    fingerprint: str = "f1",
    intervals: bool = True,
    explained: int | None = None,
    bias: float = 0.0,
    level: float = 0.95,
    **record: Any,
) -> Path:
    """Write a finished run to `folder`; `quality` is by how many SDs its logits part the classes.

    `explained` gives how many errors of each part come with pictures, `bias` what is added to the logits of the first
    class, `level` that of the intervals. More keys go to the record.
    """
    folder.mkdir(parents=True)
    split = cells() if split is None else split
    classes = tuple(sorted(set(split["label"])))
    config = settings(model) | {"seed": seed}
    config["optim"] = config["optim"] | {"lr": lr}
    identity = content_hash(
        {"config": config, "split": split.to_csv(), "data": fingerprint, "of": (quality, bias)}
    )
    used = split if tested else split[split["part"] != "test"]
    rng = np.random.default_rng([seed, int(1000 * quality)])
    truth = np.array([classes.index(label) for label in used["label"]])
    logits = rng.normal(size=(len(used), len(classes)))
    logits[np.arange(len(used)), truth] += quality
    logits[:, 0] += bias
    table = predictions_table(used, logits, classes, identity)
    write_predictions(table, folder / "predictions.parquet")
    split.to_parquet(folder / "split.parquet")
    positive = "ALL" if len(classes) == 2 else None
    document = metrics_document(
        table, classes, positive, stamps, "val/auroc", EVALUATION.model_copy(update={"level": level})
    )
    if not intervals:
        _drop_intervals(document)
    (folder / "metrics.json").write_text(json.dumps(document))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    about = {
        "format": 1,
        "identity": identity,
        "status": "finished",
        "model": model,
        "class_names": list(classes),
        "positive": positive,
        "stamps": list(stamps),
        "split_hash": content_hash({"split": split.to_csv()}) * 5,
        "data_fingerprint": fingerprint * 32,
        "config_hash": "c0ffee",
        "overrides": [f"model={model}", f"seed={seed}", f"optim.lr={lr}", "force=true"],
        "protocol": config["protocol"],
        "versions": {"python": "3.11.7", "torch": "2.14.1"},
        "hardware": {"processor": "two cores", "device": "cpu"},
        "commit": "0" * 40,
        "seconds": 12.5,
        "epochs": 4,
        "best_epoch": 3,
        "images_per_second": 321.0,
        "peak_device_memory_bytes": None,
        "test_looks": int(tested),
    }
    (folder / "record.json").write_text(json.dumps(about | record))
    if "net" in config["model"]:
        history(quality).to_csv(folder / "history.csv", index=False)
    for part in ("val", "test") if explained is not None else ():
        _explain(folder / "explained" / part, table[table["part"] == part], classes, explained)
    return folder


@cache
def settings(model: str) -> dict[str, Any]:
    """A whole configuration of this model, as `train` writes it."""
    config = resolve_auto(composed(f"model={model}"))
    return dict(config.model_dump(mode="json"))


def history(quality: float, n_epochs: int = 4) -> pd.DataFrame:
    """Curves of a net that learns until the last epoch but one."""
    epochs = np.arange(n_epochs)
    loss = 0.7 / (1 + quality * epochs)
    auroc = 0.5 + 0.4 * (1 - loss / 0.7)
    validation = np.where(epochs == n_epochs - 1, loss + 0.2, loss + 0.1)
    columns = {
        "train/loss": loss,
        "val/loss": validation,
        "val/auroc": auroc,
        "val/balanced_accuracy": auroc - 0.05,
    }
    return pd.DataFrame({"epoch": epochs} | columns)


def change(path: Path, **values: Any) -> None:
    """Set keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def sweep(parent: Path, n_runs: int = 8, **options: Any) -> Path:
    """A folder of runs of two models, at each learning rate of two seeds, of different quality, the best one last."""
    for at in range(n_runs):
        model, seed = MODELS[at % 2], at // 2 % 2
        make_run(
            parent / f"{model}-{at}",
            **{"model": model, "seed": seed, "quality": 0.5 + 0.2 * at, "lr": 0.001 * (1 + at // 4)}
            | options,
        )
    return parent


def _drop_intervals(document: dict[str, Any]) -> None:
    """As runs of an earlier version are: point estimates alone."""
    for part in ("train", "val", "test"):
        for metric in document.get(part, {}).values():
            metric |= {"low": None, "high": None}
    del document["intervals"]


def _explain(folder: Path, table: pd.DataFrame, classes: Sequence[str], n_errors: int) -> None:
    folder.mkdir(parents=True)
    probs = table[[f"prob_{name}" for name in classes]].to_numpy()
    table = table.assign(predicted=[classes[k] for k in probs.argmax(axis=1)], prob=probs.max(axis=1))
    wrong = table[table["predicted"] != table["label"]].sort_values("prob", ascending=False).head(n_errors)
    found = []
    for at, row in enumerate(wrong.itertuples()):
        files = {kind: f"{at:02}_{kind}.jpg" for kind in ("cell", "input", "attribution")}
        for k, name in enumerate(files.values()):
            (folder / name).write_bytes(jpeg(at * 3 + k))
        found.append(
            {
                "cell_id": row.cell_id,
                "subject": row.subject,
                "label": row.label,
                "predicted": row.predicted,
                "prob_predicted": row.prob,
                "mass_on_cell": 0.83,
                "area_share": 0.21,
                "files": files,
            }
        )
    sample = [
        {"cell_id": row.cell_id, "mass_on_cell": 0.6 + 0.01 * at, "area_share": 0.2 + 0.002 * at}
        for at, row in enumerate(table.head(20).itertuples())
    ]
    sample[0]["mass_on_cell"] = None  # its map is empty
    about = {"method": "Grad-CAM", "library": "captum 0.9.0", "layer": "features.8", "reason": None}
    share = {"median": 0.81, "mean": 0.8, "n_cells": 40}
    document = about | {
        "mass_on_cell": share,
        "area_share": share | {"median": 0.2},
        "cells": found,
        "sample": sample,
    }
    (folder / "cells.json").write_text(json.dumps(document))


def jpeg(seed: int, side: int = 48) -> bytes:
    """A small picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=80)
    return out.getvalue()
