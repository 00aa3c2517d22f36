"""Files in the cache folder: one writer at a time, never half-written under their final name, memos checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from leukemia_lab.atomic import replacing
from leukemia_lab.errors import CacheError
from leukemia_lab.progress import CONSOLE

PATIENCE_SECONDS = 2.0


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path` (a file `<path>.lock`) against other processes, waiting as long as it takes.

    Raises:
        CacheError: the folder cannot be made or written.
    """
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=PATIENCE_SECONDS)
        except Timeout:
            CONSOLE.print(f"Waiting for another process that writes {path}")
            lock.acquire()
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """`leukemia_lab.atomic.replacing` for the cache folder.

    Raises:
        CacheError: the disk is full or the folder cannot be written.
    """
    try:
        with replacing(path) as partial:
            yield partial
    except OSError as error:
        raise _unwritable(path, error) from error


def write_memo(path: Path, rows: Iterable[tuple[Any, ...]], columns: Sequence[str]) -> None:
    """Write the rows of a table of what is known, with check sums.

    Raises:
        CacheError: the disk is full or the folder cannot be written.
    """
    table = pd.DataFrame(list(rows), columns=list(columns))
    with locked(path), atomic_file(path) as partial:
        table.to_parquet(partial, write_page_checksum=True)


def read_memo(path: Path, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """The rows that `write_memo` wrote; none where the file is missing or damaged, which only costs time."""
    try:
        table = pd.read_parquet(path, columns=list(columns), page_checksum_verification=True)
        return list(table.itertuples(index=False, name=None))
    except Exception:  # damaged Parquet raises errors of every kind, TypeError and UnicodeDecodeError too
        return []


def _unwritable(path: Path, error: OSError) -> CacheError:
    return CacheError(
        f"cannot write to the cache folder {path.parent}: {error}. "
        "Make room there, or set LEUKEMIA_LAB_CACHE to a folder that can be written."
    )
