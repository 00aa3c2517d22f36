"""An augmentation that goes wrong in ways that a sweep must survive, told by the run's seed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from torch import Tensor, nn

RAISING, NAN, KILLED = 5, 6, 7  # seeds


class Trouble(nn.Module):
    """Goes wrong as long as the file `cause` is there."""

    def __init__(self, cause: str) -> None:
        super().__init__()
        self.cause = Path(cause)

    def forward(self, images: Tensor, draw: Tensor, seed: int, epoch: int) -> Tensor:
        if self.cause.exists() and seed == RAISING:
            raise ValueError("planted")
        if self.cause.exists() and seed == KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        return images * (float("nan") if self.cause.exists() and seed == NAN else 1.0)


class Slow(nn.Module):
    """Takes a while over each batch."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, images: Tensor, draw: Tensor, seed: int, epoch: int) -> Tensor:
        time.sleep(self.seconds)
        return images


class OnceAnEpoch(nn.Module):
    """Ends its process once in each epoch, noted in the folder `places`."""

    def __init__(self, places: str) -> None:
        super().__init__()
        self.places = Path(places)

    def forward(self, images: Tensor, draw: Tensor, seed: int, epoch: int) -> Tensor:
        if not (place := self.places / str(epoch)).exists():
            place.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return images
