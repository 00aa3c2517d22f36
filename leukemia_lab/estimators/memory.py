"""What is done where memory runs out: less of it is taken at a time, and the work is done again."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from typing import TypeVar

import torch
from lightning.pytorch.utilities.memory import is_oom_error
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Result = TypeVar("Result")
# glibc's: it keeps freed memory, in pieces between what is in use, until it is told to give it back
_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device, or the host, had no memory left for what was asked of it."""
    return isinstance(error, torch.OutOfMemoryError) or is_oom_error(error)


def in_memory(work: Callable[[], Result], take_less: Callable[[], None]) -> Result:
    """What `work` returns; whenever it runs out of memory, `take_less` is called and it is done again.

    `take_less` raises an error where nothing less is left to take.
    """
    while True:
        try:
            return work()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        free_memory()  # only here: the error held on to all that the work had made
        take_less()


def free_memory() -> None:
    """Give back what nothing refers to any more: to the device, and to the system where its C library can."""
    gc.collect()  # trainers and models refer to each other
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if _TRIM is not None:
        _TRIM(0)


def has_batch_norm(net: nn.Module) -> bool:
    """Whether what the net learns from a cell depends on the cells that are in memory beside it."""
    return any(isinstance(module, _BatchNorm) for module in net.modules())
