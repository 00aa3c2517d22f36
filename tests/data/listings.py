"""What tests of listings share: no file is lost or counted twice."""

from __future__ import annotations

from pathlib import Path

from leukemia_lab.data.layouts import Listing


def check_bookkeeping(root: Path, listing: Listing) -> None:
    """Every file below `root` that lies in no hidden folder has exactly one fate."""
    walked = sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if not path.is_dir() and not any(part.startswith(".") for part in path.relative_to(root).parts[:-1])
    )
    fates = [cell.cell_id for cell in listing.cells] + [fault.file for fault in listing.faults]
    fates += [*listing.label_files, *(one.file for one in listing.ignored)]
    assert sorted(fates) == walked
    assert listing.n_files == len(walked)


def faults(listing: Listing) -> dict[str, str]:
    """The fault of each file."""
    return {fault.file: fault.fault for fault in listing.faults}


def reasons(listing: Listing) -> dict[str, str]:
    """Why each ignored file is."""
    return {one.file: one.reason for one in listing.ignored}
