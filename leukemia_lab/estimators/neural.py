"""The one LightningModule: it knows loss, optimiser and metrics; a net knows only its layers."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from leukemia_lab.data.datamodule import CellBatch
from leukemia_lab.estimators.averaging import FiniteMean, move_average
from leukemia_lab.estimators.divergence import FirstBadStep, require_numbers
from leukemia_lab.estimators.epoch_metrics import EpochMetrics, Floats, Ints
from leukemia_lab.estimators.losses import classification_loss
from leukemia_lab.estimators.ranks import summed
from leukemia_lab.estimators.stages import parameter_groups
from leukemia_lab.nets.stages import eval_frozen, frozen_stages, set_frozen
from leukemia_lab.nets.weights import load_into
from leukemia_lab.ops.augment import DIHEDRAL_ELEMENTS, dihedral
from leukemia_lab.ops.log_filter import LogFilter
from leukemia_lab.ops.pipeline import InputPipeline
from leukemia_lab.targets import build

SMALLEST_PROBABILITY = 1e-12  # of an averaged prediction, before its logarithm
Output = Literal["logits", "dihedral", "features"]  # of `predict_step`


class CellClassifier(LightningModule):
    """A net, its input pipeline and how it is trained.

    All arguments are names and numbers, kept as hyper-parameters, so that a checkpoint loads with
    `weights_only=True`. `net`, `augment` and `optim["optimizer"]` are `_target_` nodes. `freeze` and `thaw_every`
    say which stages learn (leukemia_lab.nets.stages); `class_weights` [K] and `focal_gamma` weigh the loss.
    """

    def __init__(
        self,
        *,
        net: dict[str, Any],
        class_names: Sequence[str],
        positive: str | None,
        image_size: int,
        log: dict[str, Any],
        augment: dict[str, Any] | None,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        freeze: str,
        thaw_every: int | None,
        class_weights: Sequence[float] | None,
        focal_gamma: float | None,
        optim: dict[str, Any],
        seed: int,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.optim, self.seed = optim, seed
        self.freeze_up_to, self.thaw_every, self.focal_gamma = freeze, thaw_every, focal_gamma
        self.output: Output = "logits"
        self.pipeline = input_pipeline(log, augment, mean, std)
        self.net: nn.Module = build(
            net, in_channels=self.pipeline.out_channels, n_classes=len(class_names), image_size=image_size
        ).to(memory_format=torch.channels_last)
        self.average = None if optim["ema_decay"] is None else copy.deepcopy(self.net).requires_grad_(False)
        self.frozen: list[str] = []
        self._freeze(epoch=0)
        # no buffer: bf16-true would round it
        self.class_weights = None if class_weights is None else torch.tensor(class_weights)
        index = None if positive is None else list(class_names).index(positive)
        self.metrics = nn.ModuleDict(
            {f"{part}_part": EpochMetrics(len(class_names), index) for part in ("val",)}
        )
        self._loss_sum: dict[str, Tensor] = {}
        self._n_cells: dict[str, float] = {}
        self._gradient_norm, self._first_bad = FiniteMean(), FirstBadStep()

    @property
    def evaluated_net(self) -> nn.Module:
        """The net that validation and prediction use: the moving average where there is one."""
        return self.net if self.average is None else self.average

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits float32 [B, K] of `inputs` float32 [B, C, H, W] as the pipeline makes them."""
        net = self.net if self.training else self.evaluated_net
        logits: Tensor = net(inputs.to(next(net.parameters()).dtype))
        return logits.float()

    def train(self, mode: bool = True) -> Self:
        """Training mode, in which frozen stages stay in evaluation mode: no dropout, no moving statistics."""
        super().train(mode)
        if mode:
            eval_frozen(self.net, self.frozen)
        return self

    def start_from(self, weights: Mapping[str, Tensor]) -> list[str]:
        """Start from these weights of the net instead of random ones; returns what was not taken over."""
        notes = load_into(self.net, weights)
        if self.average is not None:
            self.average.load_state_dict(self.net.state_dict())
        return notes

    def on_after_batch_transfer(self, batch: CellBatch, dataloader_idx: int) -> CellBatch:
        """Run the input pipeline on the device, with augmentation in training only."""
        batch["inputs"] = self._piped(batch, batch["image"], augment=bool(self.trainer.training))
        return batch

    def on_fit_start(self) -> None:
        """Take the class weights to the device."""
        if self.class_weights is not None:
            self.class_weights = self.class_weights.to(self.device)

    def on_train_batch_start(self, batch: CellBatch, batch_idx: int) -> None:
        """Seed every generator from (seed, epoch, device): a resumed run draws what an undisturbed one draws.

        Not in `on_train_epoch_start`, which Lightning leaves out in the first epoch after a resume.
        """
        if batch_idx == 0:
            rank = [self.global_rank] if self.global_rank > 0 else []  # no two devices drop the same units
            seed = int(np.random.SeedSequence([self.seed, self.current_epoch, *rank]).generate_state(1)[0])
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002 (a user's own code may draw from the global generator)
            torch.manual_seed(seed)
            self._freeze(self.current_epoch)

    def training_step(self, batch: CellBatch, batch_idx: int) -> Tensor:
        """The loss of one batch; of a piece of one its part of it, times the pieces, by whose number it is divided.

        Lightning divides by the pieces that are accumulated, and the mean of the devices' gradients by the devices.
        """
        logits = self(batch["inputs"])
        whole = batch.get("whole")
        loss = classification_loss(
            logits,
            batch["label"],
            class_weights=self.class_weights,
            focal_gamma=self.focal_gamma,
            label_smoothing=self.optim["label_smoothing"],
            whole=whole,
        )
        if self._trainer is not None:
            self._first_bad.add(loss, self.trainer.optimizers[0].param_groups[0]["lr"])
        if whole is None:
            self._add_loss("train", loss.detach(), len(logits))
            return loss
        pieces = self.trainer.accumulate_grad_batches * self.trainer.world_size
        loss = loss * pieces
        self._add_loss("train", loss.detach(), len(whole) / pieces)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: CellBatch, batch_idx: int) -> None:
        """Move the average of the weights, where there is one, after the optimiser's step."""
        stepped = (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0
        if self.average is not None and stepped:
            move_average(self.average, self.net, self.optim["ema_decay"], self.global_step - 1)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean loss and the learning rate."""
        loss = self._mean_loss("train")
        self._log_epoch_as_step()
        self.log("train/loss", loss)
        self.log("optim/lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        self.log("optim/gradient_norm", self._gradient_norm.pop())

    def validation_step(self, batch: CellBatch, batch_idx: int) -> None:
        """Add one batch to the epoch's metrics."""
        logits = self(batch["inputs"])
        self._add_loss("val", functional.cross_entropy(logits, batch["label"]), len(logits))
        self._metrics("val").update(logits.softmax(dim=1), batch["label"], batch["cell"])

    def close_epoch(self, cells: Tensor) -> None:
        """Take in what other devices validated (RunError unless it is `cells`); TrainingError where numbers have ended.

        Before any callback draws the validation or writes a checkpoint: a resume goes on from sound weights.
        """
        self._metrics("val").gather(cells)
        require_numbers(self, self._first_bad, self.validation_outputs()[0], self.optim["lr"])

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's metrics as `val/<metric>`."""
        metrics = self._metrics("val")
        self._log_epoch_as_step()
        self.log("val/loss", self._mean_loss("val"))
        self.log_dict({f"val/{name}": value for name, value in metrics.compute().items()})
        metrics.reset()

    def validation_outputs(self) -> tuple[Floats, Ints]:
        """Probabilities [n, K] and class indices [n] of the validation batches of this epoch, until it has ended."""
        return self._metrics("val").seen()

    def configure_gradient_clipping(self, optimizer: Optimizer, *limits: Any, **named_limits: Any) -> None:
        """Note the norm of the gradients before Lightning clips them."""
        gradients = [
            weight.grad
            for group in optimizer.param_groups
            for weight in group["params"]
            if weight.grad is not None
        ]
        self._gradient_norm.add(get_total_norm(gradients))
        super().configure_gradient_clipping(optimizer, *limits, **named_limits)

    def predict_step(self, batch: CellBatch, batch_idx: int) -> tuple[Tensor, Tensor]:
        """Rows int64 [B], and what `output` names: logits float32 [B, K], the same averaged, or features [B, D].

        `dihedral` gives the logarithm of the mean probability over the eight symmetries of each cell.
        """
        if self.output == "features":
            return batch["cell"], self._features(batch["inputs"])
        if self.output == "logits":
            return batch["cell"], self(batch["inputs"])
        probabilities = torch.stack([self(inputs).softmax(dim=1) for inputs in self._symmetries(batch)])
        return batch["cell"], probabilities.mean(dim=0).clamp_min(SMALLEST_PROBABILITY).log()

    def _symmetries(self, batch: CellBatch) -> Iterator[Tensor]:
        for element in range(DIHEDRAL_ELEMENTS):
            turned = dihedral(batch["image"], torch.full_like(batch["cell"], element))
            yield self._piped(batch, turned, augment=False)

    def _features(self, inputs: Tensor) -> Tensor:
        net: Any = self.evaluated_net
        features: Tensor = net.forward_features(inputs.to(next(net.parameters()).dtype))
        return features.float()

    def _piped(self, batch: CellBatch, images: Tensor, *, augment: bool) -> Tensor:
        inputs: Tensor = self.pipeline(images, batch["draw"], self.seed, self.current_epoch, augment=augment)
        return inputs

    def _freeze(self, epoch: int) -> None:
        frozen = frozen_stages(self.net, self.freeze_up_to, epoch, self.thaw_every)
        if frozen != self.frozen:
            self.frozen = frozen
            set_frozen(self.net, frozen)
            self.train(self.training)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser, and a learning rate that warms up linearly, then stays or falls as a cosine to zero."""
        optimizer = build(
            self.optim["optimizer"],
            params=parameter_groups(self.net, self.optim["lr"], self.optim["stage_decay"]),
            lr=self.optim["lr"],
            weight_decay=self.optim["weight_decay"],
        )
        # trainer.estimated_stepping_batches would start the loader before a resume has restored the epoch
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        steps_an_epoch = data.train_batches().n_batches
        n_steps = steps_an_epoch * (self.trainer.max_epochs or 1)
        warmup = min(self.optim["warmup_epochs"] * steps_an_epoch, n_steps // 2)
        cosine = self.optim["schedule"] == "cosine"
        schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(step, n_steps, warmup, cosine))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _metrics(self, part: str) -> EpochMetrics:
        metrics = self.metrics[f"{part}_part"]
        assert isinstance(metrics, EpochMetrics)
        return metrics

    def _add_loss(self, part: str, loss: Tensor, n_cells: float) -> None:
        # summed on the device: reading it each step would wait for the device
        self._loss_sum[part] = self._loss_sum.get(part, torch.zeros_like(loss)) + loss * n_cells
        self._n_cells[part] = self._n_cells.get(part, 0) + n_cells

    def _log_epoch_as_step(self) -> None:
        # the horizontal axis of the dashboards, the same for every batch size
        self.log("step", float(self.current_epoch))

    def _mean_loss(self, part: str) -> float:
        loss_sum = self._loss_sum.pop(part)
        total, n_cells = summed(
            torch.stack([loss_sum, loss_sum.new_tensor(self._n_cells.pop(part))])
        ).tolist()
        return float(total / n_cells)


def learning_rate_factor(step: int, n_steps: int, warmup: int, cosine: bool) -> float:
    """The share of the full learning rate at `step`: a linear rise over `warmup`, then 1 or half a cosine to 0."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if not cosine:
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, n_steps - warmup))))


def input_pipeline(
    log: Mapping[str, Any],
    augment: Mapping[str, Any] | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> InputPipeline:
    """The input pipeline from its settings; the same in training, prediction and export."""
    return InputPipeline(None if augment is None else build(augment), LogFilter(**log), mean, std)
