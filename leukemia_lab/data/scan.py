"""The one pass over a tree's pixels: each file is read once, and again only when it has changed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from leukemia_lab.data.images import (
    ImageFileError,
    cell_box,
    content_fingerprint,
    decode_with_mode,
    read_bytes,
)
from leukemia_lab.data.layouts import Fault
from leukemia_lab.data.measures import measure
from leukemia_lab.data.storage import read_memo, write_memo
from leukemia_lab.progress import progress

# Raise it when the key or a value of PixelFacts changes its meaning: older memos are then left alone.
MEMO_VERSION = 3
_SAVE_SECONDS = 20.0
_BATCH = 512


class PixelFacts(NamedTuple):
    """What is kept of a file's bytes: hashes, sizes and the box in pixels, `mode` in Pillow's words, and the
    fields of `Measures`.
    """

    sha256: str
    n_bytes: int
    mode: str
    width: int
    height: int
    box_x: int
    box_y: int
    box_w: int
    box_h: int
    fingerprint: bytes
    foreground_px: int
    n_components: int
    mean_red: float
    mean_green: float
    mean_blue: float
    sharpness: float
    pixels: str


class _MemoKey(NamedTuple):
    """A file as it was when it was read: its path relative to the root, and what changes with its bytes."""

    path: str
    state: str


def scan_pixels(
    root: Path, cell_ids: Sequence[str], cache_dir: Path
) -> tuple[dict[str, PixelFacts], list[Fault]]:
    """Facts of every readable cell by id, and a fault for every other one.

    What was read is kept in `cache_dir` while the pass goes on, so that one that is cut off is taken up again.

    Raises:
        CacheError: `cache_dir` cannot be written.
    """
    memo_path = _memo_path(root, cache_dir)
    memo = _read_memo(memo_path)
    keys = [_memo_key(root, cell_id) for cell_id in cell_ids]
    unread = [key for key in keys if key not in memo]
    faults: list[Fault] = []
    if unread:
        _read_all(root, unread, memo, faults, memo_path)
        _write_memo(memo_path, {key: memo[key] for key in keys if key in memo})
    return {key.path: memo[key] for key in keys if key in memo}, faults


def _read_all(
    root: Path,
    unread: Sequence[_MemoKey],
    memo: dict[_MemoKey, PixelFacts],
    faults: list[Fault],
    memo_path: Path,
) -> None:
    """Read files into `memo` and `faults`, saving the memo now and then, and when interrupted."""
    saved = time.monotonic()
    is_whole = False
    try:
        with progress("Indexing", len(unread), "cells") as advance, ThreadPoolExecutor() as pool:
            for batch in _batches(unread):
                for key, result in zip(
                    batch, pool.map(lambda key: _read_facts(root, key.path), batch), strict=True
                ):
                    if isinstance(result, Fault):
                        faults.append(result)
                    else:
                        memo[key] = result
                    advance(1)
                if time.monotonic() - saved > _SAVE_SECONDS:
                    _write_memo(memo_path, memo)
                    saved = time.monotonic()
        is_whole = True
    finally:
        if not is_whole:
            _write_memo(memo_path, memo)


def _batches(keys: Iterable[_MemoKey]) -> Iterator[list[_MemoKey]]:
    """Some hundred files at a time, so that Ctrl-C does not wait for all that were submitted."""
    rest = iter(keys)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def _read_facts(root: Path, cell_id: str) -> PixelFacts | Fault:
    try:
        data = read_bytes(root / cell_id)
        image, mode = decode_with_mode(data, cell_id)
    except ImageFileError as error:
        return Fault(cell_id, error.fault, error.detail)
    height, width = image.shape[:2]
    box = cell_box(image)
    return PixelFacts(
        sha256=hashlib.sha256(data).hexdigest(),
        n_bytes=len(data),
        mode=mode,
        width=width,
        height=height,
        box_x=box.x,
        box_y=box.y,
        box_w=box.width,
        box_h=box.height,
        fingerprint=content_fingerprint(image),
        **measure(image)._asdict(),
    )


def _memo_key(root: Path, cell_id: str) -> _MemoKey:
    try:
        stat = (root / cell_id).stat()
    except OSError:  # a dangling link, or a file deleted meanwhile: reading it will name the fault
        return _MemoKey(cell_id, "absent")
    # A renamed file keeps its bytes and mtime but not its inode; one that is rewritten and dated back keeps
    # its inode but not its ctime.
    return _MemoKey(cell_id, f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}")


def _memo_path(root: Path, cache_dir: Path) -> Path:
    digest = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    return cache_dir / "index" / f"{digest}-v{MEMO_VERSION}.parquet"


def _read_memo(path: Path) -> dict[_MemoKey, PixelFacts]:
    columns = (*_MemoKey._fields, *PixelFacts._fields)
    return {_MemoKey(*row[:2]): PixelFacts(*row[2:]) for row in read_memo(path, columns)}


def _write_memo(path: Path, memo: dict[_MemoKey, PixelFacts]) -> None:
    columns = (*_MemoKey._fields, *PixelFacts._fields)
    write_memo(path, ((*key, *facts) for key, facts in memo.items()), columns)
