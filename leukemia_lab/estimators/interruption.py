"""What ends training half-way: Ctrl-C and SIGTERM, after which it can be resumed, and a run that was taken over."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer

from leukemia_lab.errors import InterruptedRunError
from leukemia_lab.progress import CONSOLE
from leukemia_lab.runs.record import RunFolder


class StopRequest(Callback):
    """Ends training between two steps after the first SIGINT or SIGTERM; a second one ends it where it is.

    An exception raised by a handler can strike anywhere, also where it is swallowed; between steps it cannot.
    """

    def __init__(self) -> None:
        self.requested = False
        self.signals: tuple[signal.Signals, ...] = ()  # that come here

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take SIGTERM back from Lightning, whose handler tells other devices at once, in the middle of a step."""
        for number in self.signals:
            signal.signal(number, self.note)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stop after a training step."""
        self.stop_if_requested()

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stop after a validation step."""
        self.stop_if_requested()

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stop after a step of prediction."""
        self.stop_if_requested()

    def stop_if_requested(self) -> None:
        """Raise KeyboardInterrupt where a signal has come."""
        if self.requested:
            raise KeyboardInterrupt

    def note(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        CONSOLE.print("stopping after this step; again stops at once")


class EpochGuard(Callback):
    """Ends training where `check` raises, before an epoch is written down."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop before history and checkpoints, whose callbacks come after all others."""
        self._check()


class HoldGuard(EpochGuard):
    """Ends training with LostRunError once another process has taken the run over.

    Between two steps it goes by what the heartbeat has seen; before an epoch is written down it looks itself.
    """

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder.require_hold)
        self._folder = folder

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stop after a training step."""
        self._stop_if_lost()

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stop after a validation step."""
        self._stop_if_lost()

    def _stop_if_lost(self) -> None:
        if self._folder.lost:
            self._folder.require_hold()


@contextmanager
def interruptible(request: StopRequest) -> Iterator[None]:
    """Turn Lightning's exit on Ctrl-C, and SIGTERM, into InterruptedRunError; restore the signal handlers."""
    in_main = threading.current_thread() is threading.main_thread()
    request.signals = (signal.SIGINT, signal.SIGTERM) if in_main else ()
    handlers = {number: signal.signal(number, request.note) for number in request.signals}
    try:
        yield
        request.stop_if_requested()  # after the last step: a sweep must not go on to its next run
    except (SystemExit, KeyboardInterrupt) as error:
        raise InterruptedRunError(
            "Interrupted. The same command resumes from the last finished epoch."
        ) from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
