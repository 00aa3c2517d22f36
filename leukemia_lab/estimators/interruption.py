"""Ctrl-C and SIGTERM in the middle of training: the run ends cleanly and can be resumed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer

from leukemia_lab.errors import InterruptedRunError
from leukemia_lab.progress import CONSOLE


class StopRequest(Callback):
    """Ends training between two steps after the first SIGINT or SIGTERM; a second one ends it where it is.

    An exception raised by a handler can strike anywhere, also where it is swallowed; between steps it cannot.
    """

    def __init__(self) -> None:
        self.requested = False

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stop after a training step."""
        self._stop_if_requested()

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stop after a validation step."""
        self._stop_if_requested()

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stop after a step of prediction."""
        self._stop_if_requested()

    def _stop_if_requested(self) -> None:
        if self.requested:
            raise KeyboardInterrupt

    def note(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        CONSOLE.print("stopping after this step; again stops at once")


@contextmanager
def interruptible(request: StopRequest) -> Iterator[None]:
    """Turn Lightning's exit on Ctrl-C, and SIGTERM, into InterruptedRunError; restore the signal handlers."""
    in_main = threading.current_thread() is threading.main_thread()
    signals = (signal.SIGINT, signal.SIGTERM) if in_main else ()
    handlers = {number: signal.signal(number, request.note) for number in signals}
    try:
        yield
    except (SystemExit, KeyboardInterrupt) as error:
        raise InterruptedRunError(
            "Interrupted. The same command resumes from the last finished epoch."
        ) from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
