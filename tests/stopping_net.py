"""A SimpleCNN that does what environment variables say: raises, loses its run; of two devices the second does."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leukemia_lab.nets.small import SimpleCNN

STOP_AT, MOST_CELLS = "TEST_STOP_AT_BATCH", "TEST_MOST_CELLS"
TAKE_OVER, BROADCASTS = "TEST_TAKE_OVER", "TEST_BROADCASTS"


class StoppingNet(SimpleCNN):
    """Images [B, C, H, W] to logits [B, K], of `MOST_CELLS` at most and before training batch `STOP_AT`.

    In the second epoch of five batches the lease file `TAKE_OVER` is written; `BROADCASTS` lists who broadcasts.
    """

    def __init__(self, in_channels: int, n_classes: int, image_size: int) -> None:
        super().__init__(in_channels, n_classes, width=4, dropout=0.0)
        self.n_batches = 0
        if BROADCASTS in os.environ:
            broadcast = torch.distributed.broadcast

            def noted(*args: Any, **kwargs: Any) -> Any:
                with Path(os.environ[BROADCASTS]).open("a") as file:
                    traceback.print_stack(limit=2, file=file)
                return broadcast(*args, **kwargs)

            torch.distributed.broadcast = noted

    def forward(self, images: Tensor) -> Tensor:
        if self.training and os.environ.get("RANK") in (None, "1"):
            self.n_batches += 1
            if os.environ.get(STOP_AT) == str(self.n_batches):
                raise RuntimeError("stopped")
            if self.n_batches == 7 and TAKE_OVER in os.environ:
                Path(os.environ[TAKE_OVER]).write_text("{}")
            if len(images) > int(os.environ.get(MOST_CELLS, "1000")):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more than there is")
        return super().forward(images)
