"""The decoded cache: every cell of an index at one size, in one file that all runs and workers map."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from leukemia_lab.data.images import RESIZE_METHOD, ImageArray, decode_rgb, fit_square, read_bytes
from leukemia_lab.data.index import CellIndex
from leukemia_lab.data.storage import atomic_file, locked
from leukemia_lab.errors import DataError
from leukemia_lab.progress import CONSOLE, progress

_BLOCK_CELLS = 256
_CHECK_BYTES = 1 << 24


def cache_folder() -> Path:
    """`LEUKEMIA_LAB_CACHE`, or `leukemia_lab` in the user's cache folder (`XDG_CACHE_HOME`, `~/.cache`)."""
    chosen = os.environ.get("LEUKEMIA_LAB_CACHE", "")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "leukemia_lab"


def decoded_images(index: CellIndex, image_size: int, cache_dir: Path) -> npt.NDArray[np.uint8]:
    """All cells as a read-only memmap, uint8 [n_cells, image_size, image_size, 3], in the table's order.

    The file is named by its content (the cells' hashes in order, the size, the resize method), made once
    and shared; a process that finds another at work waits for it. A damaged file is made again; a process
    reads a file to find out only once while it is not written to.

    Raises:
        CacheError: the cache cannot be written.
        DataError: an image has changed since it was indexed, or can no longer be read.
    """
    shape = (len(index.table), image_size, image_size, 3)
    content = "\n".join([RESIZE_METHOD, str(image_size), *index.table["sha256"]])
    key = hashlib.sha256(content.encode()).hexdigest()[:16]
    path = cache_dir / "decoded" / f"{key}-{image_size}px.u8"
    with locked(path):
        if not _is_sound(path):
            _build(index, image_size, path)
        return np.memmap(path, dtype=np.uint8, mode="r", shape=shape)


def _is_sound(path: Path) -> bool:
    """Whether the file is there and has the size and checksum noted when it was made; says so if not."""
    if not path.exists():
        return False
    try:
        noted = json.loads(_note_of(path).read_text())
        is_sound = bool(noted == _size_and_checksum(path))
    except (OSError, ValueError):
        is_sound = False
    if not is_sound:
        CONSOLE.print(f"The decoded cache {path} is damaged and is made again.")
    return is_sound


def _build(index: CellIndex, image_size: int, path: Path) -> None:
    cells = list(zip(index.table["cell_id"], index.table["sha256"], strict=True))

    def decode(cell: tuple[str, str]) -> ImageArray:
        return _decode(index.path_of(cell[0]), cell[1], image_size)

    checksum = 0
    n_bytes = 0
    with (
        atomic_file(path) as partial,
        partial.open("wb") as file,
        ThreadPoolExecutor() as pool,
        progress(f"Decoding to {image_size} px", len(cells), "cells") as advance,
    ):
        # Written in order rather than through a memmap: on a full disk a memmap ends in SIGBUS.
        for start in range(0, len(cells), _BLOCK_CELLS):
            for image in pool.map(decode, cells[start : start + _BLOCK_CELLS]):
                data = image.tobytes()
                checksum = zlib.crc32(data, checksum)
                n_bytes += file.write(data)
                advance(1)
    with atomic_file(_note_of(path)) as partial:
        partial.write_text(json.dumps({"bytes": n_bytes, "crc32": checksum}))


def _decode(path: Path, sha256: str, image_size: int) -> ImageArray:
    data = read_bytes(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DataError(f"{path} has changed since it was indexed. Start the command again.")
    return fit_square(decode_rgb(data, str(path)), image_size)


def _note_of(path: Path) -> Path:
    return path.with_suffix(".json")


def _size_and_checksum(path: Path) -> dict[str, int]:
    stat = path.stat()
    # The inode tells a file that was made again from the damaged one, should both be of one clock tick.
    return {"bytes": stat.st_size, "crc32": _checksum(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)}


@lru_cache(maxsize=64)
def _checksum(path: Path, n_bytes: int, mtime_ns: int, inode: int) -> int:
    """CRC-32 of the file; its size, time and inode are arguments so that a changed file is read again."""
    checksum = 0
    with path.open("rb") as file:
        while data := file.read(_CHECK_BYTES):
            checksum = zlib.crc32(data, checksum)
    return checksum
