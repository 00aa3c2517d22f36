"""The run folder and its record: one folder a run, opened once, written atomically.

`record.json` says what the run is (identity, stamps, versions, hardware) and how far it came (status, seconds).
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from leukemia_lab import __version__
from leukemia_lab.atomic import replacing
from leukemia_lab.errors import RunError
from leukemia_lab.runs import lease
from leukemia_lab.runs.lease import Claim, Lease

FORMAT_VERSION = 1
RECORD, METRICS, CONFIG = "record.json", "metrics.json", "config.yaml"
PREDICTIONS, SPLIT = "predictions.parquet", "split.parquet"
HISTORY = "history.csv"  # one row an epoch, of neural nets
CHECKPOINTS, FIGURES, TENSORBOARD = "checkpoints", "figures", "tensorboard"
EXPLAINED, EXPLAINED_CELLS = "explained", "cells.json"
TEST_SEEN, AVERAGED = "TEST SEEN", "DIHEDRAL AVERAGING"  # stamps of results, not of training
NEW = "new"  # the status before anything is done in a folder, which may hold files of another run until then
CROSS_VALIDATION = "cross_validation"  # the `kind` of a folder that holds a run for each fold
LIBRARIES = (
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "kornia",
    "hydra-core",
    "numpy",
    "albumentations",
    "scikit-learn",
    "scikit-learn-intelex",
    "scikit-image",
    "timm",
    "pandas",
    "pillow",
)


def write_atomically(path: Path, text: str) -> None:
    """Write `text` so that a reader, or a kill in between, sees the old file or the new one, nothing else."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def made_folder(folder: Path, key: str) -> Path:
    """`folder`, made where it is not there; RunError naming the `key` that gave it where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"{key}={folder} cannot be made: {error}; give a folder that can be written"
        ) from error
    return folder


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of a run folder; RunError says which one is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            f"{path} is missing: {path.parent} is no run folder, or its run has not come this far"
        ) from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); force=true starts the run over") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} holds no JSON object; force=true starts the run over")
    return content


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return found


class RunFolder:
    """One run's folder; `record` is the content of its record.json."""

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path = path
        self.record = record
        self._lease: Lease | None = None

    @classmethod
    def existing(cls, path: Path) -> RunFolder:
        """The folder of a run that was made before; RunError where there is none."""
        if not path.is_dir():
            raise RunError(
                f"run={path}: no such folder; give a run's folder, e.g. run=runs/simple_cnn-0123456789ab"
            )
        inside = sorted(path.glob(f"*/{RECORD}"))
        if inside and not (path / RECORD).exists():
            raise RunError(
                f"run={path} is a folder of {len(inside)} runs: give one of them, run={inside[0].parent}"
            )
        return cls(path, read_json(path / RECORD))

    @classmethod
    def open(cls, path: Path, identity: str, force: bool) -> RunFolder:
        """The folder at `path` for the run `identity`: new, or one to return or resume; never another run's."""
        if (path / RECORD).exists() and not force:
            folder = cls.existing(path)
            folder.require_identity(identity)
            if folder.record.get("status") != NEW:
                return folder
        occupied = path.exists() and any(not entry.name.startswith(".") for entry in path.iterdir())
        if occupied and not (path / RECORD).exists():
            raise RunError(f"{path} is not empty and no run folder: give another hydra.run.dir")
        path.mkdir(parents=True, exist_ok=True)
        folder = cls(path, {})
        with folder.held(damaged=force):  # never under another process's hands
            if folder.record and not force:
                folder.require_identity(identity)
            if force or folder.record.get("status", NEW) == NEW:  # or a kill has left it half cleared
                folder.record = {
                    "format": FORMAT_VERSION,
                    "identity": identity,
                    "test_looks_by_split": _looks(path),
                }
                folder.update(status=NEW)  # first, so that a kill while clearing forgets no look
                _clear(path)
        return folder

    def require_identity(self, identity: str) -> None:
        """Raise RunError unless the folder is that of the run `identity`."""
        found = self.record.get("identity")
        if found != identity:
            raise RunError(
                f"{self.path} holds another run ({found}, this one is {identity}): its configuration, data or split "
                "differ. Give another hydra.run.dir, or force=true to replace it"
            )

    def set_split(self, split_hash: str) -> None:
        """Note which split this run uses, and how often this folder has opened its test part before."""
        looks = self.record.setdefault("test_looks_by_split", {})
        self.record |= {"split_hash": split_hash, "test_looks": looks.get(split_hash, 0)}

    def count_test_look(self) -> None:
        """Count that the test part is opened now; starting the run over does not forget it."""
        looks = self.record["test_looks"] + 1
        by_split = self.record["test_looks_by_split"] | {self.record["split_hash"]: looks}
        self.update(test_looks=looks, test_looks_by_split=by_split)

    @property
    def finished(self) -> bool:
        """Whether training ended and its results are all there."""
        return self.record.get("status") == "finished" and (self.path / METRICS).exists()

    @property
    def is_cross_validation(self) -> bool:
        """Whether the folder holds one run a fold instead of a run."""
        return self.record.get("kind") == CROSS_VALIDATION

    def update(self, **fields: Any) -> None:
        """Set fields of the record and write it; LostRunError where another process has taken the run over."""
        self.require_hold()
        self.record |= fields
        write_atomically(self.path / RECORD, json.dumps(self.record, indent=2, default=str) + "\n")

    def write_metrics(self, document: Mapping[str, Any]) -> None:
        """Write metrics.json; LostRunError where another process has taken the run over."""
        self.require_hold()
        write_atomically(self.path / METRICS, json.dumps(document, indent=2, allow_nan=False) + "\n")

    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json."""
        return read_json(self.path / METRICS)

    @contextmanager
    def held(self, *, damaged: bool = False) -> Iterator[None]:
        """Hold the folder, with its record as it is now, against a second process; HeldRunError where one has it.

        RunError where the record cannot be read, unless it may be `damaged`.
        """
        with lease.take(self.path) as self._lease:
            try:
                if (self.path / RECORD).exists() and not damaged:
                    self.record = read_json(self.path / RECORD)  # another process may have gone on with it
                yield
            finally:
                self._lease = None

    def require_hold(self) -> None:
        """Raise LostRunError where this folder was `held` and another process has taken it over."""
        if self._lease is not None:
            self._lease.check()

    @property
    def claim(self) -> Claim | None:
        """By what processes that work for this one see whether the folder is still `held`; None where it is not."""
        return None if self._lease is None else self._lease.claim

    @property
    def after_death(self) -> bool:
        """Whether this folder is `held`, and who held it before has died without letting go of it."""
        return self._lease is not None and self._lease.after_death

    @property
    def lost(self) -> bool:
        """Whether another process was seen to have taken over the folder that is `held`; costs nothing."""
        return self._lease is not None and self._lease.lost


def _looks(path: Path) -> dict[str, int]:
    """The looks at test parts known to the run at `path`, to the runs of its folds, to the cross-validation around it.

    Their records are about to be replaced, or were.
    """
    looks: dict[str, int] = {}
    for file in (path.parent / RECORD, path / RECORD, *path.glob(f"*/{RECORD}")):
        try:
            found = read_json(file).get("test_looks_by_split", {})
        except RunError:  # missing, or damaged and to be replaced
            continue
        for split_hash, n in found.items() if isinstance(found, dict) else ():
            looks[split_hash] = max(n, looks.get(split_hash, 0))
    return looks


def _clear(path: Path) -> None:
    for entry in path.iterdir():
        if entry.name in (lease.FOLDER, RECORD):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of Python, leukemia_lab and the libraries that shape a result."""
    found = {"python": platform.python_version(), "leukemia_lab": __version__}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit of the checkout that this code stands in, `+changes` where files differ; None if installed."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        head = _git(here, "rev-parse", "HEAD")
        return head + ("+changes" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def processor() -> str:
    """The name of this machine's processor and the number of cores that this process may use."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass  # not Linux: the platform's name is what there is
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"
