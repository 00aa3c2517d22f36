"""The leakage gate through the real commands: what shares cells is on one side of a split, or the result says so."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hand_made_splits import (
    CELLS_EACH,
    N_SUBJECTS,
    TIED,
    TWINS,
    manifest,
    of_file,
    replaced,
    table_with_apart,
    tree_with_twins,
)
from small_runs import BAD_INPUT, DONE, record_of
from small_trees import PATTERN
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from leukemia_lab import evaluate, export_features, train
from leukemia_lab.data.split_files import read_split
from leukemia_lab.runs import record

KNN = (
    "model=knn",
    "model.features.size=8",
    "model.classifier.grid.n_neighbors=[3]",
    "pipeline.image_size=32",
)
IGNORED = "TWINS IGNORED"
SUFFIXES = ("csv", "parquet")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tree_with_twins(tmp_path_factory.mktemp("trees") / "cells")


@pytest.fixture(scope="module")
def data(tree: Path) -> list[str]:
    return ["data=folder", f"data.root={tree}", PATTERN, "data.positive_class=blast", *KNN]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def trained(data: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "honest"
    assert train.main([*data, f"hydra.run.dir={folder}"]) == DONE
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def names_twins(said: str) -> bool:
    return (
        "SplitError: group B1+B5 with the subjects B1 (train), B5 (test) is in train and test (10 cells, first "
        "blast/b1_0.png)" in said
    )


def names_tied(said: str) -> bool:
    return "normal/n2_0.png (subject N2, train) and normal/n7_0.png (subject N7, test): near" in said


# A pair of twins on both sides


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("own", [True, False])
def test_train_refuses_a_manifest_that_parts_twins(
    own: bool, suffix: str, data: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = manifest(Path(f"leak.{suffix}"), TWINS, own=own)
    assert train.main([*data, *of_file(path), "hydra.run.dir=out"]) == BAD_INPUT
    said = capsys.readouterr().err
    assert names_twins(said)
    assert "protocol.twins=ignore (its results are stamped TWINS IGNORED)" in said
    assert not (Path("out") / record.METRICS).exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_train_refuses_a_manifest_that_parts_a_single_near_copy(
    suffix: str, data: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = manifest(Path(f"leak.{suffix}"), TIED, ("B1", "B2"), own=True)
    table = pd.read_csv(path) if suffix == "csv" else pd.read_parquet(path)
    twin = table["cell_id"].str.startswith("blast/b5_")
    table.loc[twin, "part"] = "train"  # where B1 is
    table.to_csv(path, index=False) if suffix == "csv" else table.to_parquet(path)
    assert train.main([*data, *of_file(path)]) == BAD_INPUT
    said = capsys.readouterr().err
    assert "SplitError: 1 cells have copies in several parts of the split" in said
    assert names_tied(said)


def test_an_honest_manifest_trains(data: list[str]) -> None:
    path = manifest(Path("honest.csv"), ("B1", "B4"), ("N2", "N4"), own=True)
    table = pd.read_csv(path)
    for name in ("blast/b5_", "normal/n7_"):
        table.loc[table["cell_id"].str.startswith(name), "part"] = "train"
    table.to_csv(path, index=False)
    assert train.main([*data, *of_file(path), "hydra.run.dir=out"]) == DONE
    about = record_of(Path("out"))
    assert about["stamps"] == []
    assert about["protocol"] == {"name": "manifest"}


@pytest.mark.parametrize("pair", [TWINS, TIED])
def test_evaluate_refuses_a_run_whose_split_was_replaced_by_a_leaking_one(
    pair: tuple[str, str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = ("N2", "N7") if pair == TWINS else ("B1", "B5")
    table = table_with_apart(pair)
    table.loc[table["subject"].isin(others), "part"] = "train"
    replaced(run, table)
    for main in (evaluate.main, export_features.main):
        assert main([f"run={run}"]) == BAD_INPUT
        said = capsys.readouterr().err
        assert names_twins(said) if pair == TWINS else names_tied(said)
    assert record_of(run)["test_looks"] == 0
    assert "test" not in record.read_json(run / record.METRICS)


def test_evaluate_refuses_a_split_of_cells_that_are_not_there(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = table_with_apart()
    replaced(run, table.replace({"cell_id": {"blast/b0_0.png": "blast/b0_9.png"}}).sort_values("cell_id"))
    assert evaluate.main([f"run={run}"]) == BAD_INPUT
    assert (
        "1 of the 80 cells of the split are not in the data (first: blast/b0_9.png)"
        in capsys.readouterr().err
    )


def test_evaluate_refuses_another_split_even_without_a_leak(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = table_with_apart()
    table.loc[table["subject"].isin([*TWINS, *TIED]), "part"] = "train"
    replaced(run, table)
    assert evaluate.main([f"run={run}"]) == BAD_INPUT
    assert "config.yaml is not the one it was trained with" in capsys.readouterr().err


@pytest.mark.parametrize("features", ["pixels", "morphology", "model"])
def test_export_refuses_a_manifest_that_parts_twins(
    features: str, data: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = manifest(Path("leak.csv"), TWINS, own=True)
    assert (
        export_features.main([*data, *of_file(path), f"features={features}", "output=f.parquet"]) == BAD_INPUT
    )
    assert names_twins(capsys.readouterr().err)
    assert not Path("f.parquet").exists()


def test_a_sweep_refuses_the_leaking_job_alone(data: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    leak = manifest(Path("leak.csv"), TWINS, own=True)
    sweep = [*data, "protocol=manifest", f"protocol.file={leak}", "protocol.twins=merge,ignore"]
    assert train.main(["-m", *sweep, "hydra.sweep.dir=sweep"]) == 1
    assert names_twins(capsys.readouterr().err)
    table = pd.read_csv("sweep/table.csv")
    assert sorted(table["status"]) == ["failed", "finished"]
    assert table.loc[table["status"] == "finished", "stamps"].tolist() == [IGNORED]


# Accepted, and stamped


@pytest.fixture(scope="module")
def ignored(data: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    path = manifest(folder / "leak.csv", TWINS, TIED, own=True)
    assert train.main([*data, *of_file(path), "protocol.twins=ignore", f"hydra.run.dir={folder}/run"]) == DONE
    return folder / "run"


def texts_of(folder: Path) -> str:
    found = []
    for file in (folder / "tensorboard").glob("events*"):
        events = EventAccumulator(str(file)).Reload()
        for tag in events.Tags()["tensors"]:
            if tag.startswith("run/stamps"):
                found += [event.tensor_proto.string_val[0].decode() for event in events.Tensors(tag)]
    return "\n".join(found)


def test_ignored_twins_stamp_all_that_comes_of_them(
    ignored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert record_of(ignored)["stamps"] == [IGNORED]
    assert record.read_json(ignored / record.METRICS)["stamps"] == [IGNORED]
    assert read_split(ignored / record.SPLIT).stamps == (IGNORED,)
    assert IGNORED in texts_of(ignored)
    folder = shutil.copytree(ignored, tmp_path / "run")
    assert evaluate.main([f"run={folder}"]) == DONE
    printed = capsys.readouterr()
    assert IGNORED in printed.out
    assert "twins: 1 groups of names share cells and are NOT merged" in printed.err
    assert record.read_json(folder / record.METRICS)["stamps"] == [IGNORED]
    assert export_features.main([f"run={folder}", "output=f.parquet"]) == DONE
    assert f"[{IGNORED}]" in capsys.readouterr().out


def test_the_table_of_train_is_stamped(
    ignored: Path, data: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = manifest(Path("leak.csv"), TWINS, TIED, own=True)
    assert train.main([*data, *of_file(path), "protocol.twins=ignore", f"hydra.run.dir={ignored}"]) == DONE
    printed = capsys.readouterr()
    assert "finished before" in printed.err
    assert IGNORED in printed.out


def test_random_cells_and_a_leaky_manifest_pass_with_their_stamp(data: list[str]) -> None:
    assert train.main([*data, "protocol=random_cells", "hydra.run.dir=random"]) == DONE
    assert record_of(Path("random"))["stamps"] == ["LEAKY"]
    assert evaluate.main(["run=random"]) == DONE
    table = pd.read_parquet("random/split.parquet")
    assert (table.groupby("subject")["part"].nunique() > 1).any()
    table[["cell_id", "part"]].to_csv("own.csv", index=False)
    assert train.main([*data, *of_file(Path("own.csv"))]) == BAD_INPUT
    assert train.main([*data, *of_file(Path("own.csv")), "protocol.leaky=true", "hydra.run.dir=own"]) == DONE
    assert record_of(Path("own"))["stamps"] == ["LEAKY"]
    assert record.read_json(Path("own") / record.METRICS)["stamps"] == ["LEAKY"]


# Drawn by a protocol


def test_a_drawn_split_keeps_twins_and_tied_names_together(data: list[str], trained: Path) -> None:
    assert record_of(trained)["stamps"] == []
    folders = [trained]
    for seed in (1, 2, 3):
        folders.append(Path(f"seed{seed}"))
        assert train.main([*data, f"protocol.seed={seed}", f"hydra.run.dir={folders[-1]}"]) == DONE
    for folder in folders:
        table = read_split(folder / record.SPLIT).table
        part = table.drop_duplicates("subject").set_index("subject")["part"]
        assert part[TWINS[0]] == part[TWINS[1]]
        assert part[TIED[0]] == part[TIED[1]]
        groups = table.drop_duplicates("subject").set_index("subject")["group"]
        assert groups[list(TWINS)].tolist() == ["B1+B5"] * 2
        assert groups[list(TIED)].tolist() == list(TIED)  # a single copy merges nothing
    assert len({tuple(read_split(folder / record.SPLIT).table["part"]) for folder in folders}) > 1


@pytest.mark.parametrize("policy", ["merge", "drop", "ignore"])
@pytest.mark.parametrize("protocol", ["subject_holdout", "random_cells"])
def test_a_runs_own_split_loaded_back_has_its_hash(protocol: str, policy: str, data: list[str]) -> None:
    twins = [f"protocol.twins={policy}"] if protocol == "subject_holdout" else []
    assert train.main([*data, f"protocol={protocol}", *twins, "hydra.run.dir=first"]) == DONE
    ignore = ["protocol.twins=ignore"] if policy == "ignore" and twins else []
    assert train.main([*data, *of_file(Path("first/split.parquet")), *ignore, "hydra.run.dir=again"]) == DONE
    first, again = record_of(Path("first")), record_of(Path("again"))
    assert again["split_hash"] == first["split_hash"]
    assert again["stamps"] == first["stamps"]
    assert again["protocol"] == first["protocol"]
    values = [record.read_json(Path(name) / record.METRICS)["val"] for name in ("first", "again")]
    assert values[0] == values[1]


def test_drop_leaves_one_name_of_each_group_and_no_copies(
    data: list[str], trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main([*data, "protocol.twins=drop", "hydra.run.dir=out"]) == DONE
    assert (
        "twins: 6 cells of names that share cells with a name that stays are left out"
        in capsys.readouterr().err
    )
    about: dict[str, Any] = record_of(Path("out"))
    assert about["data_fingerprint"] == record_of(trained)["data_fingerprint"]
    assert about["split_hash"] != record_of(trained)["split_hash"]
    assert about["stamps"] == []
    table = read_split(Path("out") / record.SPLIT).table
    assert len(table) == 2 * N_SUBJECTS * CELLS_EACH - CELLS_EACH - 1
    assert table.groupby("group")["subject"].nunique().max() == 1
    assert len({*TWINS} & set(table["subject"])) == 1
    assert len({"normal/n2_0.png", "normal/n7_0.png"} & set(table["cell_id"])) == 1
    assert evaluate.main(["run=out"]) == DONE
    assert record_of(Path("out"))["test_looks"] == 1
