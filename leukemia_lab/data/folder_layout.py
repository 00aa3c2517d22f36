"""Which files of any tree are cells: by class folders, or by a metadata file; no pixel is read here."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from leukemia_lab.data.layouts import (
    IMAGE_SUFFIXES,
    NO_ROW,
    Fault,
    Ignored,
    ListedCell,
    Listing,
    Tree,
    ignored_file,
    ignored_notes,
    some,
    suffix,
    unless_empty,
    walk_tree,
)
from leukemia_lab.data.metadata import MetadataRow, read_metadata
from leukemia_lab.errors import ConfigError

_KINDS = "{bmp,png,jpg,tif}"


def list_folder(root: Path, subject_pattern: str | None, metadata: Path | None) -> Listing:
    """List a tree of images, described by its class folders or by the file `metadata`.

    Without `metadata` the class is the first folder below `root`, and images lie anywhere in it.
    `subject_pattern` is searched in the path relative to `root`; its group `subject`, or its only group, is
    the subject's name, stored in upper case. None: nothing is known of subjects.

    With `metadata` (see `metadata.MetadataRow`) images lie anywhere, and those that no row names are ignored.
    Subjects are known of all cells or of none: where some rows have one, the others are at fault.

    Raises:
        ConfigError: the pattern is not a regular expression with such a group, or both are given.
        DataError: no such folder, or neither a cell nor a fault in it.
    """
    if subject_pattern is not None and metadata is not None:
        raise ConfigError(
            f"data.subject_pattern={subject_pattern} and the metadata file {metadata} would both say which cells "
            "are of one subject. Leave data.subject_pattern null, or set data.metadata=null."
        )
    pattern = None if subject_pattern is None else _subject_regex(subject_pattern)
    tree = walk_tree(root)
    if metadata is not None:
        listing = _by_metadata(root, tree, metadata)
        wanted = f"the images that {metadata} names ({some(listing.rows_without_file)})"
        return unless_empty(root, listing, wanted, "Set data.root to the folder that its paths start from.")
    listing = _by_folders(tree, pattern)
    return unless_empty(
        root, listing, f"<class>/**/*.{_KINDS}", "Set data.root to the class folders' parent."
    )


def _images(tree: Tree) -> list[str]:
    return [file for file in tree.files if suffix(file) in IMAGE_SUFFIXES]


def _by_folders(tree: Tree, pattern: re.Pattern[str] | None) -> Listing:
    cells: list[ListedCell] = []
    faults: list[Fault] = []
    images = _images(tree)
    for file in images:
        label, *below = file.split("/")
        subject = None if pattern is None else _search_subject(pattern, file)
        if not below:
            faults.append(Fault(file, "no class", "lies beside the class folders, not in one"))
        elif pattern is not None and subject is None:
            faults.append(Fault(file, "no subject", f"data.subject_pattern={pattern.pattern} does not match"))
        else:
            cells.append(ListedCell(file, label, subject, None, None, None, None, None, {}))
    ignored = [ignored_file(file) for file in sorted(set(tree.files) - set(images))]
    return Listing(
        cells=tuple(cells),
        faults=(*tree.misnamed, *faults),
        label_files=(),
        ignored=tuple(ignored),
        n_files=tree.n_files,
        other_faults=tuple(tree.closed),
        rows_without_file=(),
        notes=tuple(ignored_notes(ignored)),
        side=None,
    )


def _by_metadata(root: Path, tree: Tree, metadata: Path) -> Listing:
    images = _images(tree)
    label_files = _same_files(root, sorted(set(tree.files) - set(images)), metadata)
    table = label_files[0] if label_files else str(metadata)
    labels = read_metadata(metadata, table)
    known = {file: labels.rows[file] for file in images if file in labels.rows}
    cells, faults = _cells(known, table)
    faults += [labels.file_fault(file, file) for file in images if file in labels.bad_rows]
    without_row = [file for file in images if file not in labels.rows and file not in labels.bad_rows]
    if labels.table_faults:
        faults += [Fault(file, "no label", f"{table} cannot be used") for file in without_row]
        without_row = []
    ignored = [ignored_file(file) for file in sorted(set(tree.files) - set(images) - set(label_files))]
    ignored += [Ignored(file, f"{NO_ROW} {table}") for file in without_row]
    missing = [name for name in labels.rows if name not in known]
    notes = list(labels.notes)
    if missing:
        notes.append(
            f"{len(missing)} of {len(labels.rows)} rows of {table} have no image file ({some(missing)})"
        )
    return Listing(
        cells=tuple(cells),
        faults=(*tree.misnamed, *sorted(faults, key=lambda fault: fault.file)),
        label_files=tuple(label_files),
        ignored=tuple(ignored),
        n_files=tree.n_files,
        other_faults=(*tree.closed, *labels.faults_without_file(set(images))),
        rows_without_file=tuple(missing),
        notes=(*notes, *ignored_notes(ignored)),
        side=None,
    )


def _same_files(root: Path, files: Sequence[str], wanted: Path) -> list[str]:
    """Those of `files` that are the file `wanted`: none where it lies outside `root`."""
    real = wanted.resolve()
    return [file for file in files if Path(os.path.realpath(root / file)) == real]


def _cells(rows: dict[str, MetadataRow], table: str) -> tuple[list[ListedCell], list[Fault]]:
    has_subjects = any(row.subject is not None for row in rows.values())
    faults = [
        Fault(file, "no subject", f"its row of {table} has none, others have one")
        for file, row in rows.items()
        if has_subjects and row.subject is None
    ]
    at_fault = {fault.file for fault in faults}
    cells = [
        ListedCell(
            cell_id=file,
            label=row.label,
            subject=row.subject,
            image=row.image,
            cell=None,
            official_fold=row.official_fold,
            official_part=row.official_part,
            source=row.source,
            extra=row.extra,
        )
        for file, row in rows.items()
        if file not in at_fault
    ]
    return cells, faults


def _subject_regex(subject_pattern: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(subject_pattern)
    except re.error as error:
        raise ConfigError(
            f"data.subject_pattern={subject_pattern} is not a regular expression: {error}. "
            r"An example: '^[^/]+/(?P<subject>[^_/]+)_'."
        ) from error
    if "subject" not in pattern.groupindex and pattern.groups != 1:
        raise ConfigError(
            f"data.subject_pattern={subject_pattern} has {pattern.groups} groups, none named subject. "
            "Put (?P<subject>...) around the part that is the subject's name."
        )
    return pattern


def _search_subject(pattern: re.Pattern[str], file: str) -> str | None:
    match = pattern.search(file)
    subject = None if match is None else match["subject" if "subject" in pattern.groupindex else 1]
    return None if not subject else subject.upper()
