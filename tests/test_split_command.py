"""`python -m leukemia_lab.split`: what it draws, shows and writes, and that `train` reads it back."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pytest
from small_runs import BAD_INPUT, DATA, DONE, MORE_DATA, record_of
from small_trees import PATTERN, class_tree

from leukemia_lab import cells, evaluate, export_features, indexing, shared_cells, split, train
from leukemia_lab.data.split_files import read_split
from leukemia_lab.runs import record

ONLY_DATA = MORE_DATA[:3]
KNN = ("model=knn", "model.features.size=8", "model.classifier.grid.n_neighbors=[3]")
KFOLD = ("protocol=subject_kfold", "protocol.n_folds=3")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join("".join(capsys.readouterr()).split())


@pytest.mark.parametrize("name", ["own.csv", "deep/er/own.parquet"])
def test_a_split_is_written_and_says_its_hash_stamps_and_place(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert split.main([*ONLY_DATA, f"output={name}"]) == DONE
    found = read_split(Path(name))
    assert f"split {found.hash[:12]} [SYNTHETIC]: {name}" in said(capsys)
    assert [path.name for path in Path(name).parent.iterdir()] == [Path(name).name]


def test_without_output_the_file_is_named_by_protocol_and_hash_and_may_be_drawn_again() -> None:
    for _ in range(2):
        assert split.main([*ONLY_DATA]) == DONE
        (path,) = Path("splits").iterdir()
        assert path.name == f"subject_holdout-{read_split(path).hash[:12]}.csv"


def test_the_balance_of_the_parts_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert split.main([*ONLY_DATA, "output=own.csv"]) == DONE
    printed = said(capsys)
    assert "Parts of the split" in printed
    table = read_split(Path("own.csv")).table
    for part in ("train", "val", "test"):
        shown = [part]
        for label in ("ALL", "HEM"):
            of_class = table[table["label"] == label]
            rows = of_class[of_class["part"] == part]
            for column in ("cell_id", "subject", "group"):
                n, total = rows[column].nunique(), of_class[column].nunique()
                shown.append(f"{n} ({n / total:.1%})")
        assert " │ ".join(shown) in printed


def test_all_folds_are_one_file_each_and_train_alike(capsys: pytest.CaptureFixture[str]) -> None:
    assert split.main([*ONLY_DATA, *KFOLD, "protocol.fold=all", "output=kfold.csv"]) == DONE
    printed = said(capsys)
    assert "Test part of each fold" in printed
    assert "even: 33.3% each; farthest from it by" in printed
    names = ["kfold-fold_0.csv", "kfold-fold_1.csv", "kfold-fold_2.csv"]
    assert sorted(path.name for path in Path().iterdir()) == names
    assert train.main([*MORE_DATA, *KNN, *KFOLD, "protocol.fold=all", "hydra.run.dir=cv"]) == DONE
    hashes = [fold["split_hash"] for fold in record_of(Path("cv"))["folds"]]
    assert [read_split(Path(name)).hash for name in names] == hashes
    tested = []
    for k, name in enumerate(names):
        given = [*MORE_DATA, *KNN, "protocol=manifest", f"protocol.file={name}", f"hydra.run.dir=run{k}"]
        assert train.main(given) == DONE
        assert record_of(Path(f"run{k}"))["split_hash"] == hashes[k]
        metrics = [record.read_json(Path(run) / record.METRICS)["val"] for run in (f"run{k}", f"cv/fold_{k}")]
        assert metrics[0] == metrics[1]
        table = read_split(Path(name)).table
        tested += list(table.loc[table["part"] == "test", "cell_id"])
    assert sorted(tested) == sorted(table["cell_id"])


@pytest.mark.parametrize("command", ["split", "train"])
def test_all_folds_read_the_data_once(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read: list[int] = []

    def counted(*given: object) -> object:
        read.append(1)
        return cells_read(*given)  # type: ignore[arg-type]

    cells_read = indexing.read_data
    for module in (cells, shared_cells):
        monkeypatch.setattr(module, "read_data", counted)
    given = [*DATA, "protocol=official_folds", "protocol.fold=all"]
    if command == "split":
        assert split.main([*given[:3], *given[4:], "output=own.csv"]) == DONE
    else:
        assert train.main([*given, *KNN, "hydra.run.dir=cv"]) == DONE
    printed = capsys.readouterr().err
    assert len(read) == printed.count("share cells and are one group") == 1
    assert printed.count("cells with a twin in another official fold") == 3  # of each split
    if command == "train":
        assert evaluate.main(["run=cv"]) == DONE
        assert len(read) == 2
        assert capsys.readouterr().err.count("cells and twins: those of the run before") == 1


def test_a_file_that_is_there_is_kept_unless_forced(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.csv").write_text("mine")
    Path("own-fold_1.csv").write_text("mine")
    assert split.main([*ONLY_DATA, "output=own.csv"]) == BAD_INPUT
    assert "own.csv is there already: give another output=…, or force=true" in said(capsys)
    assert split.main([*ONLY_DATA, *KFOLD, "protocol.fold=all", "output=own.csv"]) == BAD_INPUT
    assert "own-fold_1.csv is there already" in said(capsys)
    assert not Path("own-fold_0.csv").exists()
    assert Path("own.csv").read_text() == Path("own-fold_1.csv").read_text() == "mine"
    assert split.main([*ONLY_DATA, "output=own.csv", "force=true"]) == DONE
    assert read_split(Path("own.csv")).protocol["name"] == "subject_holdout"


@pytest.mark.parametrize("name", ["own.txt", "own", "own.csv.gz"])
def test_another_suffix_is_refused_before_any_data_are_read(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cells, "read_cells", None)
    assert split.main([*ONLY_DATA, f"output={name}"]) == BAD_INPUT
    assert f"output={name}: give a name that ends in .csv or .parquet" in said(capsys)


def test_a_place_that_cannot_be_written_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("")
    Path("folder.csv").mkdir()
    for place in ("file/own.csv", "/proc/own.csv", "/proc/self/new/own.parquet"):
        assert split.main([*ONLY_DATA, f"output={place}"]) == BAD_INPUT
        assert f"RunError: output={place} cannot be written: " in said(capsys)
    assert split.main([*ONLY_DATA, "output=folder.csv", "force=true"]) == BAD_INPUT
    assert "RunError: output=folder.csv cannot be written" in said(capsys)


def test_a_split_may_be_made_of_another(capsys: pytest.CaptureFixture[str]) -> None:
    assert split.main([*ONLY_DATA, "protocol=random_cells", "output=own.parquet"]) == DONE
    assert (
        split.main([*ONLY_DATA, "protocol=manifest", "protocol.file=own.parquet", "output=own.csv"]) == DONE
    )
    first, again = read_split(Path("own.parquet")), read_split(Path("own.csv"))
    assert (again.hash, again.stamps) == (first.hash, ("LEAKY",))
    assert f"split {first.hash[:12]} [SYNTHETIC] [LEAKY]: own.csv" in said(capsys)


def test_a_split_without_subjects_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{label}/{n}.png" for label in ("a", "b") for n in range(9)]
    rows = pd.DataFrame({"file": names, "label": [name[0] for name in names]})
    rows.to_csv("list.csv", index=False)
    given = ["data=manifest", "data.file=list.csv"]
    assert split.main([*given, "protocol=random_cells", "output=own.csv"]) == DONE
    assert "[LEAKY] [NO SUBJECTS]: own.csv" in said(capsys)
    assert split.main([*given, "output=other.csv"]) == BAD_INPUT
    assert "18 of 18 cells have no subject" in said(capsys)


def test_a_tree_is_checked_against_manifests(capsys: pytest.CaptureFixture[str]) -> None:
    root = class_tree(Path("cells").resolve(), {"a": ["p", "q", "r", "s"], "b": ["t", "u", "v", "w"]}, 4)
    files = sorted(root.rglob("*.png"))
    rows = [f"{file.name},{hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files]
    Path("list.csv").write_text("\n".join(["file,sha256", *rows, f"gone.png,{'0' * 64}"]))
    given = [
        "data=folder",
        f"data.root={root}",
        PATTERN,
        "data.manifest=list.csv",
        "force=true",
        "output=own.csv",
    ]
    assert split.main(given) == DONE
    printed = said(capsys)
    assert "note: list.csv: 32 cells checked, 0 differ" in printed
    assert "note: list.csv: 1 of its files are not there (gone.png, ...)" in printed
    with (root / "a" / "q_1.png").open("ab") as file:
        file.write(b"\0")
    assert split.main(given) == BAD_INPUT
    assert "a/q_1.png: other bytes (its SHA-256 is not that of list.csv)" in said(capsys)
    assert split.main([*given, "data.bad_files=skip"]) == DONE
    assert "left out: a/q_1.png: other bytes" in said(capsys)
    assert len(read_split(Path("own.csv")).table) == 31


# data=manifest: the published names of C-NMC, without any pixel


def test_the_official_folds_of_the_published_names(
    shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = shared_data / "cnmc_meta" / "train_manifest.csv"
    given = ["data=manifest", f"data.file={names}", "protocol=official_folds"]
    assert split.main([*given, "output=split.csv"]) == DONE
    printed = said(capsys)
    assert (
        "cells with a twin in another official fold: 90 / 172 / 262, as split 0 / 0 / 0"
        in printed.replace(" before merging", "")
    )
    assert "SYNTHETIC" not in printed
    table = read_split(Path("split.csv")).table
    assert (len(table), table["subject"].nunique(), table["group"].nunique()) == (10661, 73, 65)
    assert table.groupby("group")["part"].nunique().max() == 1
    assert split.main([*given, "protocol.twins=ignore", "output=ignored.csv"]) == DONE
    assert "as split 90 / 172 / 262" in said(capsys)
    assert read_split(Path("ignored.csv")).stamps == ("TWINS IGNORED",)
    assert split.main([*given, "protocol.twins=drop", "output=dropped.csv"]) == DONE
    printed = said(capsys)
    assert "90 / 172 / 262, as split 0 / 0 / 0" in printed.replace(" before merging", "")
    dropped = read_split(Path("dropped.csv")).table
    assert dropped.groupby("group")["subject"].nunique().max() == 1
    assert dropped["subject"].nunique() == 65
    both = [given[0], f"data.file=[{names},{names.with_name('prelim_manifest.csv')}]"]
    assert split.main([*both, given[2], "output=with_prelim.csv"]) == DONE
    assert "90 / 172 / 262, as split 0 / 0 / 0" in said(capsys).replace(" before merging", "")
    assert read_split(Path("with_prelim.csv")).hash == read_split(Path("split.csv")).hash
    assert split.main([*both, "protocol=challenge", "output=challenge.csv"]) == DONE
    assert (read_split(Path("challenge.csv")).table["part"] == "test").sum() == 1867
    again = [*given[:2], "protocol=manifest", "protocol.file=ignored.csv", "output=again.csv"]
    assert split.main(again) == BAD_INPUT
    assert "group 20+21 with the subjects 20 (" in said(capsys)


def test_a_manifest_cannot_be_trained_on(capsys: pytest.CaptureFixture[str]) -> None:
    Path("list.csv").write_text("file,label,subject\na.png,x,1\n")
    for given in ([], ["features=pixels"], ["features=morphology"]):
        main = export_features.main if given else train.main
        assert main(["data=manifest", "data.file=list.csv", *given]) == BAD_INPUT
        assert "a manifest has no pixels to train on" in said(capsys)
