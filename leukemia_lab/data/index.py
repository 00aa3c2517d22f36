"""The cell index: one row a cell with its class, subject, official part, hash, box and fingerprint."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import pandas as pd

from leukemia_lab.data.cnmc_layout import list_cnmc
from leukemia_lab.data.folder_layout import list_folder
from leukemia_lab.data.layouts import Fault, ListedCell, Listing
from leukemia_lab.data.scan import PixelFacts, scan_pixels
from leukemia_lab.errors import ConfigError, DataError

__all__ = ["INDEX_COLUMNS", "CellIndex", "Fault", "Scan", "Tree", "make_index", "read_index", "scan_tree"]

LISTED_COLUMNS = (
    "cell_id",
    "label",
    "subject",
    "group",
    "image",
    "cell",
    "official_fold",
    "official_part",
    "source",
)
INDEX_COLUMNS = (*LISTED_COLUMNS, *PixelFacts._fields)
_FAULTS_SHOWN = 10


@dataclass(frozen=True)
class Tree:
    """A tree of images and how its names are read; `metadata` is the table that says it all instead, if any."""

    root: Path
    layout: Literal["cnmc", "folder"]
    subject_pattern: str | None = None
    metadata: Path | None = None


@dataclass(frozen=True)
class Scan:
    """All that was found in a tree: its listing, a table of the usable cells, and every fault."""

    tree: Tree
    listing: Listing
    table: pd.DataFrame
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class CellIndex:
    """All usable cells of a tree, or of several.

    `table` has the columns INDEX_COLUMNS (and `metadata.<name>` for the others of a metadata.csv), is sorted by
    `cell_id` and numbered from 0: `cell_id` is the path relative to `root` with `/`; `subject` is upper case or None;
    `group` equals the subject (the cell id where there are no subjects) until twins are merged; `image`,
    `cell`, `official_fold` (0-2) are nullable integers; `official_part` is train, prelim or None; `source`
    names the tree of a combined data set, or is None; the box is the extent of what is not black;
    `fingerprint` is described by `images.FINGERPRINT`, the other columns by `scan.PixelFacts`.

    `trees` gives the root of each source of a combined data set, whose cell ids begin with the source's
    name; else it is empty. `has_pixels` is false for an index that a manifest alone was read for.
    """

    root: Path
    table: pd.DataFrame
    class_names: tuple[str, ...]
    positive: str | None
    has_subjects: bool
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]
    trees: Mapping[str, Path]
    has_pixels: bool = True

    @property
    def roots(self) -> tuple[Path, ...]:
        """The root of the tree, or of each tree."""
        return tuple(self.trees.values()) if self.trees else (self.root,)

    def path_of(self, cell_id: str) -> Path:
        """Where the image of a cell lies."""
        source, _, rest = cell_id.partition("/")
        return self.trees[source] / rest if self.trees else self.root / cell_id

    @property
    def where(self) -> str:
        """The root, or those of all trees, as text."""
        return ", ".join(str(root.resolve()) for root in self.roots)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over what an experiment depends on: ids, bytes, labels, subjects and official parts."""
        columns = ["cell_id", "sha256", "label", "subject", "official_fold", "official_part"]
        rows = self.table[columns].astype(object)
        text = json.dumps(rows.where(rows.notna(), None).to_numpy().tolist())
        return hashlib.sha256(text.encode()).hexdigest()


def scan_tree(tree: Tree, cache_dir: Path) -> Scan:
    """List a tree and read its images, only those that are new or changed since the last time.

    Raises:
        DataError: there is no such folder, or nothing in it that could be a cell.
        ConfigError: an unusable `subject_pattern`, or one that has no use.
        CacheError: `cache_dir` cannot be written.
    """
    tree = replace(tree, root=tree.root.expanduser())
    listing = _list(tree)
    facts, pixel_faults = scan_pixels(tree.root, [cell.cell_id for cell in listing.cells], cache_dir)
    pixel_faults += _unfit(facts, listing.side)
    unusable = {fault.file for fault in pixel_faults}
    cells = [cell for cell in listing.cells if cell.cell_id not in unusable]
    of_files = sorted((*listing.faults, *pixel_faults), key=lambda fault: fault.file)
    faults = (*listing.other_faults, *of_files)
    return Scan(tree, listing, _table(cells, facts), faults)


def _list(tree: Tree) -> Listing:
    if tree.layout == "folder":
        return list_folder(tree.root, tree.subject_pattern, tree.metadata)
    for key, value in (("subject_pattern", tree.subject_pattern), ("metadata", tree.metadata)):
        if value is not None:
            raise ConfigError(
                f"data.{key}={value} has no use with data.layout=cnmc, whose folders and names say all. Leave it null."
            )
    return list_cnmc(tree.root)


def read_index(
    tree: Tree, positive_class: str | None, bad_files: Literal["error", "skip"], cache_dir: Path
) -> CellIndex:
    """Index a tree of images.

    `positive_class` None means ALL for C-NMC, the last of two other classes in sorted order (scikit-learn's
    convention), and none with more classes.

    Raises:
        DataError: no cells, fewer than two classes, or, with `bad_files="error"`, any file at fault.
        ConfigError, CacheError: as `scan_tree`.
    """
    scan = scan_tree(tree, cache_dir)
    if bad_files == "error":
        refuse_faults(str(scan.tree.root), scan.faults)
    if positive_class is None and tree.layout == "cnmc":
        positive_class = "ALL"
    index = make_index(scan)
    require_classes(index)
    return replace(index, positive=positive_of(positive_class, index.class_names))


def make_index(scan: Scan) -> CellIndex:
    """The index of what can be used of a tree, be it nothing; it names no positive class."""
    table = scan.table
    return CellIndex(
        root=scan.tree.root,
        table=table,
        class_names=tuple(sorted(set(table["label"]))),
        positive=None,
        has_subjects=bool(table["subject"].notna().any()),
        faults=scan.faults,
        notes=scan.listing.notes,
        trees={},
    )


def require_classes(index: CellIndex) -> None:
    """Raise DataError where there are fewer than two classes."""
    if len(index.class_names) < 2:
        raise DataError(
            f"{index.where} has {len(index.table)} usable cells of {len(index.class_names)} classes "
            f"({', '.join(index.class_names)}), at least two classes are needed. Set data.root to the folder "
            "that holds all classes."
        )


def positive_of(wanted: str | None, class_names: tuple[str, ...]) -> str | None:
    """The positive class: `wanted`, or by the rule of `read_index`; DataError where there is no such class."""
    if wanted is None:
        return None if len(class_names) > 2 else class_names[-1]
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


def refuse_faults(where: str, faults: Sequence[Fault]) -> None:
    """Raise DataError where there are faults, with their number and the first of them."""
    if not faults:
        return
    shown = [f"\n  {fault.file}: {fault.fault} ({fault.detail})" for fault in faults[:_FAULTS_SHOWN]]
    more = f"\n  and {len(faults) - len(shown)} more" if len(faults) > len(shown) else ""
    raise DataError(
        f"{len(faults)} faults below {where}:{''.join(shown)}{more}\n"
        "Mend them or set data.bad_files=skip to leave such files out."
    )


def _unfit(facts: Mapping[str, PixelFacts], side: int | None) -> list[Fault]:
    """Images that can be read and are no cells of this data set."""
    faults = []
    for cell_id, known in facts.items():
        if side is not None and (known.width, known.height) != (side, side):
            size = f"{known.width}x{known.height}, expected {side}x{side}"
            faults.append(Fault(cell_id, "wrong size", size))
        elif known.foreground_px == 0:
            faults.append(Fault(cell_id, "empty foreground", "the image is black"))
    return faults


def _table(cells: Sequence[ListedCell], facts: Mapping[str, PixelFacts]) -> pd.DataFrame:
    listed = pd.DataFrame({"cell_id": pd.Series([cell.cell_id for cell in cells], dtype=object)})
    for name in (
        "label",
        "subject",
        "official_part",
        "source",
    ):  # as objects: text columns turn None into NaN
        listed[name] = pd.Series([getattr(cell, name) for cell in cells], dtype=object)
    for name in ("image", "cell", "official_fold"):
        listed[name] = pd.array([getattr(cell, name) for cell in cells], dtype="Int64")
    listed["group"] = pd.Series(
        [cell.cell_id if cell.subject is None else cell.subject for cell in cells], dtype=object
    )
    pixels = pd.DataFrame([facts[cell.cell_id] for cell in cells], columns=list(PixelFacts._fields))
    # Under a name of their own: a column `group` of the user's must not stand for ours.
    extra = pd.DataFrame([cell.extra for cell in cells], dtype=object).add_prefix("metadata.")
    known = pd.concat([listed, pixels], axis=1)[list(INDEX_COLUMNS)]
    return pd.concat([known, extra], axis=1)
