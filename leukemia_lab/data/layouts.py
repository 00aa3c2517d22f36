"""Which files of a tree are cells, and what their paths and label files say; no pixel is read here."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from leukemia_lab.data.cnmc_names import NAME_RULE, PrelimRow, parse_name, read_prelim_labels
from leukemia_lab.errors import ConfigError, DataError

SYNTHETIC_MANIFEST = "synthetic.json"  # what the synthetic generator leaves at the top of its tree

CNMC_SIDE = 450
IMAGE_SUFFIXES = frozenset({".bmp", ".png", ".jpg", ".jpeg", ".tif", ".tiff"})


@dataclass(frozen=True)
class Fault:
    """A file that cannot be used: its path relative to the root, a short stable code, and the particulars."""

    file: str
    fault: str
    detail: str


@dataclass(frozen=True)
class ListedCell:
    """What a tree's names and label files say of one cell; None where they say nothing."""

    cell_id: str
    label: str
    subject: str | None
    image: int | None
    cell: int | None
    official_fold: int | None
    official_part: str | None


@dataclass(frozen=True)
class Listing:
    """The cells of a tree in the order of their ids, what had to be left out, and what is worth knowing."""

    cells: tuple[ListedCell, ...]
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]
    side: int | None  # width and height that each image must have, where the data set fixes them


class _Place(NamedTuple):
    """Where in C-NMC a file lies; `folder` tells two copies of a part from each other."""

    part: str
    fold: int | None
    label: str | None
    folder: str


def list_cnmc(root: Path) -> Listing:
    """List a C-NMC 2019 tree: the archive's layout or the common mirror's, with folders above them or not.

    Raises:
        DataError: no such folder, no cell in it, one part twice, or an unusable label file.
    """
    files = _tree_files(root)
    bitmaps = [file for file in files if _suffix(file) == ".bmp"]
    places = {file: place for file in bitmaps if (place := _cnmc_place(root, file)) is not None}
    _refuse_two_copies(root, places)
    tables = [file for file in files if "prelim" in file.lower() and _suffix(file) == ".csv"]
    labels, notes = read_prelim_labels(root, tables)
    cells, faults = _cnmc_cells(places, labels)
    if not cells and not faults:
        raise _nothing_found(
            root,
            "C-NMC cells: fold_<0-2>/<all|hem>/*.bmp below C-NMC_training_data or training_data, and "
            "*.bmp below a folder *prelim*",
            "Set data.root or CNMC_ROOT to the folder of the unpacked data set.",
        )
    prelim_names = {_name(file) for file, place in places.items() if place.part == "prelim"}
    missing = [name for name in labels if name not in prelim_names]
    if missing:
        notes.append(f"{len(missing)} of {len(labels)} rows of {tables[0]} have no file ({_some(missing)})")
    n_final = sum(place.part == "final" for place in places.values())
    if n_final:
        notes.append(f"{n_final} final-phase images have no labels: they are not part of the index")
    notes += _note("lie outside the folders of C-NMC", [file for file in bitmaps if file not in places])
    notes += _note(
        "are hidden or not .bmp", sorted(set(files) - set(bitmaps) - set(tables) - {SYNTHETIC_MANIFEST})
    )
    return Listing(tuple(cells), tuple(faults), tuple(notes), CNMC_SIDE)


def list_folder(root: Path, subject_pattern: str | None) -> Listing:
    """List a tree of class folders: the class is the first folder below `root`, images lie anywhere in it.

    `subject_pattern` is searched in the path relative to `root`; its group `subject`, or its only group, is
    the subject's name, stored in upper case. None: nothing is known of subjects.

    Raises:
        ConfigError: the pattern is not a regular expression with such a group.
        DataError: no such folder, or no image in it.
    """
    pattern = None if subject_pattern is None else _subject_regex(subject_pattern)
    files = _tree_files(root)
    images = [file for file in files if _suffix(file) in IMAGE_SUFFIXES]
    if not images:
        raise _nothing_found(
            root, "<class>/**/*.{bmp,png,jpg,tif}", "Set data.root to the class folders' parent."
        )
    cells: list[ListedCell] = []
    faults: list[Fault] = []
    for file in images:
        label, *below = file.split("/")
        subject = None if pattern is None else _search_subject(pattern, file)
        if not below:
            faults.append(Fault(file, "no class", "lies beside the class folders, not in one"))
        elif pattern is not None and subject is None:
            faults.append(Fault(file, "no subject", f"data.subject_pattern={pattern.pattern} does not match"))
        else:
            cells.append(ListedCell(file, label, subject, None, None, None, None))
    notes = _note("are hidden or not images", [file for file in files if _suffix(file) not in IMAGE_SUFFIXES])
    return Listing(tuple(cells), tuple(faults), tuple(notes), None)


def _tree_files(root: Path) -> list[str]:
    """All files below `root`, relative, with `/`, sorted; hidden folders are not entered."""
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"the data folder {root} {what}. Set data.root to the folder that holds the images.")
    try:
        files = sorted(_walk(root))
    except OSError as error:
        raise DataError(f"a folder below {root} cannot be read: {error}. Mend its permissions.") from error
    for file in files:
        if file.encode("utf-8", "ignore").decode() != file:
            raise DataError(f"a file name below {root} is not UTF-8: {file!a}. Rename the file.")
    return files


def _walk(root: Path) -> Iterator[str]:
    def stop(error: OSError) -> None:
        raise error

    for folder, subfolders, names in os.walk(root, onerror=stop, followlinks=True):
        # A link to a folder above itself would be walked for ever.
        here = Path(folder).resolve()
        loops = {name for name in subfolders if here.is_relative_to(Path(folder, name).resolve())}
        subfolders[:] = [name for name in subfolders if not name.startswith(".") and name not in loops]
        prefix = PurePosixPath(Path(folder).relative_to(root).as_posix())
        yield from (str(prefix / name) for name in names)


def _cnmc_place(root: Path, file: str) -> _Place | None:
    """Read a file's place off its folders, innermost first; None for a file outside the known folders."""
    folder = PurePosixPath(file).parent
    folders = [part.lower() for part in (root.resolve().name, *folder.parts)]
    fold = re.fullmatch("fold_([012])", folders[-2]) if len(folders) > 1 else None
    if fold is not None and folders[-1] in ("all", "hem"):
        return _Place("train", int(fold[1]), folders[-1].upper(), str(folder.parent))
    for part in ("prelim", "final"):
        if part in folders[-1]:
            return _Place(part, None, None, str(folder))
    return None


def _refuse_two_copies(root: Path, places: Mapping[str, _Place]) -> None:
    folders: defaultdict[tuple[str, int | None], set[str]] = defaultdict(set)
    for place in places.values():
        folders[place.part, place.fold].add(place.folder)
    for (part, fold), copies in folders.items():
        if len(copies) > 1:
            what = f"fold {fold}" if fold is not None else f"the {part} part"
            raise DataError(
                f"{root} holds {what} of C-NMC {len(copies)} times: {', '.join(sorted(copies))}. "
                "Set data.root to a folder with one copy."
            )


def _cnmc_cells(
    places: Mapping[str, _Place], labels: Mapping[str, PrelimRow]
) -> tuple[list[ListedCell], list[Fault]]:
    cells: list[ListedCell] = []
    faults: list[Fault] = []
    first_seen: dict[tuple[str, str], str] = {}
    for file, place in places.items():
        if place.part == "final":
            continue
        first = first_seen.setdefault((place.part, _name(file)), file)
        if first != file:
            faults.append(Fault(file, "duplicate name", f"the name of {first} too"))
        else:
            listed = _cnmc_cell(file, place, labels)
            faults.append(listed) if isinstance(listed, Fault) else cells.append(listed)
    return cells, faults


def _cnmc_cell(file: str, place: _Place, labels: Mapping[str, PrelimRow]) -> ListedCell | Fault:
    if place.part == "prelim":
        row = labels.get(_name(file))
        if row is None:
            return Fault(file, "no label", "no row of a *prelim*.csv names it")
        label, original, source = row.label, row.original, "the label file"
    else:
        parsed = parse_name(_name(file))
        if parsed is None or place.label is None:
            return Fault(file, "unreadable name", f"expected {NAME_RULE}")
        label, original, source = place.label, parsed, "the folder"
    if original.label != label:
        return Fault(file, "class contradiction", f"the name says {original.label}, {source} {label}")
    return ListedCell(file, label, original.subject, original.image, original.cell, place.fold, place.part)


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


def _nothing_found(root: Path, wanted: str, advice: str) -> DataError:
    present = sorted(entry.name for entry in root.iterdir())
    held = f"it holds {_some(present)}" if present else "it is empty"
    return DataError(f"no cells found in {root}: {held}. Looked for {wanted}. {advice}")


def _note(what: str, files: Sequence[str]) -> list[str]:
    return [f"{len(files)} files {what} and are ignored ({_some(files)})"] if files else []


def _some(names: Sequence[str]) -> str:
    """The first names of a long list."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _name(file: str) -> str:
    return PurePosixPath(file).name.lower()


def _suffix(file: str) -> str:
    """Lower-case suffix; none for a hidden file (`._1.bmp`, left by macOS, is no image)."""
    path = PurePosixPath(file)
    return "" if path.name.startswith(".") else path.suffix.lower()
