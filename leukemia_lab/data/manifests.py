"""Manifests: a table of files with their SHA-256, against which a tree is checked bit by bit, or read without it."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import pandas as pd

from leukemia_lab.data.cnmc_names import CellName, parse_name
from leukemia_lab.data.csv_rows import read_text, text_table
from leukemia_lab.data.images import ImageFileError, read_bytes
from leukemia_lab.data.index import INDEX_COLUMNS, CellIndex, Fault, refuse_faults
from leukemia_lab.errors import DataError

OTHER_BYTES = "other bytes"
_SHA256 = re.compile("[0-9a-fA-F]{64}")
_PIXEL_COLUMNS = {"box_x": "x", "box_y": "y", "box_w": "w", "box_h": "h", "n_bytes": "bytes"}


@dataclass(frozen=True)
class ManifestCheck:
    """What a manifest says of a tree: cells checked, those with `differing` bytes, listed files that are `missing`,
    and the number of cells that it does not list.
    """

    file: Path
    checked: int
    differing: tuple[str, ...]
    missing: tuple[str, ...]
    not_listed: int


def check_manifest(files: pd.DataFrame, path: Path) -> ManifestCheck:
    """Hold files (`cell_id`, `sha256`; see `hashed_files`) against a CSV with the columns `file` and `sha256`.

    `file` is the end of a cell's path: a name, or as many folders before it as tell it from others.

    Raises:
        DataError: the manifest cannot be read, lacks a column, or lists a file twice with two hashes.
    """
    rows = _read(path, needed=("file", "sha256"))
    by_name: defaultdict[str, list[str]] = defaultdict(list)
    sha256 = dict(zip(files["cell_id"], files["sha256"], strict=True))
    for cell_id in sha256:
        by_name[PurePosixPath(cell_id).name.lower()].append(cell_id)
    expected: dict[str, set[str]] = defaultdict(set)
    for file, digest in zip(rows["file"], rows["sha256"], strict=True):
        expected[file].add(digest.lower())
    twice = next((file for file, digests in expected.items() if len(digests) > 1), None)
    if twice is not None:
        raise DataError(
            f"the manifest {path} lists {twice} with {len(expected[twice])} hashes. List each file once, with as many "
            "folders before its name as tell it from others."
        )
    differing: list[str] = []
    missing: list[str] = []
    listed: set[str] = set()
    for file, digests in expected.items():
        ending = f"/{file.lower()}"
        found = [
            cell for cell in by_name[PurePosixPath(file).name.lower()] if f"/{cell.lower()}".endswith(ending)
        ]
        listed.update(found)
        differing += [cell for cell in found if sha256[cell] not in digests]
        if not found:
            missing.append(file)
    return ManifestCheck(
        path, len(listed), tuple(sorted(differing)), tuple(sorted(missing)), len(sha256) - len(listed)
    )


def hashed_files(index: CellIndex) -> pd.DataFrame:
    """`cell_id` and `sha256` of the cells of an index, and of its unusable files that can be read."""
    hashes = dict(zip(index.table["cell_id"], index.table["sha256"], strict=True))
    for fault in index.faults:
        with contextlib.suppress(ImageFileError, OSError, ValueError, KeyError):
            hashes[fault.file] = hashlib.sha256(read_bytes(index.path_of(fault.file))).hexdigest()
    return pd.DataFrame({"cell_id": list(hashes), "sha256": list(hashes.values())})


def check_manifests(
    index: CellIndex, paths: Sequence[Path], bad_files: Literal["error", "skip"]
) -> CellIndex:
    """The index without cells whose bytes are not those of the manifests; `bad_files="error"` raises DataError."""
    files = hashed_files(index) if paths else index.table
    checks = [check_manifest(files, path) for path in paths]
    if bad_files == "error":
        refuse_faults(index.where, _faults(index, checks))
    return without_differing(index, checks)


def without_differing(index: CellIndex, checks: Sequence[ManifestCheck]) -> CellIndex:
    """The index without cells whose bytes differ: they are faults, and what was checked is noted."""
    faults = _faults(index, checks)
    notes: list[str] = []
    for check in checks:
        name = check.file.name
        notes.append(f"{name}: {check.checked} cells checked, {len(check.differing)} differ")
        if check.missing:
            notes.append(f"{name}: {len(check.missing)} of its files are not there ({check.missing[0]}, ...)")
    bad = {fault.file for fault in faults}
    table = index.table[~index.table["cell_id"].isin(bad)].reset_index(drop=True)
    return replace(index, table=table, faults=(*index.faults, *faults), notes=(*index.notes, *notes))


def _faults(index: CellIndex, checks: Sequence[ManifestCheck]) -> list[Fault]:
    """A fault for each cell whose bytes differ; files that cannot be used have a fault already."""
    cells = set(index.table["cell_id"])
    return [
        Fault(cell, OTHER_BYTES, f"its SHA-256 is not that of {check.file.name}")
        for check in checks
        for cell in check.differing
        if cell in cells
    ]


def read_manifest_index(paths: Sequence[Path]) -> CellIndex:
    """An index of what manifests say of cells, without any pixel: enough to audit names and to draw splits.

    Needs `file`; knows `orig` (the original name of a preliminary file), `label` or `class`, `subject`, `fold`,
    `sha256`, `bytes`, and the box `x`, `y`, `w`, `h`. Class and subject come from C-NMC's names where the files have
    them.

    Raises:
        DataError: a manifest cannot be read, lacks a column, or names a file twice.
    """
    table = pd.concat([_index_rows(path) for path in paths]).sort_values("cell_id", ignore_index=True)
    twice = table.loc[table["cell_id"].duplicated(), "cell_id"]
    if not twice.empty:
        raise DataError(
            f"{twice.iloc[0]} stands more than once in {', '.join(map(str, paths))}. List each file once."
        )
    class_names = tuple(sorted(set(table["label"])))
    return CellIndex(
        root=paths[0],
        table=table,
        class_names=class_names,
        positive="ALL" if "ALL" in class_names else None,
        has_subjects=bool(table["subject"].notna().any()),
        faults=(),
        notes=(f"read from {', '.join(path.name for path in paths)}: no pixel was seen",),
        trees={},
        has_pixels=False,
    )


def _index_rows(path: Path) -> pd.DataFrame:
    rows = _read(path, needed=("file",))
    names = rows["orig"] if "orig" in rows else rows["file"].map(lambda file: PurePosixPath(file).name)
    parsed = [parse_name(name) for name in names]
    label = next((rows[name] for name in ("label", "class") if name in rows), pd.Series("", index=rows.index))
    table = pd.DataFrame({name: pd.Series(None, index=rows.index, dtype=object) for name in INDEX_COLUMNS})
    table["cell_id"] = rows["file"]
    table["label"] = [
        given if name is None else name.label for name, given in zip(parsed, label, strict=True)
    ]
    if (table["label"] == "").any():
        raise DataError(
            f"{path}: {rows['file'][table['label'] == ''].iloc[0]} has no class: add a column label."
        )
    _refuse_contradictions(path, rows["file"], parsed, label)
    subject = rows["subject"].str.upper() if "subject" in rows else pd.Series("", index=rows.index)
    named = [given if name is None else name.subject for name, given in zip(parsed, subject, strict=True)]
    table["subject"] = pd.Series([name if name else None for name in named], index=rows.index, dtype=object)
    table["group"] = table["subject"].where(table["subject"].notna(), table["cell_id"])
    for column in ("image", "cell"):
        table[column] = pd.array(
            [None if name is None else getattr(name, column) for name in parsed], dtype="Int64"
        )
    folds = (
        rows["fold"].str.extract(r"(\d+)(?:\.0)?$")[0]
        if "fold" in rows
        else pd.Series(None, index=rows.index)
    )
    table["official_fold"] = pd.array([None if pd.isna(fold) else int(fold) for fold in folds], dtype="Int64")
    table["official_part"] = "prelim" if "orig" in rows else "train"
    if "sha256" in rows:
        table["sha256"] = rows["sha256"].str.lower()
    for column, given in _PIXEL_COLUMNS.items():
        numbers = (
            pd.to_numeric(rows[given], errors="coerce")
            if given in rows
            else pd.Series(pd.NA, index=rows.index)
        )
        table[column] = numbers.astype("Float64").round().astype("Int64")
    return table


def _refuse_contradictions(
    path: Path, files: pd.Series[str], parsed: Sequence[CellName | None], labels: pd.Series[str]
) -> None:
    """Raise DataError where a C-NMC name and the table's label say two classes."""
    rows = zip(files, parsed, labels, strict=True)
    wrong = [file for file, name, label in rows if name is not None and label and label.upper() != name.label]
    if wrong:
        raise DataError(
            f"{path}: {len(wrong)} names say another class than their label, for one {wrong[0]}. Mend the table."
        )


def _read(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    """The rows as text; column names in lower case."""
    try:
        rows = text_table(read_text(path)).map(str.strip)
    except (OSError, ValueError) as error:
        raise DataError(f"the manifest {path} cannot be read as a CSV file: {error}.") from error
    missing = [name for name in needed if name not in rows]
    if missing:
        raise DataError(
            f"the manifest {path} lacks the column(s) {', '.join(missing)}; it has {', '.join(map(str, rows))}."
        )
    rows["file"] = rows["file"].str.replace("\\", "/", regex=False)
    if rows.empty or (rows["file"] == "").any():
        what = "lists no files" if rows.empty else f"has {(rows['file'] == '').sum()} rows without a file"
        raise DataError(f"the manifest {path} {what}.")
    odd_hash = next((digest for digest in rows.get("sha256", []) if not _SHA256.fullmatch(digest)), None)
    if odd_hash is not None:
        raise DataError(f"the manifest {path}: {odd_hash!r} is no SHA-256 (64 hexadecimal digits).")
    return rows
