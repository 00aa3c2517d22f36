"""From the data node of a config to the index of the cells that it names, and what else it names; imports no torch."""

from __future__ import annotations

from typing import Any

from leukemia_lab.data.cache import cache_folder
from leukemia_lab.data.combined import CombinedTree, combine
from leukemia_lab.data.index import CellIndex, Tree, read_index
from leukemia_lab.data.known_twins import NO_KNOWN_TWINS, KnownTwins, read_known_twins
from leukemia_lab.data.manifests import check_manifests, read_manifest_index
from leukemia_lab.data.metadata import find_metadata
from leukemia_lab.data.source import SYNTHETIC, is_synthetic, synthetic_root, tree_root
from leukemia_lab.data.synthetic import SyntheticSpec
from leukemia_lab.schema import CnmcData, CombinedData, FolderData, ManifestData, SyntheticData
from leukemia_lab.schema.data import Data, ProtocolNode


def read_data(data: Data) -> CellIndex:
    """The index of what the data node names; a synthetic tree is drawn first."""
    if isinstance(data, ManifestData):
        return read_manifest_index(data.file)
    if isinstance(data, CombinedData):
        return combine(combined_trees(data), data.positive_class, data.bad_files, cache_folder())
    positive = data.positive_class if isinstance(data, FolderData) else None
    index = read_index(tree_of(data), positive, data.bad_files, cache_folder())
    return check_manifests(index, manifests(data), data.bad_files)


def tree_of(data: SyntheticData | CnmcData | FolderData) -> Tree:
    """The tree that a data node names; a synthetic one is drawn where it is not there."""
    if isinstance(data, SyntheticData):
        spec = SyntheticSpec(**data.model_dump(exclude={"name", "root", "bad_files"}))
        return Tree(synthetic_root(data.root, spec), "cnmc")
    if isinstance(data, FolderData):
        root = tree_root(data.name, data.root)
        return Tree(root, "folder", data.subject_pattern, find_metadata(root, data.metadata))
    return Tree(tree_root(data.name, data.root), "cnmc")


def combined_trees(data: CombinedData) -> list[CombinedTree]:
    """The trees of a combined data set."""
    trees = []
    for source, node in data.trees.items():
        root = tree_root("combined", node.root)
        metadata = find_metadata(root, node.metadata) if node.layout == "folder" else None
        trees.append(
            CombinedTree(source, Tree(root, node.layout, node.subject_pattern, metadata), node.classes)
        )
    return trees


def manifests(data: Data) -> list[Any]:
    """The manifests that the tree is checked against."""
    return list(getattr(data, "manifest", []))


def known_twins(data: Data) -> KnownTwins:
    """What the user's own file says of twins."""
    path = getattr(data, "twins_file", None)
    return NO_KNOWN_TWINS if path is None else read_known_twins(path)


def missing_files(data: Data, protocol: ProtocolNode | None) -> list[str]:
    """A fault for each file that a key names and that is not there; found before any data are touched."""
    named = [
        ("data.twins_file", [getattr(data, "twins_file", None)]),
        ("data.manifest", manifests(data)),
        ("data.file", getattr(data, "file", [])),
        ("protocol.file", [getattr(protocol, "file", None)]),
    ]
    return [
        f"{key}={path}: no such file"
        for key, paths in named
        for path in paths
        if path is not None and not path.exists()
    ]


def data_stamps(index: CellIndex) -> tuple[str, ...]:
    """SYNTHETIC, where any cell comes from the generator."""
    files = [index.path_of(cell_id) for cell_id in index.table["cell_id"]]
    return (SYNTHETIC,) if any(is_synthetic(root, files) for root in index.roots) else ()
