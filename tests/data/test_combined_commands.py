"""The commands on several trees: copies between sources, sources held out, and data that are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from source_trees import CLASSES, copy_cells, given

from leukemia_lab import evaluate, split, train
from leukemia_lab.cells import read_cells
from leukemia_lab.config import Composer, checked
from leukemia_lab.data.split_files import read_split
from leukemia_lab.runs import record
from leukemia_lab.schema import SplitSettings

DrawCell = Callable[..., Any]
DONE, BAD_INPUT = 0, 2
KNN = (
    "model=knn",
    "model.features.size=8",
    "model.classifier.grid.n_neighbors=[3]",
    "pipeline.image_size=32",
)


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
