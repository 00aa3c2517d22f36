"""Can this data be trusted? `python -m leukemia_lab.audit data=cnmc data.root=/data/C-NMC`: audit.json, audit.html."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leukemia_lab.command import Command, Place, run_command
from leukemia_lab.errors import UnexpectedDataError
from leukemia_lab.runs.record import made_folder
from leukemia_lab.schema import AuditSettings

if TYPE_CHECKING:
    from leukemia_lab.auditing.contents import Findings
    from leukemia_lab.data.index import CellIndex

AUDITS = Path("audits")


def job(settings: AuditSettings, place: Place) -> None:
    """Audit the data, write what was found, show it.

    Raises:
        UnexpectedDataError: there are files that cannot be used; all that was found is written all the same.
    """
    import json

    from leukemia_lab.auditing.contents import audit_document, n_unusable
    from leukemia_lab.auditing.page import render_page
    from leukemia_lab.auditing.summary import summary
    from leukemia_lab.pages.formats import counted
    from leukemia_lab.progress import RESULTS
    from leukemia_lab.runs.record import write_atomically

    found = findings(settings)
    is_cnmc = settings.data.name == "cnmc"
    document = audit_document(found, is_cnmc=is_cnmc, about=_about(settings, found))
    folder = _folder(settings, found.index)
    write_atomically(folder / "audit.json", json.dumps(document, indent=1, allow_nan=False) + "\n")
    write_atomically(folder / "audit.html", render_page(document, lambda cell: _picture(found.index, cell)))
    RESULTS.print(summary(document))
    RESULTS.print(
        f"all of it: {folder / 'audit.html'} and {folder / 'audit.json'}", markup=False, soft_wrap=True
    )
    n_bad = n_unusable(document)
    if n_bad > 0:
        raise UnexpectedDataError(
            f"{counted(n_bad, 'fault')} of files, label tables or folders, listed as `faults` in "
            f"{folder / 'audit.json'}. Mend them, or leave such files out of runs with data.bad_files=skip."
        )


def findings(settings: AuditSettings) -> Findings:
    """Read the data, leniently: what cannot be used is listed, and stops nothing."""
    from leukemia_lab.auditing.contents import Findings
    from leukemia_lab.cells import know_cells
    from leukemia_lab.data.cache import cache_folder
    from leukemia_lab.data.combined import combine_scans
    from leukemia_lab.data.index import make_index, scan_tree
    from leukemia_lab.data.manifests import check_manifest, hashed_files, without_differing
    from leukemia_lab.data.twins import merge_twins
    from leukemia_lab.indexing import combined_trees, known_twins, manifests, read_data, tree_of
    from leukemia_lab.schema import CombinedData, ManifestData

    data = settings.data
    if isinstance(data, ManifestData):
        scans, index = {}, read_data(data)
    elif isinstance(data, CombinedData):
        trees = combined_trees(data)
        scans = {part.source: scan_tree(part.tree, cache_folder()) for part in trees}
        index = combine_scans(trees, scans)
    else:
        scans = {"": scan_tree(tree_of(data), cache_folder())}
        index = make_index(scans[""])
    files = hashed_files(index) if manifests(data) else index.table
    checks = [check_manifest(files, path) for path in manifests(data)]
    known = know_cells(without_differing(index, checks), known_twins(data))
    merged = merge_twins(known.index, known.evidence, known.twins)
    return Findings(merged, scans, known.evidence, known.twins, checks)


def _about(settings: AuditSettings, found: Findings) -> dict[str, Any]:
    from leukemia_lab.indexing import data_stamps
    from leukemia_lab.runs import record

    index = found.index
    return {
        "data": {"name": settings.data.name, "root": index.where, "fingerprint": index.fingerprint},
        "made": record.now(),
        "command": " ".join(["python -m leukemia_lab.audit", *sys.argv[1:]]),
        "versions": record.versions(),
        "commit": record.commit(),
        "stamps": list(data_stamps(index)) if index.has_pixels else [],
    }


def _folder(settings: AuditSettings, index: CellIndex) -> Path:
    folder = settings.output
    if folder is None:
        folder = AUDITS / f"{settings.data.name}-{index.fingerprint[:12]}"
    return made_folder(folder, "output")


def _picture(index: CellIndex, cell_id: str) -> Any:
    from leukemia_lab.data.images import ImageFileError, read_rgb

    try:
        return read_rgb(index.path_of(cell_id)) if index.has_pixels else None
    except ImageFileError:
        return None


def build_faults(settings: AuditSettings) -> list[str]:
    """What can be said of the files before the data are read."""
    from leukemia_lab.indexing import missing_files

    return missing_files(settings.data, None)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    command = Command("audit", AuditSettings, job, build_faults)
    return run_command(command, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
