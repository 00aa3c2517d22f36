"""What only a CUDA device can show: the step stays there and never makes the host wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from small_models import a_model, some_data

from leukemia_lab import evaluate, train
from leukemia_lab.estimators.fit import predict
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


POLICIES = (
    ["pipeline.log.mode=append"],
    ["augment=strong"],
    ["augment=stain", "optim.ema_decay=0.9"],
    ["balance=focal", "model.freeze=block1"],
    ["balance=class_weight", "optim.stage_decay=0.5"],
    ["balance=oversample"],
)


@pytest.mark.parametrize("policy", [[], *POLICIES])
def test_pipeline_and_step_stay_on_the_device(
    policy: list[str], tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leukemia_lab.estimators.neural import CellClassifier

    guard = NoHostSync()
    monkeypatch.setattr(CellClassifier, "configure_callbacks", lambda _: [guard])
    folder = tmp_path / "run"
    settings = [*policy, "trainer.batch_size=4", "trainer.deterministic=false"]
    assert train.main([*tiny, *settings, "trainer.precision=bf16-mixed", f"hydra.run.dir={folder}"]) == 0
    assert guard.checked_steps > 4
    assert {device for _, device in guard.devices} == {"cuda"}
    assert record.read_json(folder / record.RECORD)["hardware"]["device"] != "cpu"
    assert evaluate.main([f"run={folder}"]) == 0


LITE0 = {"_target_": "leukemia_lab.nets.timm_nets.timm_net", "name": "tf_efficientnet_lite0", "dropout": 0.2}
NETS: dict[str, dict[str, Any]] = {
    "simple_cnn": {"_target_": "leukemia_lab.nets.small.simple_cnn", "width": 32, "dropout": 0.2},
    "vgg13": {"_target_": "leukemia_lab.nets.vgg.vgg13", "hidden": 4096, "dropout": 0.5, "batch_norm": False},
    "alexnet": {"_target_": "leukemia_lab.nets.torchvision_nets.alexnet", "dropout": 0.5},
    "vgg16": {"_target_": "leukemia_lab.nets.torchvision_nets.vgg16", "dropout": 0.5, "batch_norm": False},
    "vgg19": {"_target_": "leukemia_lab.nets.torchvision_nets.vgg19", "dropout": 0.5, "batch_norm": False},
    "vgg16_frozen": {"_target_": "leukemia_lab.nets.torchvision_nets.vgg16_extractor"},
    "efficientnet_lite0": LITE0,
    "timm": LITE0 | {"name": "resnet18"},
}


@pytest.mark.parametrize("name", NETS)
def test_cpu_and_cuda_give_the_same_logits_in_float32(name: str) -> None:
    model = a_model(net=NETS[name], image_size=64)
    logits = []
    for device in ("cpu", "cuda:0"):
        data = some_data(size=64, device=torch.device(device))
        logits.append(predict(model, data, "val", output="logits", precision="32-true", deterministic=True))
    assert abs(logits[0]).max() > 1e-4
    assert abs(logits[0] - logits[1]).max() <= 1e-3 * max(1.0, abs(logits[0]).max())


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("name", NETS)
def test_every_net_trains_in_mixed_precision(name: str, precision: str, tmp_path: Path) -> None:
    settings = [
        f"model={name}",
        "model.pretrained=false",
        f"trainer.precision={precision}",
        "trainer.devices=1",
    ]
    assert (
        train.main(["experiment=smoke", *settings, "augment=strong", f"hydra.run.dir={tmp_path / 'run'}"])
        == 0
    )
    about = record.read_json(tmp_path / "run" / record.RECORD)
    assert about["status"] == "finished"
    assert about["peak_device_memory_bytes"] > 0


HUNGRY_NET = """
import torch
from torch import nn

class Hungry(nn.Module):
    def __init__(self, in_channels, n_classes, image_size):
        super().__init__()
        self.head = nn.Linear(in_channels, n_classes)

    def forward(self, images):
        if self.training and images.is_cuda:  # a tenth of the device for each cell
            _, total = torch.cuda.mem_get_info(images.device)
            torch.empty(len(images) * total // 10, dtype=torch.uint8, device=images.device)
        return self.head(images.mean(dim=(2, 3)))

    def stages(self):
        return {"head": [self.head]}
"""


def test_a_batch_that_does_not_fit_on_the_device_is_trained_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hungry_net.py").write_text(HUNGRY_NET)
    monkeypatch.syspath_prepend(tmp_path)
    data = ["data.n_cells=64", "data.n_subjects=10", "data.n_twins=1", "pipeline.image_size=32"]
    own = ["model=own", "model.net._target_=hungry_net.Hungry", "trainer.batch_size=16"]
    folder = tmp_path / "run"
    assert train.main([*data, *own, "trainer.max_epochs=2", f"hydra.run.dir={folder}"]) == 0
    about = record.read_json(folder / record.RECORD)
    assert about["status"] == "finished"
    assert about["accumulated_batches"] >= 2
    assert about["out_of_memory"][0]["batch_in_memory"] > 9
    assert about["out_of_memory"][0]["device"] == torch.cuda.get_device_name()
