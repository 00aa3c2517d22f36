"""What the framework costs: images/s of `fit` over those of a bare loop with the same net, pipeline and precision.

Prints one line with the ratio of medians; both run in turn in one process, so that the machine's mood hits both.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from leukemia_lab.data.datamodule import CellDataModule
from leukemia_lab.device import device_name, resolve_device, resolve_precision
from leukemia_lab.estimators.fit import fit
from leukemia_lab.estimators.neural import CellClassifier
from leukemia_lab.runs.tensorboard import run_logger

ROUNDS, EPOCHS, CELLS, BATCH, SIZE = 5, 2, 512, 32, 128
LOG = {
    "mode": "none",
    "stencil": "kornia",
    "sigma_px": 1.0,
    "gaussian_size": None,
    "laplacian_size": 3,
    "strength": 1.0,
}
OPTIM = {
    "lr": 1e-3,
    "weight_decay": 0.01,
    "schedule": "constant",
    "warmup_epochs": 0,
    "label_smoothing": 0.0,
    "stage_decay": 1.0,
    "ema_decay": None,
    "optimizer": {"_target_": "torch.optim.AdamW"},
}


def model() -> CellClassifier:
    return CellClassifier(
        net={"_target_": "leukemia_lab.nets.small.simple_cnn", "width": 32, "dropout": 0.2},
        class_names=["ALL", "HEM"],
        positive="ALL",
        image_size=SIZE,
        log=LOG,
        augment={"_target_": "leukemia_lab.ops.augment.Dihedral"},
        mean=None,
        std=None,
        freeze="none",
        thaw_every=None,
        class_weights=None,
        focal_gamma=None,
        optim=OPTIM,
        seed=0,
    )


def bare_loop(data: CellDataModule, precision: str) -> float:
    """Images/s of a plain loop over the same loader."""
    net = model().to(data.device).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01)
    loader = data.train_dataloader()
    started = time.perf_counter()
    for epoch in range(EPOCHS):
        for batch in loader:
            image, draw = batch["image"].to(data.device), batch["draw"].to(data.device)
            inputs = net.pipeline(image, draw, 0, epoch, augment=True)
            with torch.autocast(data.device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
                loss = functional.cross_entropy(net(inputs), batch["label"].to(data.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    if data.device.type == "cuda":
        torch.cuda.synchronize()
    return EPOCHS * CELLS / (time.perf_counter() - started)


def framework(data: CellDataModule, precision: str) -> float:
    """Images/s of the same epochs through `fit`, validation left out of the clock as in its own report."""
    with tempfile.TemporaryDirectory() as folder:
        result = fit(
            model(),
            data,
            checkpoints=Path(folder) / "checkpoints",
            logger=run_logger(Path(folder)),
            max_epochs=EPOCHS,
            monitor="val/loss",
            patience=None,
            precision=precision,
            deterministic=False,
            gradient_clip_norm=None,
        )
    assert result.images_per_second is not None
    return result.images_per_second


def main() -> None:
    device = resolve_device("auto", "device")
    precision = resolve_precision("auto", device)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (CELLS + BATCH, SIZE, SIZE, 3), dtype=np.uint8)
    rows = np.arange(CELLS + BATCH)
    data = CellDataModule(
        images,
        rows % 2,
        {"train": rows[:CELLS], "val": rows[CELLS:]},
        batch_size=BATCH,
        seed=0,
        num_workers=0,
        device=device,
        resident=device.type == "cuda",
        oversample=False,
        host_policy=None,
    )
    bare_loop(data, precision)  # warms up
    pairs = [(framework(data, precision), bare_loop(data, precision)) for _ in range(ROUNDS)]
    ours, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"training SimpleCNN at {SIZE} px, {precision} on {device_name(device)}: fit {ours:.0f} images/s, "
        f"bare loop {bare:.0f}, ratio {ours / bare:.2f}"
    )


if __name__ == "__main__":
    main()
