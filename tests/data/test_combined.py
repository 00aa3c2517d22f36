"""Several trees as one data set: names, classes, sources, copies between trees, and the commands on all of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from leukemia_lab import evaluate, split, train
from leukemia_lab.cells import read_cells
from leukemia_lab.config import Composer, checked
from leukemia_lab.data.cache import decoded_images
from leukemia_lab.data.combined import CombinedTree, combine
from leukemia_lab.data.images import fit_square, read_rgb
from leukemia_lab.data.index import CellIndex, Tree
from leukemia_lab.data.split_files import read_split
from leukemia_lab.errors import DataError
from leukemia_lab.runs import record
from leukemia_lab.schema import SplitSettings

TreeFactory = Callable[..., Path]
DrawCell = Callable[..., Any]
DONE, BAD_INPUT = 0, 2
KNN = (
    "model=knn",
    "model.features.size=8",
    "model.classifier.grid.n_neighbors=[3]",
    "pipeline.image_size=32",
)
CLASSES = ("ALL", "HEM")
PATTERN = "/(?P<subject>[^_/]+)_"
OURS = {"blast": "ALL", "normal": "HEM"}


def combined(trees: list[CombinedTree], tmp_path: Path, **changes: Any) -> CellIndex:
    given: dict[str, Any] = {"positive_class": None, "bad_files": "error"} | changes
    return combine(trees, cache_dir=tmp_path / "cache", **given)


@pytest.fixture
def trees(cnmc_tree: TreeFactory, class_tree: TreeFactory) -> list[CombinedTree]:
    """C-NMC's layout with 9 cells, and class folders with 4 cells of each of three classes."""
    classes = class_tree(("blast", "normal", "debris"))
    return [
        CombinedTree("cnmc", Tree(cnmc_tree(), "cnmc"), {}),
        CombinedTree("ours", Tree(classes, "folder", PATTERN), OURS | {"debris": None}),
    ]


def test_two_layouts_are_one_data_set(trees: list[CombinedTree], tmp_path: Path) -> None:
    index = combined(trees, tmp_path, positive_class="ALL")
    table = index.table
    assert (index.class_names, index.positive, index.has_subjects) == (CLASSES, "ALL", True)
    assert table["source"].value_counts().to_dict() == {"cnmc": 9, "ours": 8}
    assert not table["cell_id"].str.contains("debris").any()
    assert table["cell_id"].is_monotonic_increasing
    assert table.index.tolist() == list(range(17))
    ours = table[table["source"] == "ours"].set_index("cell_id")
    assert ours.at["ours/blast/b0/b0_1.png", "label"] == "ALL"
    assert ours.at["ours/normal/n1/n1_3.png", "label"] == "HEM"
    assert set(ours["subject"]) == set(ours["group"]) == {"OURS:B0", "OURS:B1", "OURS:N0", "OURS:N1"}
    theirs = table[table["source"] == "cnmc"]
    assert {"CNMC:1", "CNMC:H3", "CNMC:57"} <= set(theirs["subject"])
    assert theirs["official_part"].value_counts().to_dict() == {"train": 7, "prelim": 2}
    for cell_id, sha256 in zip(table["cell_id"], table["sha256"], strict=True):
        path = index.path_of(cell_id)
        assert path.is_file()
        assert path.is_relative_to(index.trees[cell_id.split("/")[0]])
        assert len(sha256) == 64
    assert index.roots == tuple(part.tree.root for part in trees)


def test_equal_names_of_two_sources_stay_two_subjects(class_tree: TreeFactory, tmp_path: Path) -> None:
    root = class_tree()
    same = [CombinedTree(name, Tree(root, "folder", PATTERN), {}) for name in ("a", "b")]
    table = combined(same, tmp_path).table
    assert table["subject"].nunique() == 8
    assert table["cell_id"].is_unique


def test_the_decoded_cache_holds_the_pixels_of_each_source(trees: list[CombinedTree], tmp_path: Path) -> None:
    index = combined(trees, tmp_path)
    images = decoded_images(index, 24, tmp_path / "cache")
    for row, cell_id in enumerate(index.table["cell_id"]):
        np.testing.assert_array_equal(images[row], fit_square(read_rgb(index.path_of(cell_id)), 24))


def test_faults_carry_the_name_of_their_source(trees: list[CombinedTree], tmp_path: Path) -> None:
    damaged = trees[1].tree.root / "blast" / "b0" / "b0_0.png"
    damaged.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1 faults below .*\n  ours/blast/b0/b0_0\.png: "):
        combined(trees, tmp_path)
    index = combined(trees, tmp_path, bad_files="skip")
    assert [fault.file for fault in index.faults] == ["ours/blast/b0/b0_0.png"]
    assert len(index.table) == 16


@pytest.mark.parametrize(
    ("classes", "positive", "message"),
    [
        (
            {"blats": "ALL"},
            None,
            r"data\.trees\.ours\.classes names blats, .*: blast, debris, normal\. Did you mean blast",
        ),
        (dict.fromkeys(("blast", "normal", "debris"), "x"), "y", "positive_class=y is not a class"),
        (OURS, "ALL", "positive_class=ALL has no meaning with 3 classes"),
    ],
)
def test_classes_that_do_not_fit(
    classes: dict[str, str | None],
    positive: str | None,
    message: str,
    trees: list[CombinedTree],
    tmp_path: Path,
) -> None:
    theirs = CombinedTree("ours", trees[1].tree, classes)
    with pytest.raises(DataError, match=message):
        combined([trees[0], theirs], tmp_path, positive_class=positive)


def test_one_class_in_all_is_refused_with_the_roots(trees: list[CombinedTree], tmp_path: Path) -> None:
    same = [
        CombinedTree("cnmc", trees[0].tree, {"ALL": "cell", "HEM": "cell"}),
        CombinedTree("ours", trees[1].tree, dict.fromkeys(("blast", "normal", "debris"), "cell")),
    ]
    with pytest.raises(
        DataError, match=rf"{trees[0].tree.root}, {trees[1].tree.root} has 21 usable cells of 1 classes"
    ):
        combined(same, tmp_path)


# Through the commands


@pytest.fixture
def sources(tmp_path: Path, draw_cell: DrawCell, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Three trees of 48 cells each, 6 subjects a class with 4 cells; `b` is described by a metadata.csv."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    roots = {}
    number = 0
    for source in ("a", "b", "c"):
        root = roots[source] = tmp_path / "trees" / source
        rows = ["cell,class,subject,source"]
        for label in CLASSES:
            for subject in range(6):
                for n in range(4):
                    cell = f"{label}/{label[0].lower()}{subject}_{n}.png"
                    (root / label).mkdir(parents=True, exist_ok=True)
                    Image.fromarray(draw_cell(number, 48)).save(root / cell)
                    rows.append(f"{cell},{label},{label[0]}{subject},{'xy'[n % 2]}")
                    number += 1
        if source == "b":
            (root / "metadata.csv").write_text("\n".join(rows) + "\n")
    return roots


def given(sources: dict[str, Path]) -> list[str]:
    nodes = [
        f"{name}: {{layout: folder, root: {root}"
        + (", subject_pattern: '" + PATTERN + "'}" if name != "b" else "}")
        for name, root in sources.items()
    ]
    return ["data=combined", f"data.trees={{{', '.join(nodes)}}}", "data.positive_class=ALL"]


def copy_cells(sources: dict[str, Path], origin: tuple[str, str], target: tuple[str, str], n: int) -> None:
    """Give subject `target` of one source n cells of `origin`, re-saved with two grey levels more."""
    from PIL import Image

    for i in range(n):
        with Image.open(sources[origin[0]] / f"{origin[1]}_{i}.png") as image:
            cell = np.asarray(image)
        brighter = np.where(cell.any(axis=2, keepdims=True), cell + 2, 0).astype(np.uint8)
        Image.fromarray(brighter).save(sources[target[0]] / f"{target[1]}_{i}.png")


def test_copies_between_sources_merge_and_tie(
    sources: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    copy_cells(sources, ("a", "ALL/a1"), ("b", "ALL/a4"), 4)
    copy_cells(sources, ("a", "HEM/h2"), ("c", "HEM/h5"), 1)
    settings = checked(SplitSettings, Composer("split", SplitSettings, None).compose(given(sources)))
    known = read_cells(settings)
    assert known.twins.groups == [["A:A1", "B:A4"]]
    block = known.index.table.drop_duplicates("subject").set_index("subject")["block"]
    assert block["A:H2"] == block["C:H5"]
    assert known.index.table["block"].nunique() == 36 - 2
    said = capsys.readouterr().err
    assert "twins: A:A1, B:A4 share cells and are one group" in said
    assert "tied: A:H2 and C:H5 share 1 cell(s)" in said
    for seed in range(3):
        assert split.main([*given(sources), f"protocol.seed={seed}", "output=own.csv", "force=true"]) == DONE
        part = read_split(Path("own.csv")).table.drop_duplicates("subject").set_index("subject")["part"]
        assert part["A:A1"] == part["B:A4"]
        assert part["A:H2"] == part["C:H5"]


def test_one_source_is_held_out(sources: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    copy_cells(sources, ("a", "ALL/a1"), ("b", "ALL/a4"), 4)
    copy_cells(sources, ("c", "HEM/h2"), ("b", "HEM/h5"), 1)
    given_all = [*given(sources), *KNN, "protocol=leave_one_source_out", "protocol.source=b"]
    assert train.main([*given_all, "hydra.run.dir=out"]) == DONE
    said = " ".join(capsys.readouterr().err.split())
    assert "group A:A1+B:A4: 4 training cells left out, the group shares cells with source b" in said
    assert "group C:H2: 4 training cells left out" in said
    table = read_split(Path("out") / record.SPLIT).table
    assert set(table.loc[table["part"] == "test", "cell_id"].str[0]) == {"b"}
    assert (table["part"] == "test").sum() == 48
    assert set(table.loc[table["part"] != "test", "cell_id"].str[0]) == {"a", "c"}
    assert (table["part"] != "test").sum() == 96 - 8
    assert evaluate.main(["run=out"]) == DONE
    about = record.read_json(Path("out") / record.RECORD)
    assert about["data_root"].split(", ") == [str(root) for root in sources.values()]
    assert about["stamps"] == []
    assert evaluate.main(["run=out", f"data_root={sources['a']}"]) == BAD_INPUT
    assert "cannot stand for the 3 trees" in capsys.readouterr().err


def test_every_source_is_held_out_once(sources: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    given_all = [*given(sources), *KNN, "protocol=leave_one_source_out", "protocol.source=all"]
    assert train.main([*given_all, "hydra.run.dir=cv"]) == DONE
    assert evaluate.main(["run=cv"]) == DONE
    assert "Test part of each fold" in capsys.readouterr().out
    about = record.read_json(Path("cv") / record.RECORD)
    assert [fold["run"] for fold in about["folds"]] == ["fold_0", "fold_1", "fold_2"]
    table = pd.read_parquet(Path("cv") / record.PREDICTIONS)
    assert len(table) == 144
    assert table["cell_id"].is_unique
    assert (table["cell_id"].str[0].map({"a": 0, "b": 1, "c": 2}) == table["fold"]).all()
    metrics = json.loads((Path("cv") / record.METRICS).read_text())
    assert metrics["test"]["accuracy"]["n_cells"] == 144
    assert split.main([*given_all[:3], *given_all[-2:], "output=sources.csv"]) == DONE
    hashes = [read_split(Path(f"sources-fold_{k}.csv")).hash for k in range(3)]
    assert hashes == [fold["split_hash"] for fold in about["folds"]]


def test_an_unknown_source_is_named_with_the_nearest(
    sources: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    longer = {"munich": sources["a"], "b": sources["b"], "delhi": sources["c"]}
    chosen = ["protocol=leave_one_source_out", "protocol.source=munch", "output=own.csv"]
    assert split.main([*given(longer), *chosen]) == BAD_INPUT
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "protocol.source is 'munch'; the sources here are b, delhi, munich, or all. Did you mean munich?"
        in said
    )


@pytest.mark.parametrize("source", ["a", "all"])
def test_a_class_that_one_source_has_alone_is_refused(
    source: str, sources: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for cell in (sources["a"] / "HEM").iterdir():
        cell.unlink()
    chosen = ["protocol=leave_one_source_out", f"protocol.source={source}", "output=own.csv"]
    assert split.main([*given(sources), *chosen]) == BAD_INPUT
    assert "SplitError: test has no HEM cells under protocol leave_one_source_out" in capsys.readouterr().err
    assert not list(Path().glob("own*"))


@pytest.mark.parametrize("source", ["x", "all"])
def test_the_column_source_of_a_metadata_csv_can_be_held_out(
    source: str, sources: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Here both sources hold cells of every subject, so that nothing is left to train on."""
    table = sources["b"] / "metadata.csv"
    chosen = [
        "data=folder",
        f"data.root={sources['b']}",
        "protocol=leave_one_source_out",
        f"protocol.source={source}",
    ]
    assert split.main([*chosen, "output=own.csv"]) == BAD_INPUT
    assert "nothing is left to train on: all groups share cells with source x" in capsys.readouterr().err
    rows = pd.read_csv(table)
    rows["source"] = ["x" if int(subject[1]) < 3 else "y" for subject in rows["subject"]]
    rows.to_csv(table, index=False)
    assert split.main([*chosen, "output=own.csv"]) == DONE
    path = Path("own.csv" if source == "x" else "own-fold_0.csv")
    tested = read_split(path).table.query("part == 'test'")
    assert {subject[1] for subject in tested["subject"]} == {"0", "1", "2"}


@pytest.mark.parametrize("source", ["x", "all"])
@pytest.mark.parametrize(
    ("values", "message"), [("x", r"from 1 (x)"), ("", "48 of 48 cells have no source"), ("x,", "no source")]
)
def test_data_without_two_sources_are_refused(
    values: str, message: str, source: str, sources: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    table = sources["b"] / "metadata.csv"
    rows = pd.read_csv(table)
    rows["source"] = [values.split(",")[number % len(values.split(","))] for number in range(len(rows))]
    rows.to_csv(table, index=False)
    chosen = [
        "data=folder",
        f"data.root={sources['b']}",
        "protocol=leave_one_source_out",
        f"protocol.source={source}",
    ]
    for main in (split.main, train.main):
        assert main([*chosen, *(KNN if main is train.main else ["output=own.csv"])]) == BAD_INPUT
        said = " ".join(capsys.readouterr().err.split())
        assert "SplitError: protocol leave_one_source_out: " in said
        assert message in said
        assert "Use data=combined, or a metadata.csv with a column source" in said


@pytest.mark.parametrize(
    ("trees", "message"),
    [
        ("null", "needs two trees or more"),
        ("{}", "needs two trees or more"),
        ("{a: {layout: folder, root: /x}}", "needs two trees or more"),
        ("{a: {layout: folder, root: /x}, A: {layout: cnmc, root: /x}}", "two sources have one name"),
        ("{a: {layout: folder, root: /x}, b/c: {layout: cnmc, root: /x}}", "'b/c' is no name for a source"),
        ("{a: {layout: folder, root: /x}, b: {layout: csv, root: /x}}", "layout"),
        ("{a: {layout: folder, root: /x}, b: {layout: cnmc}}", "root"),
    ],
)
def test_trees_that_cannot_be_combined(trees: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert split.main(["data=combined", f"data.trees={trees}", "output=own.csv"]) == BAD_INPUT
    said = capsys.readouterr().err
    assert "ConfigError" in said
    assert message in said


def test_the_paths_of_the_trees_name_no_run(sources: dict[str, Path], tmp_path: Path) -> None:
    assert train.main([*given(sources), *KNN, "hydra.run.dir=first"]) == DONE
    moved = {name: root.rename(tmp_path / f"moved_{name}") for name, root in sources.items()}
    assert train.main([*given(moved), *KNN, "hydra.run.dir=again"]) == DONE
    first, again = (record.read_json(Path(name) / record.RECORD) for name in ("first", "again"))
    assert first["identity"] == again["identity"]
    assert first["data_root"] != again["data_root"]
