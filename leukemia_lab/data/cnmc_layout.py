"""Which files of a C-NMC 2019 tree are cells, and what their paths and label files say; no pixel is read here."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from leukemia_lab.data.cnmc_names import NAME_RULE, PrelimRow, parse_name, read_prelim_labels
from leukemia_lab.data.label_tables import Labels
from leukemia_lab.data.layouts import (
    Fault,
    Ignored,
    ListedCell,
    Listing,
    ignored_file,
    ignored_notes,
    some,
    suffix,
    unless_empty,
    walk_tree,
)

CNMC_SIDE = 450


class _Place(NamedTuple):
    """Where in C-NMC a file lies; `folder` tells two copies of a part from each other."""

    part: str
    fold: int | None
    label: str | None
    folder: str


def list_cnmc(root: Path) -> Listing:
    """List a C-NMC 2019 tree: the archive's layout or the common mirror's, with folders above them or not.

    Raises:
        DataError: no such folder, or neither a cell nor a fault in it.
    """
    tree = walk_tree(root)
    bitmaps = [file for file in tree.files if suffix(file) == ".bmp"]
    tables = [file for file in tree.files if "prelim" in file.lower() and suffix(file) == ".csv"]
    top = root.resolve().name
    places = {file: place for file in bitmaps if (place := _place(top, file)) is not None}
    used = {file: place for file, place in places.items() if place.part != "final"}
    labels = read_prelim_labels(root, tables)
    cells, faults = _cells(used, labels)
    others = set(tree.files) - set(tables) - set(bitmaps)
    ignored = [ignored_file(file) for file in sorted(others)]
    ignored += [Ignored(file, "final phase, no label") for file in places if file not in used]
    ignored += [Ignored(file, "outside the folders of C-NMC") for file in bitmaps if file not in places]
    prelim = {_name(file) for file, place in used.items() if place.part == "prelim"}
    missing = [name for name in labels.rows if name not in prelim]
    notes = list(labels.notes)
    if missing:
        of = f"{len(missing)} of {len(labels.rows)} rows of {' and '.join(tables)}"
        notes.append(f"{of} have no file ({some(missing)})")
    listing = Listing(
        cells=tuple(cells),
        faults=(*tree.misnamed, *faults),
        label_files=tuple(tables),
        ignored=tuple(ignored),
        n_files=tree.n_files,
        other_faults=(*tree.closed, *labels.faults_without_file(prelim)),
        rows_without_file=tuple(missing),
        notes=(*notes, *ignored_notes(ignored)),
        side=CNMC_SIDE,
    )
    wanted = (
        "C-NMC cells: fold_<0-2>/<all|hem>/*.bmp below C-NMC_training_data or training_data, and "
        "*.bmp below a folder *prelim*"
    )
    return unless_empty(
        root, listing, wanted, "Set data.root or CNMC_ROOT to the folder of the unpacked data set."
    )


def _place(top: str, file: str) -> _Place | None:
    """Read a file's place off its folders, innermost first; None for a file outside the known folders."""
    folder = PurePosixPath(file).parent
    folders = [part.lower() for part in (top, *folder.parts)]
    fold = re.fullmatch("fold_([012])", folders[-2]) if len(folders) > 1 else None
    if fold is not None and folders[-1] in ("all", "hem"):
        return _Place("train", int(fold[1]), folders[-1].upper(), str(folder.parent))
    for part in ("prelim", "final"):
        if part in folders[-1]:
            return _Place(part, None, None, str(folder))
    return None


def _cells(places: Mapping[str, _Place], labels: Labels[PrelimRow]) -> tuple[list[ListedCell], list[Fault]]:
    cells: list[ListedCell] = []
    faults: list[Fault] = []
    kept = _kept_copies(places.values())
    first_seen: dict[tuple[str, str], str] = {}
    for file, place in places.items():
        folder = kept[place.part, place.fold]
        if place.folder != folder:
            faults.append(Fault(file, "second copy", f"{_part_name(place)} is read from {folder}"))
            continue
        first = first_seen.setdefault((place.part, _name(file)), file)
        if first != file:
            faults.append(Fault(file, "duplicate name", f"the name of {first} too"))
        else:
            listed = _cell(file, place, labels)
            faults.append(listed) if isinstance(listed, Fault) else cells.append(listed)
    return cells, faults


def _kept_copies(places: Iterable[_Place]) -> dict[tuple[str, int | None], str]:
    """The folder that each part or fold is read from: the one with most files, the first of equals."""
    copies: defaultdict[tuple[str, int | None], Counter[str]] = defaultdict(Counter)
    for place in places:
        copies[place.part, place.fold][place.folder] += 1
    return {key: min(sizes, key=lambda folder: (-sizes[folder], folder)) for key, sizes in copies.items()}


def _part_name(place: _Place) -> str:
    return f"the {place.part} part" if place.fold is None else f"fold {place.fold}"


def _cell(file: str, place: _Place, labels: Labels[PrelimRow]) -> ListedCell | Fault:
    if place.part == "prelim":
        name = _name(file)
        if name in labels.bad_rows:
            return labels.file_fault(name, file)
        row = labels.rows.get(name)
        if row is None:
            return Fault(file, "no label", "no usable row of a *prelim*.csv names it")
        label, original, source = row.label, row.original, "the label file"
    else:
        parsed = parse_name(_name(file))
        if parsed is None or place.label is None:
            return Fault(file, "unreadable name", f"expected {NAME_RULE}")
        label, original, source = place.label, parsed, "the folder"
    if original.label != label:
        return Fault(file, "class contradiction", f"the name says {original.label}, {source} {label}")
    return ListedCell(
        cell_id=file,
        label=label,
        subject=original.subject,
        image=original.image,
        cell=original.cell,
        official_fold=place.fold,
        official_part=place.part,
        source=None,
        extra={},
    )


def _name(file: str) -> str:
    return PurePosixPath(file).name.lower()
