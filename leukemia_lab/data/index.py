"""The cell index: one row a cell with its class, subject, official part, hash, box and fingerprint."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from leukemia_lab.data.images import ImageFileError, cell_box, content_fingerprint, decode_rgb, read_bytes
from leukemia_lab.data.layouts import Fault, ListedCell, Listing, list_cnmc, list_folder
from leukemia_lab.data.storage import atomic_file, locked
from leukemia_lab.errors import ConfigError, DataError
from leukemia_lab.progress import progress

__all__ = ["INDEX_COLUMNS", "CellIndex", "Fault", "read_index"]

INDEX_COLUMNS = (
    "cell_id",
    "sha256",
    "label",
    "subject",
    "group",
    "image",
    "cell",
    "official_fold",
    "official_part",
    "width",
    "height",
    "box_x",
    "box_y",
    "box_w",
    "box_h",
    "fingerprint",
)
# Raise it when the key or a value of PixelFacts changes its meaning: older memos are then left alone.
_MEMO_VERSION = 2
_FAULTS_SHOWN = 10


class PixelFacts(NamedTuple):
    """What the index keeps of a file's bytes; sizes and the box are in pixels."""

    sha256: str
    width: int
    height: int
    box_x: int
    box_y: int
    box_w: int
    box_h: int
    fingerprint: bytes


class _MemoKey(NamedTuple):
    """A file as it was when it was read: its path relative to the root, and what changes with its bytes."""

    path: str
    state: str


@dataclass(frozen=True)
class CellIndex:
    """All usable cells of a tree.

    `table` has the columns INDEX_COLUMNS, is sorted by `cell_id` and numbered from 0: `cell_id` is the path
    relative to `root` with `/`; `subject` is upper case or None; `group` equals the subject (the cell id
    where there are no subjects) until twins are merged; `image`, `cell`, `official_fold` (0-2) are nullable
    integers; `official_part` is train, prelim or None; the box is the extent of what is not black;
    `fingerprint` is described by `images.FINGERPRINT`.
    """

    root: Path
    table: pd.DataFrame
    class_names: tuple[str, ...]
    positive: str | None
    has_subjects: bool
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over what an experiment depends on: ids, bytes, labels, subjects and official parts."""
        columns = ["cell_id", "sha256", "label", "subject", "official_fold", "official_part"]
        rows = self.table[columns].astype(object)
        text = json.dumps(rows.where(rows.notna(), None).to_numpy().tolist())
        return hashlib.sha256(text.encode()).hexdigest()


def read_index(
    root: Path,
    layout: Literal["cnmc", "folder"],
    subject_pattern: str | None,
    positive_class: str | None,
    bad_files: Literal["error", "skip"],
    cache_dir: Path,
) -> CellIndex:
    """Index a tree of images, reading only the files that are new or changed since the last time.

    `positive_class` None means ALL for C-NMC, the last of two other classes in sorted order (scikit-learn's
    convention), and none with more classes.

    Raises:
        DataError: no cells, fewer than two classes, or, with `bad_files="error"`, any file at fault.
        ConfigError: an unusable `subject_pattern`.
        CacheError: `cache_dir` cannot be written.
    """
    root = root.expanduser()
    if layout == "cnmc" and subject_pattern is not None:
        raise ConfigError(
            f"data.subject_pattern={subject_pattern} has no use with data.layout=cnmc, whose file names give "
            "the subjects. Leave it null."
        )
    listing = list_cnmc(root) if layout == "cnmc" else list_folder(root, subject_pattern)
    facts, pixel_faults = _pixel_pass(root, listing, cache_dir)
    faults = tuple(sorted((*listing.faults, *pixel_faults), key=lambda fault: fault.file))
    if faults and bad_files == "error":
        raise _faults_error(root, faults)
    cells = [cell for cell in listing.cells if cell.cell_id in facts]
    class_names = _class_names(root, cells)
    return CellIndex(
        root=root,
        table=_table(cells, facts),
        class_names=class_names,
        positive=_positive_class(positive_class, class_names, layout),
        has_subjects=cells[0].subject is not None,
        faults=faults,
        notes=listing.notes,
    )


def _class_names(root: Path, cells: Sequence[ListedCell]) -> tuple[str, ...]:
    class_names = tuple(sorted({cell.label for cell in cells}))
    if len(class_names) < 2:
        raise DataError(
            f"{root} has {len(cells)} usable cells of {len(class_names)} classes ({', '.join(class_names)}), "
            "at least two classes are needed. Set data.root to the folder that holds all classes."
        )
    return class_names


def _table(cells: Sequence[ListedCell], facts: dict[str, PixelFacts]) -> pd.DataFrame:
    listed = pd.DataFrame({name: [getattr(cell, name) for cell in cells] for name in ("cell_id", "label")})
    for name in ("subject", "official_part"):  # as Python objects: pandas' strings would turn None into NaN
        listed[name] = pd.Series([getattr(cell, name) for cell in cells], dtype=object)
    for name in ("image", "cell", "official_fold"):
        listed[name] = pd.array([getattr(cell, name) for cell in cells], dtype="Int64")
    listed["group"] = [cell.cell_id if cell.subject is None else cell.subject for cell in cells]
    pixels = pd.DataFrame([facts[cell.cell_id] for cell in cells])
    return pd.concat([listed, pixels], axis=1)[list(INDEX_COLUMNS)]


def _positive_class(wanted: str | None, class_names: tuple[str, ...], layout: str) -> str | None:
    if wanted is None:
        if len(class_names) > 2:
            return None
        return "ALL" if layout == "cnmc" else class_names[-1]
    if wanted not in class_names:
        nearest = difflib.get_close_matches(wanted, class_names, n=1, cutoff=0.0)[0]
        raise DataError(
            f"data.positive_class={wanted} is not a class of this data: {', '.join(class_names)}. "
            f"Did you mean {nearest}?"
        )
    if len(class_names) > 2:
        raise DataError(
            f"data.positive_class={wanted} has no meaning with {len(class_names)} classes. Leave it null."
        )
    return wanted


def _faults_error(root: Path, faults: Sequence[Fault]) -> DataError:
    shown = [f"\n  {fault.file}: {fault.fault} ({fault.detail})" for fault in faults[:_FAULTS_SHOWN]]
    more = f"\n  and {len(faults) - len(shown)} more" if len(faults) > len(shown) else ""
    return DataError(
        f"{len(faults)} files below {root} cannot be used:{''.join(shown)}{more}\n"
        "Mend them or set data.bad_files=skip to leave them out."
    )


def _pixel_pass(root: Path, listing: Listing, cache_dir: Path) -> tuple[dict[str, PixelFacts], list[Fault]]:
    """Facts of every usable cell by id, from the memo where the file has not changed, and all faults."""
    memo_path = _memo_path(root, cache_dir)
    memo = _read_memo(memo_path)
    keys = [_memo_key(root, cell.cell_id) for cell in listing.cells]
    unread = [key for key in keys if key not in memo]
    faults: list[Fault] = []
    if unread:
        with progress("Indexing", len(unread), "cells") as advance, ThreadPoolExecutor() as pool:
            for key, result in zip(
                unread, pool.map(lambda key: _read_facts(root, key.path), unread), strict=True
            ):
                if isinstance(result, Fault):
                    faults.append(result)
                else:
                    memo[key] = result
                advance(1)
        _write_memo(memo_path, {key: memo[key] for key in keys if key in memo})
    facts = {key.path: memo[key] for key in keys if key in memo}
    if listing.side is not None:
        sized = {cell_id: (known.width, known.height) for cell_id, known in facts.items()}
        wrong = {cell_id: size for cell_id, size in sized.items() if size != (listing.side, listing.side)}
        expected = f"expected {listing.side}x{listing.side}"
        faults += [Fault(cell_id, "wrong size", f"{w}x{h}, {expected}") for cell_id, (w, h) in wrong.items()]
        facts = {cell_id: known for cell_id, known in facts.items() if cell_id not in wrong}
    return facts, faults


def _read_facts(root: Path, cell_id: str) -> PixelFacts | Fault:
    try:
        data = read_bytes(root / cell_id)
        image = decode_rgb(data, cell_id)
    except ImageFileError as error:
        return Fault(cell_id, error.fault, error.detail)
    height, width = image.shape[:2]
    sha256 = hashlib.sha256(data).hexdigest()
    return PixelFacts(sha256, width, height, *cell_box(image), content_fingerprint(image))


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
    return cache_dir / "index" / f"{digest}-v{_MEMO_VERSION}.parquet"


def _read_memo(path: Path) -> dict[_MemoKey, PixelFacts]:
    """What is known of files; nothing where the memo is missing or damaged, which only costs time."""
    try:
        rows = pd.read_parquet(path, columns=[*_MemoKey._fields, *PixelFacts._fields])
    except (OSError, ValueError, KeyError):
        return {}
    return {_MemoKey(*row[:2]): PixelFacts(*row[2:]) for row in rows.itertuples(index=False, name=None)}


def _write_memo(path: Path, memo: dict[_MemoKey, PixelFacts]) -> None:
    rows = pd.DataFrame(
        [(*key, *facts) for key, facts in memo.items()],
        columns=[*_MemoKey._fields, *PixelFacts._fields],
    )
    with locked(path), atomic_file(path) as partial:
        rows.to_parquet(partial)
