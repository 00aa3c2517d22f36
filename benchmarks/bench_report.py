"""Time and size of a report of many runs: copies of one sweep's runs, each with its own predictions, metrics and seed.

`python benchmarks/bench_report.py [--runs DIR] [--copies 200]`: DIR holds finished runs; by default a small sweep is
trained first (a minute). Ends with status 1 where the report takes longer than 60 seconds or is larger than 8 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import yaml

from leukemia_lab.evaluation.document import metrics_document
from leukemia_lab.evaluation.predictions import (
    class_names_of,
    predictions_table,
    read_predictions,
    write_predictions,
)
from leukemia_lab.schema.evaluation import Evaluation

EVALUATION = Evaluation(level=0.95, interval="jackknife", calibration="temperature", min_sensitivity=None)
SECONDS, MEGABYTES = 60.0, 8.0
COPIED = ("split.parquet", "history.csv", "explained")
SWEEP = (
    "-m",
    "data=synthetic_small",
    "model=simple_cnn,knn",
    "seed=0,1",
    "optim.lr=1e-3,3e-4",
    "trainer.max_epochs=4",
    "pipeline.image_size=64",
)


def train_sweep(folder: Path) -> None:
    """Eight small runs, with their test parts opened."""
    command = [sys.executable, "-m", "leukemia_lab.train", *SWEEP, f"hydra.sweep.dir={folder}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for record in folder.glob("*/record.json"):
        evaluate = [sys.executable, "-m", "leukemia_lab.evaluate", f"run={record.parent}"]
        subprocess.run(evaluate, check=True, stdout=subprocess.DEVNULL)


def copy_run(source: Path, target: Path, seed: int) -> None:
    """A run of its own: the logits of `source` with noise, its metrics computed anew."""
    target.mkdir(parents=True)
    for name in COPIED:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)
        elif (source / name).exists():
            shutil.copy(source / name, target / name)
    record = json.loads((source / "record.json").read_text(encoding="utf-8"))
    record["identity"] = f"{seed:012d}"
    config = yaml.safe_load((source / "config.yaml").read_text(encoding="utf-8")) | {"seed": seed}
    (target / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    old = read_predictions(source / "predictions.parquet")
    names = class_names_of(old)
    logits = old[[f"logit_{name}" for name in names]].to_numpy()
    logits = logits + np.random.default_rng(seed).normal(scale=0.5, size=logits.shape)
    table = predictions_table(old, logits, names, record["identity"])
    write_predictions(table, target / "predictions.parquet")
    metrics = json.loads((source / "metrics.json").read_text(encoding="utf-8"))
    metrics |= metrics_document(table, names, record["positive"], record["stamps"], "val/auroc", EVALUATION)
    (target / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (target / "record.json").write_text(json.dumps(record), encoding="utf-8")


def measure(runs: Path, output: Path, n_runs: int) -> bool:
    """Print a row of the table; whether the report kept to its budget."""
    started = time.monotonic()
    command = [sys.executable, "-m", "leukemia_lab.report", f"runs={runs}", f"output={output}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    if status != 0:
        raise SystemExit(f"{' '.join(command)} failed")
    megabytes = (output / "report.html").stat().st_size / 1e6
    print(
        "| date, cores | runs | seconds | of CPU | report.html, MB | peak memory, MiB |\n|---|---|---|---|---|---|"
    )
    cores = len(os.sched_getaffinity(0))
    print(
        f"| {date.today()}, {cores} | {n_runs} | {seconds:.1f} | {usage.ru_utime + usage.ru_stime:.1f} "
        f"| {megabytes:.2f} | {usage.ru_maxrss / 1024:.0f} |"
    )
    return seconds <= SECONDS and megabytes <= MEGABYTES


def main() -> int:
    """Copy the runs, measure; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, help="folder of finished runs; a small sweep by default")
    parser.add_argument("--copies", type=int, default=200)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "sweep" if args.runs is None else args.runs
        if args.runs is None:
            train_sweep(runs)
        sources = sorted(path.parent for path in runs.glob("**/record.json"))
        for copy in range(args.copies):
            source = sources[copy % len(sources)]
            copy_run(source, Path(folder) / "copies" / f"{source.name}-{copy}", copy)
        kept = measure(Path(folder) / "copies", Path(folder) / "report", args.copies)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
