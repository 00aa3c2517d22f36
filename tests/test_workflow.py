"""`train`, one run and sweeps, through its real entry point on a tiny synthetic tree."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from small_runs import BAD_INPUT, DONE, INTERRUPTED, SOME_FAILED, metrics_of, record_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from leukemia_lab import train
from leukemia_lab.data.split_files import read_split
from leukemia_lab.evaluation.metrics import METRICS
from leukemia_lab.evaluation.predictions import read_predictions

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_a_run_folder_holds_what_the_contract_says(finished_run: Path) -> None:
    names = {path.name for path in finished_run.iterdir()}
    assert names >= {
        "config.yaml",
        "record.json",
        "metrics.json",
        "predictions.parquet",
        "split.parquet",
        "checkpoints",
        "tensorboard",
        "figures",
    }
    about = record_of(finished_run)
    assert about["status"] == "finished"
    assert about["stamps"] == ["SYNTHETIC"]
    assert about["test_looks"] == 0
    assert about["split_hash"] == read_split(finished_run / "split.parquet").hash
    assert about["seconds"] > 0
    assert about["images_per_second"] > 0
    assert {"config_hash", "data_fingerprint", "versions", "commit"} <= set(about)
    config = yaml.safe_load((finished_run / "config.yaml").read_text())
    assert config["trainer"]["precision"] != "auto"
    assert config["pipeline"]["image_size"] == 32


def test_the_test_part_stays_closed_in_training(finished_run: Path) -> None:
    split = read_split(finished_run / "split.parquet").table
    table = read_predictions(finished_run / "predictions.parquet")
    assert set(split["part"]) == {"train", "val", "test"}
    assert set(table["part"]) == {"train", "val"}
    seen = split[split["part"] != "test"]
    assert sorted(table["cell_id"]) == sorted(seen["cell_id"])
    document = metrics_of(finished_run)
    assert "test" not in document
    assert document["objective"] == document["val"]["auroc"]["value"]
    assert set(document["val"]) == set(METRICS)


def test_the_same_command_returns_the_finished_run(
    tiny: list[str], finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished_run / "metrics.json").stat().st_mtime_ns
    assert train.main([*tiny, f"hydra.run.dir={finished_run}"]) == DONE
    printed = capsys.readouterr()
    assert "finished before" in printed.err
    assert "[SYNTHETIC]" in printed.out
    assert (finished_run / "metrics.json").stat().st_mtime_ns == before


def test_what_cannot_change_a_result_is_no_part_of_the_identity(tiny: list[str], run: Path) -> None:
    before = record_of(run)
    same = [*tiny, f"hydra.run.dir={run}", "trainer.num_workers=1", "data.bad_files=skip"]
    without_effect = ["pipeline.log.sigma_px=2.5", "model.lr=0.5", f"optim.lr={3e-3}", "model.image_size=64"]
    assert train.main([*same, *without_effect]) == DONE
    assert record_of(run) == before


def test_a_folder_of_another_identity_is_refused_until_forced(
    tiny: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = [*tiny, f"hydra.run.dir={run}", "seed=0", "optim.lr=1e-4"]
    assert train.main(other) == BAD_INPUT
    assert "holds another run" in capsys.readouterr().err
    before = record_of(run)["identity"]
    assert train.main([*other, "force=true"]) == DONE
    assert record_of(run)["identity"] != before


def test_the_folder_is_named_by_model_and_identity_under_runs(tiny: list[str], elsewhere: Path) -> None:
    assert train.main([*tiny, "trainer.max_epochs=1"]) == DONE
    (folder,) = (elsewhere / "runs").iterdir()
    assert folder.name == f"simple_cnn-{record_of(folder)['identity']}"
    assert [path.name for path in elsewhere.iterdir()] == ["runs"]


def test_dashboards_hold_scalars_pictures_and_filled_hparams(finished_run: Path) -> None:
    tags: dict[str, set[str]] = {"scalars": set(), "images": set(), "tensors": set()}
    for file in (finished_run / "tensorboard").glob("events*"):
        events = EventAccumulator(str(file))
        events.Reload()
        for kind in tags:
            tags[kind] |= set(events.Tags()[kind])
        if "hp/val/auroc" in events.Tags()["scalars"]:
            assert events.Scalars("hp/val/auroc")[0].value == pytest.approx(
                metrics_of(finished_run)["objective"]
            )
            assert "_hparams_/session_start_info" in events.summary_metadata
    assert {"train/loss", "val/auroc", "val/loss", "optim/lr", "hp/val/auroc"} <= tags["scalars"]
    assert {"cells/raw_filtered_augmented", "confusion/val"} <= tags["images"]
    assert any(tag.startswith("run/config") for tag in tags["tensors"])


def test_an_unforeseen_failure_is_recorded_with_its_traceback(
    tiny: list[str], elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("leukemia_lab.net_runs.fit", broken)
    assert train.main([*tiny, "hydra.run.dir=broken"]) == SOME_FAILED
    assert "Unexpected RuntimeError: a bug" in capsys.readouterr().err
    about = record_of(elsewhere / "broken")
    assert about["status"] == "failed"
    assert "a bug" in about["traceback"]
    monkeypatch.undo()
    monkeypatch.chdir(elsewhere)
    assert train.main([*tiny, "hydra.run.dir=broken"]) == DONE
    assert record_of(elsewhere / "broken")["status"] == "finished"


def test_a_sweep_finishes_what_it_can_and_says_what_failed(
    tiny: list[str], elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = [
        *(text for text in tiny if not text.startswith(("model", "trainer.max_epochs"))),
        "-m",
        "trainer.max_epochs=1",
        "model=simple_cnn,vgg13",
        "optim.lr=1e-3,1e30",  # the loss does not stay a number
    ]
    assert train.main(sweep) == SOME_FAILED
    printed = capsys.readouterr()
    assert "2 of 4 runs finished" in printed.out
    assert "TrainingError" in printed.err
    (folder,) = (elsewhere / "runs").iterdir()
    assert folder.name.startswith("sweep-")
    table = pd.read_csv(folder / "table.csv")
    assert list(table.columns[:3]) == ["model", "protocol", "accuracy"]
    assert sorted(table["model"]) == ["simple_cnn", "simple_cnn", "vgg13", "vgg13"]
    failed = table[table["status"] != "finished"]
    assert failed["model"].tolist() == ["simple_cnn", "vgg13"]
    assert failed["error"].str.startswith("TrainingError").all()
    assert failed["auroc"].isna().all()
    assert table.loc[table["status"] == "finished", "auroc"].notna().all()
    assert (table.loc[table["status"] == "finished", "stamps"] == "SYNTHETIC").all()
    assert "test" not in metrics_of(folder / table["run"][0])

    again = [*reversed(sweep), "trainer.num_workers=0"]  # the same jobs in other words
    assert train.main(again) == SOME_FAILED
    assert capsys.readouterr().err.count("finished before") == 2
    assert [path.name for path in (elsewhere / "runs").iterdir()] == [folder.name]


def test_no_job_of_a_sweep_with_a_bad_value_starts(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(["-m", "optim.lr=1e-3,-1", "model=simple_cnn,vgg14"]) == BAD_INPUT
    printed = capsys.readouterr().err
    assert "optim.lr: -1" in printed
    assert "vgg14" in printed
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_so_and_the_same_command_finishes_it(
    tiny: list[str], elsewhere: Path, stop: int
) -> None:
    command = [
        sys.executable,
        "-m",
        "leukemia_lab.train",
        *tiny,
        "trainer.max_epochs=400",
        "trainer.patience=null",
    ]
    command.append("hydra.run.dir=stopped")
    last = elsewhere / "stopped" / "checkpoints" / "last.ckpt"
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ.copy())
    deadline = time.monotonic() + 120
    while not last.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(stop)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, printed
    assert "Traceback" not in printed
    assert "resumes" in printed
    assert record_of(elsewhere / "stopped")["status"] == "interrupted"
    assert torch.load(last, weights_only=True)["epoch"] >= 0
