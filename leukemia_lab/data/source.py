"""Where the cells come from: a tree on disk, or the synthetic look-alike drawn first."""

from __future__ import annotations

from pathlib import Path

from leukemia_lab.data.cache import cache_folder
from leukemia_lab.data.layouts import SYNTHETIC_MANIFEST
from leukemia_lab.data.synthetic import SyntheticSpec, tree_name, write_tree
from leukemia_lab.errors import ConfigError

SYNTHETIC = "SYNTHETIC"
SET_ROOT = {
    "cnmc": "set data.root=/path/to/C-NMC, or the variable CNMC_ROOT",
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


def is_synthetic(root: Path) -> bool:
    """Whether `root` is, or lies in, a tree that the synthetic generator wrote, whatever it is read as."""
    return any((folder / SYNTHETIC_MANIFEST).exists() for folder in (root.resolve(), *root.resolve().parents))
