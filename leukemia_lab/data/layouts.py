"""What the listing of a tree says, whatever its layout: which files are cells, and what became of the others."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from leukemia_lab.errors import DataError

SYNTHETIC_MANIFEST = "synthetic.json"  # what the synthetic generator leaves at the top of its tree
IMAGE_SUFFIXES = frozenset({".bmp", ".png", ".jpg", ".jpeg", ".tif", ".tiff"})

NOT_AN_IMAGE = "hidden or not an image"
OF_THE_GENERATOR = "synthetic manifest"
NO_ROW = "no row in"  # a label table


@dataclass(frozen=True)
class Fault:
    """A file that cannot be used: its path relative to the root, a short stable code, and the particulars."""

    file: str
    fault: str
    detail: str


@dataclass(frozen=True)
class Ignored:
    """A file that is no cell and no fault, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class ListedCell:
    """What a tree's names and label files say of one cell; None where they say nothing.

    `source` is the laboratory, scanner or study that the cell comes from; `extra` holds the other columns of
    a metadata file.
    """

    cell_id: str
    label: str
    subject: str | None
    image: int | None
    cell: int | None
    official_fold: int | None
    official_part: str | None
    source: str | None
    extra: Mapping[str, str]


@dataclass(frozen=True)
class Listing:
    """The cells of a tree in the order of their ids, and what became of every other file.

    Each of the `n_files` files is in one of `cells`, `faults`, `label_files` and `ignored`, and in no two.
    `other_faults` are those of no image: a whole label file, a row of one that names no file, a folder.
    """

    cells: tuple[ListedCell, ...]
    faults: tuple[Fault, ...]
    label_files: tuple[str, ...]
    ignored: tuple[Ignored, ...]
    n_files: int
    other_faults: tuple[Fault, ...]
    rows_without_file: tuple[str, ...]  # file names as the label files have them
    notes: tuple[str, ...]
    side: int | None  # width and height that each image must have, where the data set fixes them


class Tree(NamedTuple):
    """The files below a root: relative paths with `/`, sorted; and what a listing cannot name or enter."""

    files: list[str]
    misnamed: list[Fault]  # files, beside those in `files`
    closed: list[Fault]  # folders

    @property
    def n_files(self) -> int:
        """How many files there are, whatever their names."""
        return len(self.files) + len(self.misnamed)


def walk_tree(root: Path) -> Tree:
    """Find all files below `root`; links are followed, hidden folders are not entered.

    Raises:
        DataError: `root` is no folder.
    """
    if not os.path.isdir(root):  # noqa: PTH112 - Path.is_dir raises where a folder above may not be read
        what = "is not a folder" if os.path.exists(root) else "does not exist"  # noqa: PTH110
        raise DataError(f"the data folder {root} {what}. Set data.root to the folder that holds the images.")
    closed: list[Fault] = []
    files = sorted(_walk(root, closed))
    misnamed = {file for file in files if file.encode("utf-8", "ignore").decode() != file}
    return Tree(
        [file for file in files if file not in misnamed],
        [Fault(f"{file!a}", "name not UTF-8", "rename the file") for file in sorted(misnamed)],
        sorted(closed, key=lambda fault: fault.file),
    )


def _walk(root: Path, closed: list[Fault]) -> Iterator[str]:
    def note(error: OSError) -> None:
        folder = Path(os.fsdecode(error.filename)).relative_to(root).as_posix()
        closed.append(Fault(_printable(folder), "unreadable folder", str(error.strerror)))

    # Of each folder: where it and those above it really are.
    chains: dict[Path, tuple[Path, ...]] = {root: (root.resolve(),)}
    for folder, subfolders, names in os.walk(root, onerror=note, followlinks=True):
        here = Path(folder)
        chain = chains.pop(here)
        below = {name: (here / name).resolve() for name in subfolders if not name.startswith(".")}
        # A link to a folder above itself would be walked for ever.
        loops = {name for name, real in below.items() if any(above.is_relative_to(real) for above in chain)}
        subfolders[:] = [name for name in below if name not in loops]
        chains |= {here / name: (*chain, below[name]) for name in subfolders}
        prefix = PurePosixPath(here.relative_to(root).as_posix())
        yield from (str(prefix / name) for name in names)


def suffix(file: str) -> str:
    """Lower-case suffix; none for a hidden file (`._1.bmp`, left by macOS, is no image)."""
    path = PurePosixPath(file)
    return "" if path.name.startswith(".") else path.suffix.lower()


def ignored_file(file: str) -> Ignored:
    """A file that is neither an image nor a label file."""
    of_generator = PurePosixPath(file).name == SYNTHETIC_MANIFEST
    return Ignored(file, OF_THE_GENERATOR if of_generator else NOT_AN_IMAGE)


def ignored_notes(ignored: Iterable[Ignored]) -> list[str]:
    """One sentence a reason; what the synthetic generator leaves is no news."""
    files: defaultdict[str, list[str]] = defaultdict(list)
    for one in ignored:
        files[one.reason].append(one.file)
    files.pop(OF_THE_GENERATOR, None)
    return [f"{len(named)} files are ignored: {reason} ({some(named)})" for reason, named in files.items()]


def unless_empty(root: Path, listing: Listing, wanted: str, advice: str) -> Listing:
    """`listing`; DataError where it has neither cells nor faults."""
    if listing.cells or listing.faults or listing.other_faults:
        return listing
    present = sorted(_printable(entry.name) for entry in root.iterdir())
    held = f"it holds {some(present)}" if present else "it is empty"
    raise DataError(f"no cells found in {root}: {held}. Looked for {wanted}. {advice}")


def some(names: Sequence[str]) -> str:
    """The first names of a long list."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
