"""The audit under fire: whatever happens to a tree, no traceback, no hang, and no file that is lost in silence."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from audit_trees import write_cnmc, write_described, write_folders
from damage import FILE_DAMAGES, TABLE_DAMAGES, Damage, open_again

from leukemia_lab import audit
from leukemia_lab.auditing.contents import Findings
from leukemia_lab.command import Place
from leukemia_lab.config import Composer, checked
from leukemia_lab.errors import DataError, UnexpectedDataError
from leukemia_lab.schema import AuditSettings

DAMAGES_A_STATE = 5  # between two audits
STATES_A_TREE = 6  # until it is made anew
IMAGES = {".bmp", ".png", ".jpg", ".jpeg", ".tif", ".tiff"}
FOLDER = ("data=folder", r"data.subject_pattern='/(?P<subject>S\d+)_'")


class Layout(NamedTuple):
    """A kind of tree: what draws it, how it is audited, and what may happen to it."""

    overrides: tuple[str, ...]
    damages: tuple[Damage, ...]


LAYOUTS = {
    write_cnmc: Layout(("data=cnmc",), FILE_DAMAGES + TABLE_DAMAGES),
    write_folders: Layout(FOLDER, FILE_DAMAGES),
    write_described: Layout(("data=folder",), FILE_DAMAGES + 2 * TABLE_DAMAGES),
}


class Known(NamedTuple):
    """What a tree held when it was whole: the hash of each file, the label of each cell."""

    sha256: dict[str, str]
    labels: dict[str, str]


def files_below(folder: Path, through: tuple[str, ...] = (), shown: str = "") -> Iterator[str]:
    """Relative paths of all files by another walk than the package's: links are followed, loops and hidden
    folders left out."""
    real = os.path.realpath(folder)
    through = (*through, real)
    try:
        with os.scandir(folder) as found:
            # What a folder without rights lists is known by its kind alone.
            is_folder = {entry.name: leads_to_folder(entry) for entry in found}
    except OSError:
        return
    for name, inside in sorted(is_folder.items()):
        if not inside:
            yield shown + name
        elif not name.startswith("."):
            leads_to = os.path.realpath(folder / name)
            if not any(f"{at}/".startswith(f"{leads_to}/") for at in through):
                yield from files_below(folder / name, through, f"{shown}{name}/")


def leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def state(root: Path) -> list[tuple[str, int, int, int, int]]:
    """What a damage changes in a tree."""
    seen = []
    for folder, subfolders, names in os.walk(root):
        for name in (*subfolders, *names, "."):
            with contextlib.suppress(OSError):
                stat = (at := Path(folder, name)).lstat()
                seen.append((str(at), stat.st_ino, stat.st_mode, stat.st_size, stat.st_ctime_ns))
    return sorted(seen)


def sha256(file: Path) -> str | None:
    """None of what is no readable file."""
    if not os.access(file, os.R_OK) or not file.is_file():
        return None
    return hashlib.sha256(file.read_bytes()).hexdigest()


class Fire:
    """A tree that is damaged again and again, and audited in between."""

    def __init__(self, draw: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.draw, self.layout = draw, LAYOUTS[draw]
        self.root, self.whole, self.output = folder / "tree", folder / "whole", folder / "audit"
        self.seen: list[Findings] = []
        draw(self.whole)
        self.rebuild()
        overrides = [*self.layout.overrides, f"data.root={self.root}", f"output={self.output}"]
        self.settings = checked(AuditSettings, Composer("audit", AuditSettings, None).compose(overrides))
        findings = audit.findings

        def remember(settings: AuditSettings) -> Findings:
            self.seen.append(findings(settings))
            return self.seen[-1]

        monkeypatch.setattr(audit, "findings", remember)
        assert self.audit() == 0
        table = self.seen[-1].index.table
        labels = dict(zip(table["cell_id"], table["label"], strict=True))
        assert len(labels) == sum(Path(file).suffix in IMAGES for file in files_below(self.root))
        self.known = Known({file: str(sha256(self.root / file)) for file in files_below(self.root)}, labels)

    def rebuild(self) -> None:
        if self.root.exists():
            open_again(self.root)
            shutil.rmtree(self.root)
        shutil.copytree(self.whole, self.root)

    def damage(self, rng: random.Random) -> str:
        """One damage that changed something; its name. A tree that can be damaged no more is made anew."""
        for attempt in count():
            if attempt % 100 == 99:
                self.rebuild()
            before, damage = state(self.root), rng.choice(self.layout.damages)
            with contextlib.suppress(OSError):  # a name too long, a folder that lets nothing in
                damage(self.root, rng)
            if state(self.root) != before:
                return damage.__name__
        raise AssertionError("count() does not end")

    def audit(self) -> int:
        """The exit status of the command's job; whatever is no error of ours is raised."""
        self.seen.clear()
        try:
            audit.job(self.settings, Place(self.output))
        except UnexpectedDataError:
            return 1
        except DataError as error:
            assert "no cells found in" in str(error)  # noqa: PT017 - a whole audit is as good
            return 2
        return 0

    def check(self, status: int) -> None:
        """Every file has one fate, as another walk counts them; untouched cells are still cells."""
        files = list(files_below(self.root))
        if status == 2:
            assert self.expected_cells(files) == {}
            return
        found = self.seen[-1]
        scan = found.scans[""]
        cells = dict(zip(found.index.table["cell_id"], found.index.table["label"], strict=True))
        other = [id(fault) for fault in scan.listing.other_faults]
        faulty = {fault.file: fault.fault for fault in found.index.faults if id(fault) not in other}
        ignored = [one.file for one in scan.listing.ignored]
        fates = [*cells, *faulty, *scan.listing.label_files, *ignored]
        named = [file if file.isascii() or utf8(file) else f"{file!a}" for file in files]
        assert sorted(fates) == sorted(named)
        document = json.loads((self.output / "audit.json").read_text(encoding="utf-8"))
        counts = document["files"]
        assert document["n_files"] == len(files) == sum(counts.values())
        assert counts["cells"] == document["n_cells"] == len(cells)
        assert counts["unusable"] == len(faulty)
        assert (status == 1) == any(not fault["usable"] for fault in document["faults"])
        for file, label in self.expected_cells(files).items():
            doubled = faulty.get(file) in ("second copy", "duplicate name")
            assert doubled or cells.get(file) == label, (file, faulty.get(file))
        assert "accounted for" in (self.output / "audit.html").read_text(encoding="utf-8")

    def expected_cells(self, files: list[str]) -> dict[str, str]:
        """The untouched cells whose tables are untouched, with their labels."""
        tables = [file for file in self.known.sha256 if file.endswith(".csv")]
        now = [file for file in files if file.lower().endswith(".csv")]
        same = sorted(now) == tables and all(self.untouched(file) for file in tables)
        own = {
            file: label for file, label in self.known.labels.items() if file in files and self.untouched(file)
        }
        by_table = self.draw is write_described
        return {file: label for file, label in own.items() if same or not (by_table or "prelim" in file)}

    def untouched(self, file: str) -> bool:
        return sha256(self.root / file) == self.known.sha256[file]


def utf8(name: str) -> bool:
    return name.encode("utf-8", "ignore").decode() == name


def fire(draw: Any, n_damages: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Fire(draw, folder, monkeypatch)
    rng = random.Random(f"{draw.__name__} {n_damages}")
    done: list[str] = []
    statuses = set()
    for number in range(n_damages // DAMAGES_A_STATE):
        if number % STATES_A_TREE == 0:
            tree.rebuild()
            done.clear()
        done += [tree.damage(rng) for _ in range(DAMAGES_A_STATE)]
        try:
            status = tree.audit()
            tree.check(status)
        except BaseException as error:
            error.add_note(f"after {', '.join(done)}")
            raise
        statuses.add(status)
    open_again(tree.root)
    assert 1 in statuses


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("draw", "n_damages"), [(write_cnmc, 80), (write_folders, 60), (write_described, 60)]
)
def test_two_hundred_damages(
    draw: Any, n_damages: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fire(draw, n_damages, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("draw", "n_damages"), [(write_cnmc, 800), (write_folders, 600), (write_described, 600)]
)
def test_two_thousand_damages(
    draw: Any, n_damages: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fire(draw, n_damages, tmp_path, monkeypatch)
