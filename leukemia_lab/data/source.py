"""Where the cells come from: a tree on disk, or the synthetic look-alike drawn first."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from leukemia_lab.data.cache import cache_folder
from leukemia_lab.data.layouts import SYNTHETIC_MANIFEST
from leukemia_lab.data.synthetic import SyntheticSpec, tree_name, write_tree
from leukemia_lab.errors import ConfigError

SYNTHETIC = "SYNTHETIC"
SET_ROOT = {
    "cnmc": "set data.root=/path/to/C-NMC, or the variable CNMC_ROOT",
    "combined": "give each tree a root: data.trees.<source>.root=/path",
    "folder": "set data.root=/path/to/a/tree/of/class/folders",
}


def tree_root(name: str, root: Path | None) -> Path:
    """The root of a user's tree; ConfigError where none is given."""
    if root is None:
        raise ConfigError(f"data.root: not set, and data={name} needs it; {SET_ROOT[name]}")
    return root.expanduser()


def synthetic_root(root: Path | None, spec: SyntheticSpec) -> Path:
    """The root of the synthetic tree of `spec`, drawn unless it is there and whole."""
    where = cache_folder() / "synthetic" / tree_name(spec) if root is None else root.expanduser()
    write_tree(where, spec)
    return where


def is_synthetic(root: Path, files: Iterable[Path]) -> bool:
    """Whether `root` or any of the files lies in a tree that the synthetic generator wrote.

    Links are followed: the stamp stays whatever the tree is read as and wherever it is read from.
    """
    files = list(files)
    linked = {file.resolve().parent for file in files if file.is_symlink()}
    folders = {folder.resolve() for folder in {root, *(file.parent for file in files), *linked}}
    folders.update(*(folder.parents for folder in folders))
    return any((folder / SYNTHETIC_MANIFEST).exists() for folder in folders)
