"""From the data and protocol nodes of a config to indexed, merged, split and checked cells; imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from leukemia_lab.data.cache import cache_folder
from leukemia_lab.data.index import CellIndex
from leukemia_lab.data.known_twins import KnownTwins
from leukemia_lab.data.leaks import refuse_leaks
from leukemia_lab.data.protocols import Protocol, sources_of, training_pool
from leukemia_lab.data.split_files import load_manifest
from leukemia_lab.data.splits import Split, make_split
from leukemia_lab.data.twins import (
    TIED,
    Evidence,
    Twins,
    cells_with_twin_elsewhere,
    evidence_of,
    find_twins,
    merge_twins,
    surplus,
)
from leukemia_lab.errors import ConfigError, SplitError
from leukemia_lab.indexing import data_stamps, known_twins, read_data
from leukemia_lab.progress import CONSOLE
from leukemia_lab.schema import CellSettings, OfficialFolds, RandomCells, SubjectKfold
from leukemia_lab.schema.data import LeaveOneSourceOut, ManifestProtocol, ProtocolNode

Settings = TypeVar("Settings", bound=CellSettings)
_SHOWN = 10


@dataclass(frozen=True)
class Cells:
    """The cells of a run, how they are split, and every stamp that follows from the two."""

    index: CellIndex
    split: Split
    stamps: tuple[str, ...]


@dataclass(frozen=True)
class KnownCells:
    """An index with what is known of copies in it; `index` has the groups and blocks that follow."""

    index: CellIndex
    evidence: Evidence
    twins: Twins


def prepare_cells(settings: CellSettings) -> Cells:
    """Index the data, find twins, split by the protocol, and check the split for leaks."""
    return draw_cells(read_cells(settings), settings.protocol)


def draw_cells(known: KnownCells, protocol: ProtocolNode) -> Cells:
    """The cells with the split that `protocol` draws of them; raises SplitError as `draw_split` does."""
    split = draw_split(known, protocol)
    return Cells(known.index, split, data_stamps(known.index) + split.stamps)


def is_of_folds(protocol: ProtocolNode) -> bool:
    """Whether the protocol stands for several splits: one of every fold, or of every source."""
    return "all" in (getattr(protocol, "fold", None), getattr(protocol, "source", None))


def fold_settings(settings: Settings, index: CellIndex) -> list[Settings]:
    """The settings of each split that `settings` stand for: of every fold or source, or themselves alone.

    Raises:
        SplitError: every source is asked for, and the data name fewer than two.
    """
    protocol = settings.protocol
    nodes: list[ProtocolNode]
    if isinstance(protocol, LeaveOneSourceOut) and protocol.source == "all":
        nodes = [
            protocol.model_copy(update={"source": source})
            for source in sources_of(training_pool(index.table))
        ]
    elif (
        isinstance(protocol, SubjectKfold | OfficialFolds | RandomCells)
        and protocol.fold == "all"
        and protocol.n_folds is not None
    ):
        nodes = [protocol.model_copy(update={"fold": fold}) for fold in range(protocol.n_folds)]
    else:
        return [settings]
    return [settings.model_copy(update={"protocol": node}) for node in nodes]


def draw_folds(known: KnownCells, settings: Settings) -> Iterator[tuple[Settings, Cells]]:
    """The cells with each split that `settings` stand for, and its own settings; each is said when it is drawn."""
    folds = fold_settings(settings, known.index)
    for k, fold in enumerate(folds):
        if len(folds) > 1:
            tested = getattr(fold.protocol, "source", None)
            _say(f"fold {k} of {len(folds)}" + ("" if tested is None else f": source {tested} is tested"))
        yield fold, draw_cells(known, fold.protocol)


def draw_split(known: KnownCells, protocol: ProtocolNode) -> Split:
    """The split of the protocol, through the gate; says what happened and the balance reached.

    Raises:
        SplitError: the protocol does not fit the data, or copies stand on both sides.
    """
    table = known.index.table
    if isinstance(protocol, ManifestProtocol):
        ignored = protocol.twins == "ignore"
        split = load_manifest(protocol.file, known.index, leaky=protocol.leaky, ignore_twins=ignored)
    else:
        if twins_policy(protocol) == "drop":
            used = table if protocol.name == "challenge" else training_pool(table)
            dropped = set(used["cell_id"][surplus(used, known.evidence, known.twins)])
            _say(f"twins: {len(dropped)} cells of names that share cells with a name that stays are left out")
            # no copies are left that tie groups
            table = table[~table["cell_id"].isin(dropped)].drop(columns="block", errors="ignore")
        split = make_split(table, protocol_of(protocol))
    _require_every_class(split, known.index)
    refuse_leaks(split, table, known.evidence.copies)
    for note in (*split.notes, *_fold_notes(known, split)):
        _say(note)
    return split


def twins_policy(protocol: ProtocolNode) -> str:
    """What is done with twins; the papers' random split of cells does not part subjects, so that none are apart."""
    return str(getattr(protocol, "twins", "merge"))


def read_cells(settings: CellSettings) -> KnownCells:
    """The index of the data and its twins, merged unless the protocol ignores them; says what was found, left out."""
    return search_twins(read_data(settings.data), settings)


def search_twins(index: CellIndex, settings: CellSettings) -> KnownCells:
    """`read_cells` of data that are indexed already."""
    known = know_cells(index, known_twins(settings.data))
    policy = twins_policy(settings.protocol)
    if policy != "ignore":
        known = KnownCells(merge_twins(known.index, known.evidence, known.twins), known.evidence, known.twins)
        _say_twins(known.twins)
    elif known.twins.groups:
        _say(f"twins: {len(known.twins.groups)} groups of names share cells and are NOT merged")
    say_what_was_read(known.index)
    return known


def say_what_was_read(index: CellIndex) -> None:
    """Print the notes on the data, and what of them was left out."""
    for note in index.notes:
        _say(f"note: {note}")
    _say_some([f"left out: {fault.file}: {fault.fault} ({fault.detail})" for fault in index.faults])


def know_cells(index: CellIndex, known: KnownTwins) -> KnownCells:
    """Search an index for copies and twins; nothing is merged yet."""
    evidence = evidence_of(index, cache_folder())
    return KnownCells(index, evidence, find_twins(index.table, evidence, known))


def protocol_of(node: ProtocolNode) -> Protocol:
    """The parameters of a protocol that draws; those that it has not are of no effect in it.

    Raises:
        ConfigError: as `require_one_split`.
    """
    require_one_split(node)
    unused: dict[str, Any] = {"test_share": 0.0, "n_folds": 0, "fold": 0, "twins": "merge"}
    return Protocol(**(unused | node.model_dump()))


def require_one_split(node: ProtocolNode) -> None:
    """Raise ConfigError where the protocol stands for all folds or sources, each of which has a split of its own."""
    if is_of_folds(node):
        key = "source" if isinstance(node, LeaveOneSourceOut) else "fold"
        raise ConfigError(f"protocol.{key}=all stands for several splits, here one is needed: name one")


def _require_every_class(split: Split, index: CellIndex) -> None:
    """Raise SplitError where a class of the data is in no part."""
    absent = sorted(set(index.class_names) - set(split.table["label"]))
    if absent:
        raise SplitError(
            f"class {absent[0]} of the data has no cells in the split. Every part needs every class: choose another "
            "protocol, or data without that class."
        )


def _fold_notes(known: KnownCells, split: Split) -> list[str]:
    """How many cells of C-NMC's own folds have a twin in another fold, before groups were moved and after."""
    if split.protocol.get("name") != "official_folds":
        return []
    table = known.index.table
    in_training = table["official_part"] != "prelim"
    official = table["official_fold"].where(in_training)
    fold_now = table["cell_id"].map(dict(zip(split.table["cell_id"], split.table["fold"], strict=True)))
    counts = {}
    for when, fold in (("before merging", official), ("as split", fold_now)):
        found = cells_with_twin_elsewhere(table, known.evidence, known.twins, fold.astype("Int64"))
        counts[when] = " / ".join(
            str(int(found.get(k, 0))) for k in sorted(table["official_fold"].dropna().unique())
        )
    return [
        f"cells with a twin in another official fold: {counts['before merging']}, as split {counts['as split']}"
    ]


def _say_twins(twins: Twins) -> None:
    for names in twins.groups:
        _say(f"twins: {', '.join(names)} share cells and are one group")
    shared = twins.pairs
    _say_some(
        [
            f"tied: {row.a} and {row.b} share {row.shared} cell(s), too few for twins: a split keeps both in one part"
            for row in shared[shared["verdict"] == TIED].itertuples(index=False)
        ]
    )


def _say_some(lines: Iterable[str]) -> None:
    lines = list(lines)
    for line in lines[:_SHOWN]:
        _say(line)
    if len(lines) > _SHOWN:
        _say(f"and {len(lines) - _SHOWN} more")


def _say(text: str) -> None:
    CONSOLE.print(text, markup=False)
