"""The audit as its users start it, and what its document says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from leukemia_lab import audit
from leukemia_lab.auditing.document import completed

DONE, BAD_FILES, BAD_INPUT, INTERRUPTED = 0, 1, 2, 3
SUBJECTS = r"data.subject_pattern='/(?P<subject>S\d+)_'"
CONTRACT = {"n_cells", "n_subjects", "groups", "pairs", "faults", "expected", "confounds"}


def audited(output: Path, *arguments: str, status: int = DONE) -> dict[str, Any]:
    """The audit document, after the command ended with `status`."""
    assert audit.main([*arguments, f"output={output}"]) == status
    document: dict[str, Any] = json.loads((output / "audit.json").read_text(encoding="utf-8"))
    assert set(document) >= CONTRACT
    shown = completed(document)
    assert set(document) - set(shown) == {"version", "commit"}  # whatever else is found has words on the page
    assert set(document["expected"]) == set(shown["expected"])
    files = document["files"]
    assert files is None or sum(files.values()) == document["n_files"]
    return document


def faults(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(fault["file"], fault["fault"]) for fault in document["faults"] if not fault["usable"]}
