"""The audit from the command line: what it says of whole trees, good and bad, and with which exit status."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import PRELIMINARY, TRAINING, disc, write_cnmc, write_described, write_folders, write_rows
from PIL import Image
from rich.console import Console

import leukemia_lab.data.scan
import leukemia_lab.progress
from leukemia_lab import audit
from leukemia_lab.auditing.document import completed
from leukemia_lab.data.images import ImageArray

DONE, BAD_FILES, BAD_INPUT, INTERRUPTED = 0, 1, 2, 3
SUBJECTS = r"data.subject_pattern='/(?P<subject>S\d+)_'"
CONTRACT = {"n_cells", "n_subjects", "groups", "pairs", "faults", "expected", "confounds"}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "audit"


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


def save(root: Path, file: str, image: ImageArray) -> None:
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(root / file)


def write_discs(root: Path, files: Sequence[str]) -> None:
    rng = np.random.default_rng(0)
    for file in files:
        save(root, file, disc(rng, 60))


def write_manifest(file: Path, root: Path) -> list[list[str]]:
    """A manifest of all images of a tree; its rows."""
    images = sorted(path for path in root.rglob("*") if path.suffix not in ("", ".csv"))
    rows = [
        [path.relative_to(root).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()] for path in images
    ]
    write_rows(file, [["file", "sha256"], *rows])
    return rows


def test_real_cells_have_near_copies_across_official_folds(
    shared_data: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = audited(output, "data=cnmc", f"data.root={shared_data / 'cnmc_sample'}")
    found = {frozenset((pair["subject_a"], pair["subject_b"])): pair for pair in document["pairs"]}
    assert set(found) == {frozenset(("H6", "H2")), frozenset(("H10", "H3"))}
    assert all(pair["kind"] == "near" for pair in found.values())
    assert all({"subject", "fold"} <= set(pair["crosses"]) for pair in found.values())
    assert {(twin["a"], twin["b"]) for twin in document["twins"]} == {("H2", "H6"), ("H3", "H10")}
    assert document["expected"]["known"]
    assert not document["expected"]["agrees"]
    assert "fold_0 ALL: 13 cells, 2,397 expected" in document["expected"]["differences"]
    said = " ".join(capsys.readouterr().out.split())
    assert "3 pairs of copies cross the official folds" in said
    html = (output / "audit.html").read_text(encoding="utf-8")
    assert html.count("data:image/jpeg") == 2 * len(document["pairs"])


def test_groups_of_a_manifest_are_exact(
    shared_data: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = shared_data / "cnmc_meta" / "train_manifest.csv"
    document = audited(output, "data=manifest", f"data.file={manifest}")
    assert {frozenset(group) for group in document["groups"]} == {
        frozenset(("20", "21")),
        frozenset(("51", "75", "78")),
        frozenset(("H10", "H3")),
        frozenset(("H2", "H4", "H5", "H6", "H7")),
    }
    assert (document["n_subjects"], document["n_groups"], document["n_cells"]) == (73, 65, 10661)
    assert document["n_files"] is None
    assert document["files"] is None
    assert set(document["confounds"]["class"]) == {"size", "file_size", "all"}
    assert {name for rows in document["confounds"]["icc"].values() for name in rows} == {"box_side"}
    said = " ".join(capsys.readouterr().out.split())
    assert "No image was opened" in said
    assert said.count("n/a") == 2 * len(document["inventory"])  # nothing is known to be expected
    for not_looked_at in ("accounted", "unusable", "Sharpness", "sharpness", "as expected"):
        assert not_looked_at not in said


def test_planted_twins_of_a_synthetic_tree(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = audited(output, "data=synthetic_small")
    truth = json.loads((Path(document["data"]["root"]) / "synthetic.json").read_text(encoding="utf-8"))
    assert [set(group) for group in document["groups"]] == [set(twins) for twins in truth["twins"]]
    assert document["stamps"] == ["SYNTHETIC"]
    assert "Audit of synthetic [SYNTHETIC]" in capsys.readouterr().out
    html = (output / "audit.html").read_text(encoding="utf-8")
    assert "[SYNTHETIC]</title>" in html
    assert "synthetic: nothing here is true of any patient" in html


def test_class_folders_with_subjects_and_without(tmp_path: Path, output: Path) -> None:
    write_folders(tmp_path / "tree")
    known = audited(output, "data=folder", f"data.root={tmp_path / 'tree'}", SUBJECTS)
    assert (known["n_subjects"], known["n_cells"]) == (9, 18)
    assert known["class_counts"] == {"blast": 6, "debris": 6, "lymphocyte": 6}
    assert known["expected"]["agrees"] is None
    nameless = audited(output, "data=folder", f"data.root={tmp_path / 'tree'}")
    assert (nameless["n_subjects"], nameless["n_cells"]) == (0, 18)
    assert "There are no subject names" in (output / "audit.html").read_text(encoding="utf-8")


def test_a_described_tree(tmp_path: Path, output: Path) -> None:
    root = tmp_path / "tree"
    write_described(root)
    shutil.copy(root / "day 0/ü0.png", root / "day 0/new.png")
    (root / "day 1/ü1.png").unlink()
    document = audited(output, "data=folder", f"data.root={root}")
    assert document["files"] == {"cells": 15, "unusable": 0, "label_files": 1, "ignored": 1}
    assert document["expected"]["rows_without_file"] == ["day 1/ü1.png"]
    assert document["expected"]["files_without_row"] == ["day 0/new.png"]
    assert document["expected"]["agrees"] is False


def test_combined_trees(tmp_path: Path, output: Path) -> None:
    write_folders(tmp_path / "ours", seed=1)
    write_folders(tmp_path / "theirs", seed=2)
    shutil.copy(tmp_path / "ours/blast/S0_0.bmp", tmp_path / "theirs/blast/S0_0.bmp")
    (tmp_path / "theirs/debris/S2_2.jpg").write_bytes(b"no image")
    trees = ", ".join(
        rf"{source}: {{layout: folder, root: '{tmp_path / source}', classes: {{debris: null}}, "
        rf"subject_pattern: '/(S\d+)_'}}"
        for source in ("ours", "theirs")
    )
    document = audited(output, "data=combined", f"data.trees={{{trees}}}", status=BAD_FILES)
    assert document["class_counts"] == {"blast": 12, "lymphocyte": 12}
    assert document["files"] == {"cells": 24, "unusable": 1, "label_files": 0, "ignored": 11}
    assert faults(document) == {("theirs/debris/S2_2.jpg", "not an image")}
    left_out = [file for file in document["ignored"] if "leaves debris out" in file["reason"]]
    assert len(left_out) == 11
    (pair,) = document["pairs"]
    assert (pair["a"], pair["b"]) == ("ours/blast/S0_0.bmp", "theirs/blast/S0_0.bmp")
    assert pair["crosses"] == ["subject", "source"]
    assert "OURS:S0" in (pair["subject_a"], pair["subject_b"])


def test_a_tree_held_against_manifests(tmp_path: Path, output: Path) -> None:
    root, whole, spoilt = tmp_path / "tree", tmp_path / "whole.csv", tmp_path / "spoilt.csv"
    write_folders(root)
    rows = write_manifest(whole, root)
    arguments = ("data=folder", f"data.root={root}", SUBJECTS)
    document = audited(output, *arguments, f"data.manifest={whole}")
    assert document["expected"]["agrees"] is True
    assert document["expected"]["manifests"][0] | {"file": ""} == {
        "file": "", "checked": 18, "differing": [], "missing": [], "not_listed": 0,
    }  # fmt: skip
    rows[3][1] = "0" * 64
    write_rows(spoilt, [["file", "sha256"], *rows[1:], ["blast/gone.bmp", "1" * 64]])
    document = audited(output, *arguments, f"data.manifest=[{whole},{spoilt}]", status=BAD_FILES)
    second = document["expected"]["manifests"][1]
    assert (second["differing"], second["missing"]) == ([rows[3][0]], ["blast/gone.bmp"])
    assert (second["checked"], second["not_listed"]) == (17, 1)
    assert faults(document) == {(rows[3][0], "other bytes")}
    assert document["files"] == {"cells": 17, "unusable": 1, "label_files": 0, "ignored": 0}
    assert document["n_cells"] == 17


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


def test_the_terminal_at_a_hundred_columns(
    tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(leukemia_lab.progress, "RESULTS", Console(file=out, width=100, highlight=False))
    write_described(tmp_path / "tree")
    audited(output, "data=folder", f"data.root={tmp_path / 'tree'}")
    lines = [line for line in out.getvalue().splitlines() if str(tmp_path) not in line]
    assert len(lines) > 20
    assert max(len(line) for line in lines) <= 100
    assert "…" not in out.getvalue()


def test_the_folder_is_named_after_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_discs(tmp_path / "tree", ["a/1.png", "b/2.png"])
    assert audit.main(["data=folder", f"data.root={tmp_path / 'tree'}"]) == DONE
    (folder,) = (tmp_path / "audits").iterdir()
    document = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    assert folder.name == f"folder-{document['data']['fingerprint'][:12]}"


def test_names_that_a_user_keeps_apart(tmp_path: Path, output: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(30):
        image = disc(rng, 60)
        save(tmp_path / "tree", f"a/S{number % 5}_{number}.png", image)
        if number % 5 == 0:
            save(tmp_path / "tree", f"a/S7_{number}.png", image)
    save(tmp_path / "tree", "b/S8_1.png", disc(rng, 60))
    arguments = ("data=folder", f"data.root={tmp_path / 'tree'}", SUBJECTS)
    assert audited(output, *arguments)["groups"] == [["S0", "S7"]]
    rules = tmp_path / "twins.yaml"
    rules.write_text("merge: [[S1, S2]]\napart: [[S0, S7]]\n")
    document = audited(output, *arguments, f"data.twins_file={rules}")
    assert document["groups"] == [["S1", "S2"]]
    verdicts = {(twin["a"], twin["b"]): twin["verdict"] for twin in document["twins"]}
    assert verdicts == {("S0", "S7"): "kept apart", ("S1", "S2"): "merged by the user"}


def test_the_manifest_of_a_table_with_a_class_of_its_own(tmp_path: Path, output: Path) -> None:
    file = tmp_path / "cells.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows(
            [("file", "label", "subject"), *((f"{k}.png", "xy"[k % 2], f"s{k // 3}") for k in range(12))]
        )
    document = audited(output, "data=manifest", f"data.file={file}")
    assert document["class_counts"] == {"x": 6, "y": 6}
    assert document["confounds"]["class"] == {}
