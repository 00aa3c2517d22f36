"""Files in the cache folder: one writer at a time, and never a half-written file under its final name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def _unwritable(path: Path, error: OSError) -> CacheError:
    return CacheError(
        f"cannot write to the cache folder {path.parent}: {error}. "
        "Make room there, or set LEUKEMIA_LAB_CACHE to a folder that can be written."
    )
