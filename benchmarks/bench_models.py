"""Training speed and memory of every neural net on a GPU, as a table for the README.

Runs `python -m leukemia_lab.train model=… trainer.devices=1` on synthetic cells, in bfloat16 and float16 mixed
precision, LoG and augmentation on the device. Images/s are those of whole epochs, the first and slowest included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import torch

MODELS = ("simple_cnn", "vgg13", "alexnet", "vgg16", "vgg19", "vgg16_frozen", "efficientnet_lite0")
SETTINGS = (
    "data.n_cells=3000",
    "data.n_subjects=60",
    "trainer.devices=1",
    "trainer.batch_size=256",
    "trainer.max_epochs=12",
    "trainer.patience=null",
    "trainer.deterministic=false",
    "model.pretrained=false",
    "pipeline.log.mode=append",
    "augment=strong",
    "force=true",
)


def measured(model: str, precision: str) -> str:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "leukemia_lab.train",
            f"model={model}",
            f"trainer.precision={precision}",
        ]
        done = subprocess.run(
            [*command, *SETTINGS, f"hydra.run.dir={folder}/run"], capture_output=True, text=True
        )
        if done.returncode != 0:
            return f"| {model} | {precision} | failed: {done.stderr.strip().splitlines()[-1]} | |"
        record = json.loads((Path(folder) / "run" / "record.json").read_text())
    memory = record["peak_device_memory_bytes"] / 2**30
    return f"| {model} | {precision} | {record['images_per_second']:,.0f} | {memory:.1f} |"


def main() -> None:
    if not torch.cuda.is_available():
        print("speed of the models: not measured, there is no CUDA device")
        return
    print(
        f"{date.today()}, {torch.cuda.get_device_name()}, torch {torch.__version__}; {' '.join(SETTINGS)}\n"
    )
    print("| model | precision | images/s | peak GiB |\n|---|---|---|---|")
    for model in MODELS:
        for precision in ("bf16-mixed", "16-mixed"):
            print(measured(model, precision), flush=True)


if __name__ == "__main__":
    main()
