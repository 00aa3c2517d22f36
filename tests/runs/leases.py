"""Leases of processes on another machine, written by hand, and the numbers of those that are there."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from leukemia_lab.runs import lease

ELSEWHERE = {
    "host": "node7",
    "machine": "another boot",
    "pid": os.getpid(),  # lives here, which must not count
    "started": "1",
    "taken": "2026-01-01T00:00:00+00:00",
    "token": "theirs",
}


def write_lease(folder: Path, number: int, silent_seconds: float = 0.0, **changes: Any) -> Path:
    """The file of a process on another machine, whose last sign of life lies so far back."""
    file = folder / lease.FOLDER / f"{number}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(ELSEWHERE | changes))
    back = time.time() - silent_seconds
    os.utime(file, (back, back))
    return file


def numbers(folder: Path) -> list[str]:
    return sorted(file.name for file in (folder / lease.FOLDER).iterdir())
