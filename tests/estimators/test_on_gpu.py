"""What only a CUDA device can show: the step stays there and never makes the host wait."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning import Callback, LightningModule, Trainer

from leukemia_lab import evaluate, train
from leukemia_lab.runs import record

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


class NoHostSync(Callback):
    """Makes any wait for the device an error from the second step of each epoch to its last but one."""

    def __init__(self) -> None:
        self.checked_steps = 0
        self.devices: set[tuple[str, str]] = set()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: dict[str, torch.Tensor], batch_idx: int
    ) -> None:
        self.devices |= {(name, tensor.device.type) for name, tensor in batch.items()}
        last = int(trainer.num_training_batches) - 1
        if batch_idx in (
            1,
            last,
        ):  # from here on the loader, the pipeline and the step are watched, until the last
            torch.cuda.set_sync_debug_mode("error" if batch_idx == 1 < last else "default")
        self.checked_steps += 0 < batch_idx < last


@pytest.mark.parametrize("log_mode", ["none", "append"])
def test_pipeline_and_step_stay_on_the_device(
    log_mode: str, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leukemia_lab.estimators.neural import CellClassifier

    guard = NoHostSync()
    monkeypatch.setattr(CellClassifier, "configure_callbacks", lambda _: [guard])
    folder = tmp_path / "run"
    settings = [f"pipeline.log.mode={log_mode}", "trainer.batch_size=4", "trainer.deterministic=false"]
    assert train.main([*tiny, *settings, "trainer.precision=bf16-mixed", f"hydra.run.dir={folder}"]) == 0
    assert guard.checked_steps > 4
    assert {device for _, device in guard.devices} == {"cuda"}
    assert record.read_json(folder / record.RECORD)["hardware"]["device"] != "cpu"
    assert evaluate.main([f"run={folder}"]) == 0
