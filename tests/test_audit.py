"""The audit from the command line: what it says of whole trees, and where and how it says it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from audit_runs import BAD_FILES, DONE, SUBJECTS, audited, faults
from audit_trees import disc, save, write_described, write_discs, write_folders, write_rows
from rich.console import Console

import leukemia_lab.progress
from leukemia_lab import audit


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
