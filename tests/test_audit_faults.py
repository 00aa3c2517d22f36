"""The audit of trees with faults or hardly any cells, and audits that cannot be made or are cut off."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audit_runs import BAD_FILES, BAD_INPUT, DONE, INTERRUPTED, SUBJECTS, audited, faults
from audit_trees import PRELIMINARY, TRAINING, save, write_cnmc, write_discs, write_folders
from PIL import Image

import leukemia_lab.data.scan
from leukemia_lab import audit


def test_faults_are_all_listed(tmp_path: Path, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "tree"
    write_cnmc(root)
    fold = root / TRAINING / "fold_0" / "all"
    first, second, *_ = sorted(fold.iterdir())
    first.write_bytes(first.read_bytes()[:1000])
    second.rename(second.with_name("cell.bmp"))
    Image.new("RGB", (450, 450)).save(root / TRAINING / "fold_1" / "hem" / "UID_H9_1_1_hem.bmp")
    Image.new("RGB", (9, 9), "white").save(root / TRAINING / "fold_1" / "hem" / "UID_H9_1_2_hem.bmp")
    shutil.copy(root / TRAINING / "fold_1" / "hem" / "UID_H1_1_1_hem.bmp", fold / "UID_1_9_9_hem.bmp")
    table = root / PRELIMINARY / f"{PRELIMINARY}_labels.csv"
    table.write_text(table.read_text() + "UID_15_1_1_all.bmp,1.bmp,7\n,,\nUID_16_1_1_all.bmp,,1\n")
    document = audited(output, "data=cnmc", f"data.root={root}", status=BAD_FILES)
    names = {(Path(file).name, fault) for file, fault in faults(document)}
    assert names == {
        (first.name, "truncated"),
        ("cell.bmp", "unreadable name"),
        ("UID_H9_1_1_hem.bmp", "empty foreground"),
        ("UID_H9_1_2_hem.bmp", "wrong size"),
        ("UID_1_9_9_hem.bmp", "class contradiction"),
        ("1.bmp", "unreadable row"),
        (table.name, "unreadable row"),
    }
    printed = capsys.readouterr()
    assert "6 files cannot be used" in printed.out
    assert "1 fault of label tables or folders" in printed.out
    assert printed.err.strip().endswith("data.bad_files=skip.")


def test_a_label_table_that_is_a_named_pipe(tmp_path: Path, output: Path) -> None:
    root = tmp_path / "tree"
    write_cnmc(root)
    table = root / PRELIMINARY / f"{PRELIMINARY}_labels.csv"
    table.unlink()
    os.mkfifo(table)
    document = audited(output, "data=cnmc", f"data.root={root}", status=BAD_FILES)
    assert document["fault_counts"] == {"no label": 4, "unreadable table": 1}


def test_pictures_too_narrow_to_compare(tmp_path: Path, output: Path) -> None:
    for number, (height, width) in enumerate([(300, 5), (300, 5), (5, 300), (1, 1), (1, 1)]):
        grey = np.full((height, width, 3), 150 + number, np.uint8)
        save(tmp_path / "tree", f"{'ab'[number % 2]}/{number}.png", grey)
    assert audited(output, "data=folder", f"data.root={tmp_path / 'tree'}")["n_cells"] == 5


def test_nothing_but_bad_cells(tmp_path: Path, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "tree"
    write_folders(root)
    for file in root.rglob("*.*"):
        file.write_bytes(b"")
    document = audited(output, "data=folder", f"data.root={root}", status=BAD_FILES)
    assert document["files"] == {"cells": 0, "unusable": 18, "label_files": 0, "ignored": 0}
    assert "No cell can be used" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("files", "classes"),
    [
        (["a/S1_1.png"], {"a": 1}),
        (["a/S1_1.png", "a/S2_1.png", "a/S2_2.png"], {"a": 3}),
        (["a/S1_1.png", "b/S2_1.png"], {"a": 1, "b": 1}),
        (["a/S1_1.png", "b/S2_1.png", "c/S3_1.png"], {"a": 1, "b": 1, "c": 1}),
    ],
)
def test_small_trees(tmp_path: Path, output: Path, files: list[str], classes: dict[str, int]) -> None:
    write_discs(tmp_path / "tree", files)
    document = audited(output, "data=folder", f"data.root={tmp_path / 'tree'}", SUBJECTS)
    assert document["class_counts"] == classes


def test_an_empty_folder(tmp_path: Path, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tree").mkdir()
    for data in ("cnmc", "folder"):
        assert audit.main([f"data={data}", f"data.root={tmp_path / 'tree'}", f"output={output}"]) == BAD_INPUT
        printed = capsys.readouterr().err
        assert "it is empty" in printed
        assert "Set data.root" in printed
    assert not output.exists()


def test_an_output_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_discs(tmp_path / "tree", ["a/1.png", "b/2.png"])
    (tmp_path / "file").touch()
    arguments = ["data=folder", f"data.root={tmp_path / 'tree'}", f"output={tmp_path / 'file' / 'audit'}"]
    assert audit.main(arguments) == BAD_INPUT
    assert "give a folder that can be written" in capsys.readouterr().err


def test_an_interrupted_audit_goes_on_where_it_was(
    tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "tree"
    write_folders(root)
    scan = leukemia_lab.data.scan
    read_facts, asked = scan._read_facts, []

    def cut_off(folder: Path, cell_id: str) -> Any:
        asked.append(cell_id)
        if cell_id == "debris/S2_11.tif":
            raise KeyboardInterrupt
        return read_facts(folder, cell_id)

    def listened(folder: Path, cell_id: str) -> Any:
        asked.append(cell_id)
        return read_facts(folder, cell_id)

    monkeypatch.setattr(scan, "_BATCH", 2)
    monkeypatch.setattr(scan, "_read_facts", cut_off)
    arguments = ["data=folder", f"data.root={root}", f"output={output}"]
    assert audit.main(arguments) == INTERRUPTED
    before = set(asked)
    assert 2 <= len(before) < 18
    assert not output.exists()
    asked.clear()
    monkeypatch.setattr(scan, "_read_facts", listened)
    assert audit.main(arguments) == DONE
    assert len(asked) < 18
    assert len(before & set(asked)) <= 2  # of the batch that was cut off
    asked.clear()
    assert audit.main(arguments) == DONE
    assert asked == []
