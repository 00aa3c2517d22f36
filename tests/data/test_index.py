from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from leukemia_lab.data import scan as scan_module
from leukemia_lab.data.index import INDEX_COLUMNS, CellIndex, Tree, read_index
from leukemia_lab.errors import CacheError, ConfigError, DataError

TreeFactory = Callable[..., Path]


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def read_cnmc(root: Path, cache_dir: Path, bad_files: str = "error") -> CellIndex:
    return read_index(Tree(root, "cnmc"), None, bad_files, cache_dir)


def read_folder(
    root: Path, cache_dir: Path, pattern: str | None = None, positive: str | None = None
) -> CellIndex:
    return read_index(Tree(root, "folder", pattern), positive, "error", cache_dir)


def test_table_of_a_cnmc_tree(cnmc_tree: TreeFactory, cache_dir: Path) -> None:
    root = cnmc_tree()
    index = read_cnmc(root, cache_dir)
    table = index.table
    assert tuple(table.columns) == INDEX_COLUMNS
    assert isinstance(table.index, pd.RangeIndex)
    assert table["cell_id"].tolist() == sorted(table["cell_id"])
    assert (index.class_names, index.positive, index.has_subjects) == (("ALL", "HEM"), "ALL", True)
    assert not index.faults
    assert table["group"].equals(table["subject"].astype(table["group"].dtype))
    row = table.set_index("cell_id").loc["C-NMC_training_data/fold_2/hem/UID_h3_1_1_hem.bmp"]
    path = root / str(row.name)
    assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (row["subject"], row["official_fold"], row["official_part"]) == ("H3", 2, "train")
    rows, columns = np.nonzero(np.asarray(Image.open(path)).any(axis=2))
    assert (row["box_x"], row["box_y"]) == (columns.min(), rows.min())
    assert (row["box_w"], row["box_h"]) == (np.ptp(columns) + 1, np.ptp(rows) + 1)
    prelim = table[table["official_part"] == "prelim"]
    assert len(prelim) == 2
    assert prelim["official_fold"].isna().all()


def test_folder_without_subjects(class_tree: TreeFactory, cache_dir: Path) -> None:
    index = read_folder(class_tree(), cache_dir)
    assert not index.has_subjects
    assert all(subject is None for subject in index.table["subject"])
    assert index.table["group"].tolist() == index.table["cell_id"].tolist()
    assert index.table["image"].isna().all()


def test_folder_with_subjects(class_tree: TreeFactory, cache_dir: Path) -> None:
    index = read_folder(class_tree(), cache_dir, pattern=r"/(?P<subject>[bn]\d)/")
    assert index.has_subjects
    assert index.table["group"].value_counts().to_dict() == {"B0": 2, "B1": 2, "N0": 2, "N1": 2}


def test_positive_class(class_tree: TreeFactory, cache_dir: Path) -> None:
    root = class_tree()
    assert read_folder(root, cache_dir).positive == "normal"
    assert read_folder(root, cache_dir, positive="blast").positive == "blast"
    with pytest.raises(DataError, match=r"positive_class=blasts is not a class .*Did you mean blast\?"):
        read_folder(root, cache_dir, positive="blasts")
    shutil.copytree(root / "blast", root / "other")
    assert read_folder(root, cache_dir).positive is None
    with pytest.raises(DataError, match="has no meaning with 3 classes"):
        read_folder(root, cache_dir, positive="blast")


def test_one_class_is_not_enough(class_tree: TreeFactory, cache_dir: Path) -> None:
    with pytest.raises(DataError, match=r"4 usable cells of 1 classes \(blast\)"):
        read_folder(class_tree(classes=("blast",)), cache_dir)


def test_subject_pattern_has_no_use_with_cnmc(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no use with data\.layout=cnmc"):
        read_index(Tree(tmp_path, "cnmc", r"(\d)"), None, "error", tmp_path)


def plant_faults(root: Path) -> dict[str, str]:
    training = root / "C-NMC_training_data"
    hem = training / "fold_0" / "hem"
    data = (hem / "UID_H1_1_1_hem.bmp").read_bytes()
    (hem / "UID_H7_1_1_hem.bmp").write_bytes(data[:5000])
    (hem / "UID_H7_1_2_hem.bmp").write_bytes(b"")
    (hem / "UID_H7_1_3_hem.bmp").write_text("oops")
    (hem / "UID_H7_1_4_hem.bmp").symlink_to(root / "nowhere.bmp")
    Image.new("RGB", (600, 600), (90, 30, 90)).save(hem / "UID_H7_1_5_hem.bmp")
    shutil.copy(hem / "UID_H1_1_1_hem.bmp", hem / "UID_7_1_6_all.bmp")
    return {
        "UID_7_1_6_all.bmp": "class contradiction",
        "UID_H7_1_1_hem.bmp": "truncated",
        "UID_H7_1_2_hem.bmp": "empty file",
        "UID_H7_1_3_hem.bmp": "not an image",
        "UID_H7_1_4_hem.bmp": "unreadable",
        "UID_H7_1_5_hem.bmp": "wrong size",
    }


def test_skipped_files_are_listed(cnmc_tree: TreeFactory, cache_dir: Path) -> None:
    root = cnmc_tree()
    clean = read_cnmc(root, cache_dir)
    planted = plant_faults(root)
    for _ in range(2):  # the second time from the memo
        index = read_cnmc(root, cache_dir, bad_files="skip")
        assert {Path(fault.file).name: fault.fault for fault in index.faults} == planted
        pd.testing.assert_frame_equal(index.table, clean.table)


def test_all_faults_are_reported_together(cnmc_tree: TreeFactory, cache_dir: Path) -> None:
    root = cnmc_tree()
    planted = plant_faults(root)
    with pytest.raises(DataError) as caught:
        read_cnmc(root, cache_dir)
    message = str(caught.value)
    assert message.startswith("6 faults below")
    assert message.endswith("Mend them or set data.bad_files=skip to leave such files out.")
    for name, fault in planted.items():
        assert f"{name}: {fault} (" in message
    for number in range(10):
        (root / f"C-NMC_training_data/fold_0/hem/UID_H8_1_{number}_hem.bmp").write_text("oops")
    with pytest.raises(DataError, match=r"16 faults below(.|\n)*and 6 more"):
        read_cnmc(root, cache_dir)


def test_fingerprint_follows_what_matters(cnmc_tree: TreeFactory, cache_dir: Path) -> None:
    root = cnmc_tree()
    first = read_cnmc(root, cache_dir)
    grouped = replace(first, table=first.table.assign(group="x"))
    assert grouped.fingerprint == first.fingerprint
    relabelled = replace(first, table=first.table.assign(label="ALL"))
    assert relabelled.fingerprint != first.fingerprint
    elsewhere = root.with_name("moved")
    shutil.move(root, elsewhere)
    assert read_cnmc(elsewhere, cache_dir).fingerprint == first.fingerprint
    file = elsewhere / "C-NMC_training_data/fold_0/all/UID_1_1_1_all.bmp"
    shutil.copy(elsewhere / "C-NMC_training_data/fold_1/all/UID_2_1_1_all.bmp", file)
    os.utime(file)
    assert read_cnmc(elsewhere, cache_dir).fingerprint != first.fingerprint


def test_only_new_and_changed_files_are_read(
    class_tree: TreeFactory, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = class_tree()
    first = read_folder(root, cache_dir)
    read: list[str] = []
    read_facts = scan_module._read_facts

    def recording(root: Path, cell_id: str) -> object:
        read.append(cell_id)
        return read_facts(root, cell_id)

    monkeypatch.setattr(scan_module, "_read_facts", recording)
    pd.testing.assert_frame_equal(read_folder(root, cache_dir).table, first.table)
    assert read == []
    shutil.copyfile(root / "blast/b0/b0_0.png", root / "normal/n0/n0_1.png")
    shutil.copyfile(root / "blast/b0/b0_0.png", root / "normal/n0/new.png")
    changed = read_folder(root, cache_dir).table.set_index("cell_id")
    assert sorted(read) == ["normal/n0/n0_1.png", "normal/n0/new.png"]
    assert changed.loc["normal/n0/n0_1.png", "sha256"] == changed.loc["blast/b0/b0_0.png", "sha256"]


@pytest.mark.parametrize("how", ["renamed", "rewritten"])
def test_swapped_files_of_one_size_and_time_are_noticed(
    cnmc_tree: TreeFactory, cache_dir: Path, how: str
) -> None:
    root = cnmc_tree()
    ids = [f"C-NMC_training_data/fold_0/all/UID_1_1_{cell}_all.bmp" for cell in (1, 2)]
    first, second = (root / cell_id for cell_id in ids)
    for file in (first, second):
        os.utime(file, ns=(10**18, 10**18))
    before = read_cnmc(root, cache_dir).table.set_index("cell_id").loc[ids, "sha256"].tolist()
    assert first.stat().st_size == second.stat().st_size
    if how == "renamed":
        first.rename(root / "kept")
        second.rename(first)
        (root / "kept").rename(second)
    else:
        contents = first.read_bytes(), second.read_bytes()
        for file, content in zip((second, first), contents, strict=True):
            file.write_bytes(content)
            os.utime(file, ns=(10**18, 10**18))
    assert [file.stat().st_mtime_ns for file in (first, second)] == [10**18] * 2
    after = read_cnmc(root, cache_dir).table.set_index("cell_id").loc[ids, "sha256"].tolist()
    assert after == before[::-1] != before


def test_fingerprint_is_taken_once(
    class_tree: TreeFactory, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = read_folder(class_tree(), cache_dir)
    known = index.fingerprint
    changed = replace(index, table=index.table.assign(label="x"))
    assert changed.fingerprint != known  # a copy does not inherit it
    monkeypatch.setattr(scan_module.hashlib, "sha256", None)
    assert index.fingerprint == known


@pytest.mark.parametrize("damage", [b"", b"not a parquet file", None])
def test_damaged_memo_is_rebuilt(class_tree: TreeFactory, cache_dir: Path, damage: bytes | None) -> None:
    root = class_tree()
    first = read_folder(root, cache_dir)
    memo = next((cache_dir / "index").glob("*.parquet"))
    if damage is None:
        pd.DataFrame({"other": [1]}).to_parquet(memo)
    else:
        memo.write_bytes(damage)
    pd.testing.assert_frame_equal(read_folder(root, cache_dir).table, first.table)
    assert len(pd.read_parquet(memo)) == 8


def test_cache_folder_that_cannot_be_made(class_tree: TreeFactory, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match=r"cannot write to the cache folder .*set LEUKEMIA_LAB_CACHE"):
        read_folder(class_tree(), tmp_path / "file")


def test_warm_index_is_fast(class_tree: TreeFactory, cache_dir: Path) -> None:
    root = class_tree(side=16)
    for number in range(992):
        shutil.copyfile(root / "blast/b0/b0_0.png", root / "blast" / f"{number}.png")
    read_folder(root, cache_dir)
    started = time.perf_counter()
    index = read_folder(root, cache_dir)
    assert time.perf_counter() - started < 1.5  # about 0.1 s on one free core
    assert len(index.table) == 1000


def test_real_cnmc(shared_data: Path, cache_dir: Path) -> None:
    index = read_cnmc(shared_data / "cnmc_sample", cache_dir)
    parts = index.table.groupby(["official_part", "label"]).size().to_dict()
    assert parts[("train", "ALL")] == parts[("train", "HEM")] == 29
    assert (index.table["official_part"] == "prelim").sum() == 4
    assert (index.table["subject"] == "H3").sum() == 4
    assert any(note.startswith("1863 of 1867 rows of ") for note in index.notes)
    manifest = pd.read_csv(shared_data / "cnmc_meta" / "train_manifest.csv").set_index("file")["sha256"]
    train = index.table[index.table["official_part"] == "train"]
    names = train["cell_id"].str.split("/").str[-1]
    assert train["sha256"].tolist() == manifest[names].tolist()


def test_real_class_folders(shared_data: Path, cache_dir: Path) -> None:
    index = read_folder(shared_data / "pbc_sample", cache_dir)
    assert index.class_names == ("erythroblast", "ig", "lymphocyte")
    assert index.positive is None
    assert index.table["label"].value_counts().to_dict() == dict.fromkeys(index.class_names, 150)
    assert (index.table["box_w"] == index.table["width"]).all()
