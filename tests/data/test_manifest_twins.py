"""Twins by boxes and hashes alone, as a manifest knows them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from leukemia_lab.data.index import CellIndex
from leukemia_lab.data.manifests import read_manifest_index
from leukemia_lab.data.twins import (
    BY_CHANCE,
    MERGED,
    TIED,
    cells_with_twin_elsewhere,
    chance_test,
    evidence_of,
    find_twins,
    merge_twins,
)

GROUPS = [["20", "21"], ["51", "75", "78"], ["H2", "H4", "H5", "H6", "H7"], ["H3", "H10"]]
BOX_AND_HASH = ["sha256", "box_x", "box_y", "box_w", "box_h"]


def manifest(path: Path, rows: Sequence[tuple[str, str, str, tuple[object, ...]]]) -> CellIndex:
    """An index of rows (label, subject, what is hashed, box)."""
    columns = ["file", "label", "subject", "sha256", "x", "y", "w", "h"]
    content = [
        (f"{n}.bmp", label, subject, hashlib.sha256(content.encode()).hexdigest(), *box)
        for n, (label, subject, content, box) in enumerate(rows)
    ]
    pd.DataFrame(content, columns=columns).to_csv(path, index=False)
    return read_manifest_index([path])


def test_classes_have_chance_rates_of_their_own(tmp_path: Path) -> None:
    """Boxes of one class are all alike, those of the other never: five are twins there, and nothing here."""
    rng = np.random.default_rng(4)
    rows = [
        ("ALL", f"A{name}", f"a{name}-{n}", (int(rng.integers(1000)), 0, 1, 1))
        for name in range(20)
        for n in range(60)
    ]
    rows += [
        ("HEM", f"H{name}", f"h{name}-{n}", (60 * name + n, 1, 1, 1)) for name in range(12) for n in range(60)
    ]
    for n in range(5):  # H0 and H1 share five boxes
        rows[1200 + 60 + n] = (*rows[1260 + n][:3], rows[1200 + n][3])
    index = manifest(tmp_path / "m.csv", rows)
    twins = find_twins(index.table, evidence_of(index, tmp_path))
    assert twins.groups == [["H0", "H1"]]
    alike = twins.pairs[twins.pairs["a"].str.startswith("A")]
    assert alike["shared"].max() > 5
    assert set(alike["verdict"]) == {BY_CHANCE}
    assert alike["expected"].mean() == pytest.approx(3.6, rel=0.15)
    one_rate = chance_test(index.table["subject"], evidence_of(index, tmp_path).cluster, None)
    assert one_rate.loc[
        one_rate["a"].str.startswith("A"), "is_twin"
    ].any()  # what the classes' own rates prevent


def test_an_equal_hash_is_a_shared_cell_where_boxes_are_missing(tmp_path: Path) -> None:
    no_box = ("", "", "", "")
    rows = [("ALL", str(name), f"{name}-{n}", (name, n, 1, 1)) for name in range(10) for n in range(20)]
    rows += [("ALL", "P", f"{0}-{n}" if n < 8 else f"p-{n}", no_box) for n in range(20)]
    rows += [("ALL", "Q", "1-0" if n == 0 else f"q-{n}", no_box) for n in range(20)]
    index = manifest(tmp_path / "m.csv", rows)
    twins = find_twins(index.table, evidence_of(index, tmp_path))
    assert twins.groups == [["0", "P"]]
    verdicts = twins.pairs.set_index(["a", "b"])["verdict"].to_dict()
    assert verdicts == {("0", "P"): MERGED, ("1", "Q"): TIED}


def test_a_manifest_of_names_alone_shows_no_twins(tmp_path: Path) -> None:
    file = tmp_path / "names.csv"
    rows = [f"UID_{name}_1_{n}_all.bmp" for name in range(1, 5) for n in range(1, 4)]
    pd.DataFrame({"file": rows}).to_csv(file, index=False)
    index = read_manifest_index([file])
    evidence = evidence_of(index, tmp_path)
    assert find_twins(index.table, evidence).pairs.empty
    assert len(set(evidence.cluster)) == len(rows)


@pytest.fixture(scope="module")
def training_manifest(shared_data: Path) -> CellIndex:
    return read_manifest_index([shared_data / "cnmc_meta" / "train_manifest.csv"])


def test_the_known_groups_are_found_from_the_manifest_alone(
    training_manifest: CellIndex, tmp_path: Path
) -> None:
    table = training_manifest.table
    assert not training_manifest.has_pixels
    assert (len(table), table["subject"].nunique()) == (10661, 73)
    evidence = evidence_of(training_manifest, tmp_path)
    assert (evidence.copies["kind"] == "identical").sum() == len(evidence.copies) == 104
    twins = find_twins(table, evidence)
    assert twins.groups == GROUPS
    assert merge_twins(training_manifest, evidence, twins).table["group"].nunique() == 65
    shared = twins.pairs.set_index(["a", "b"])["shared"].to_dict()
    assert [shared["20", "21"], shared["51", "78"], shared["51", "75"], shared["H3", "H10"]] == [
        71,
        86,
        59,
        27,
    ]
    assert [shared["H2", name] for name in ("H5", "H6", "H7", "H4")] == [17, 10, 9, 7]
    assert twins.pairs.set_index(["a", "b"]).loc[("17", "18"), "verdict"] == BY_CHANCE
    assert list(tmp_path.iterdir()) == []  # nothing is kept of what was not read


@pytest.mark.parametrize("together", [True, False])
def test_shuffled_within_class_nothing_is_merged(
    training_manifest: CellIndex, tmp_path: Path, together: bool
) -> None:
    """A shuffle changes which cell has a box, not which boxes are equal.

    So as many pairs of cells are equal as before, the twins' hundreds among them, now between any two names of the
    class: chance at a rate that is too high, if anything.
    """
    rng = np.random.default_rng(0)
    equal_boxes = training_manifest.table.duplicated(BOX_AND_HASH[1:]).sum()
    for _ in range(20 if together else 5):
        table = training_manifest.table.copy()
        for rows in table.groupby("label").groups.values():
            for columns in [BOX_AND_HASH] if together else [BOX_AND_HASH[:1], BOX_AND_HASH[1:]]:
                table.loc[rows, columns] = table.loc[rng.permutation(rows), columns].to_numpy()
        index = dataclasses.replace(training_manifest, table=table)
        evidence = evidence_of(index, tmp_path)
        assert len(evidence.copies) == 104
        assert table.duplicated(BOX_AND_HASH[1:]).sum() == equal_boxes > 300
        twins = find_twins(table, evidence)
        assert twins.groups == []
        assert (twins.pairs["verdict"] == TIED).sum() > 50


def test_cells_with_a_twin_in_another_official_fold(training_manifest: CellIndex, tmp_path: Path) -> None:
    table = training_manifest.table
    evidence = evidence_of(training_manifest, tmp_path)
    twins = find_twins(table, evidence)
    found = cells_with_twin_elsewhere(table, evidence, twins, table["official_fold"])
    assert found == {0: 90, 1: 172, 2: 262}
    home = table.assign(group=table["subject"].map(twins.group_of)).groupby("group")["official_fold"]
    assert (
        cells_with_twin_elsewhere(table, evidence, twins, home.transform(lambda fold: fold.mode()[0])) == {}
    )
