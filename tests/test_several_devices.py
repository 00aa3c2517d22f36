"""trainer.devices: two processes give what one gives, in a run, in a sweep, after a stop; no death goes unexplained."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_runs import BAD_INPUT, DONE, INTERRUPTED, MORE_DATA, SOME_FAILED, record_of
from stopping_net import BROADCASTS, MOST_CELLS, STOP_AT, TAKE_OVER

from leukemia_lab import train
from leukemia_lab.device_worker import _picklable
from leukemia_lab.errors import ConfigError, PrunedRunError, RunError, TrainingError
from leukemia_lab.estimators.checkpoints import BEST, LAST
from leukemia_lab.estimators.epoch_metrics import EpochMetrics
from leukemia_lab.estimators.history import read_history
from leukemia_lab.runs import lease
from leukemia_lab.several_devices import Report, _outcome

# 71 training cells in batches of 17: five batches of 14 and 15 cells, cut into pieces of 7 and 8
RUN = (
    *MORE_DATA,
    "model.net.width=4",
    "model.net.dropout=0",
    "trainer.batch_size=17",
    "trainer.max_epochs=3",
    "trainer.precision=32-true",
    "trainer.patience=null",
)
STOPPING_NET = ("model.net._target_=stopping_net.StoppingNet", "~model.net.width", "~model.net.dropout")
PLAIN_NET = ("model.net._target_=plain_net.PlainNet", "~model.net.width", "~model.net.dropout")


def trained(folder: Path, devices: int, *overrides: str) -> Path:
    status = train.main([*RUN, f"trainer.devices={devices}", f"hydra.run.dir={folder}", *overrides])
    assert status == DONE
    return folder


def assert_same_run(one: Path, other: Path) -> None:
    left, right = (read_history(folder / "history.csv") for folder in (one, other))
    assert list(left.columns) == list(right.columns)
    same = [
        name
        for name in left.columns
        if name.startswith(("epoch", "train/", "val/", "optim/gradient")) and name != "optim/lr"
    ]
    assert {"train/loss", "val/loss", "val/auroc", "val/ece"} <= set(same)
    np.testing.assert_allclose(left[same], right[same], atol=1e-4)
    predictions = [pd.read_parquet(folder / "predictions.parquet") for folder in (one, other)]
    assert predictions[0]["cell_id"].is_unique
    assert predictions[0]["cell_id"].equals(predictions[1]["cell_id"])
    probabilities = [table.filter(like="prob_") for table in predictions]
    np.testing.assert_allclose(*probabilities, atol=1e-4)
    assert record_of(one)["identity"] == record_of(other)["identity"]
    keys = [
        list(torch.load(folder / "checkpoints" / BEST, weights_only=True)["state_dict"])
        for folder in (one, other)
    ]
    assert keys[0] == keys[1]


def test_two_devices_train_the_net_of_one(tmp_path: Path) -> None:
    one, two = (trained(tmp_path / f"on_{n}", n) for n in (1, 2))
    assert_same_run(one, two)
    assert [record_of(folder)["devices"] for folder in (one, two)] == [1, 2]
    assert record_of(two)["images_per_second"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        (*PLAIN_NET, "balance=class_weight", "optim.ema_decay=0.9"),
        ("balance=oversample", "model.freeze=block2", "model.thaw_every=1", "optim.warmup_epochs=1"),
    ],
    ids=["without batch norm", "thawing"],
)
def test_two_devices_train_other_nets_too(
    tmp_path: Path, overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent / "estimators")
    one, two = (trained(tmp_path / f"on_{n}", n, *overrides) for n in (1, 2))
    assert_same_run(one, two)


@pytest.mark.slow
def test_a_sweep_may_use_several_devices(tmp_path: Path) -> None:
    sweep = [
        *RUN,
        "trainer.max_epochs=1",
        "trainer.devices=2",
        "optim.lr=1e-3,1e-4",
        "protocol=subject_kfold",
    ]
    assert train.main(["-m", *sweep, f"hydra.sweep.dir={tmp_path}/sweep"]) == DONE
    table = pd.read_csv(tmp_path / "sweep" / "table.csv")
    assert list(table["status"]) == ["finished", "finished"]
    rates = {
        float(read_history(tmp_path / "sweep" / run / "history.csv")["train/loss"][0]) for run in table["run"]
    }
    assert len(rates) == 2


def started(folder: Path, devices: int, *overrides: str) -> subprocess.Popen[str]:
    """The command in a process of its own, which has trained an epoch at least."""
    command = [*RUN, "trainer.max_epochs=400", f"trainer.devices={devices}", f"hydra.run.dir={folder}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "leukemia_lab.train", *command, *overrides],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    )
    wait_for(lambda: (folder / "checkpoints" / LAST).exists() or process.poll() is not None, 200)
    assert process.poll() is None
    return process


def wait_for(condition, seconds: float) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        pytest.skip("this system does not tell the children of a process")
    found = [int(pid) for pid in children.read_text().split()]
    return [pid for pid in found if b"device_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def has_ended(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.slow
def test_a_stop_reaches_every_worker_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    process = started(tmp_path / "stopped", 2)
    workers = workers_of(process)
    assert len(workers) == 2
    process.send_signal(signal.SIGTERM)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, printed
    assert "Traceback" not in printed
    assert record_of(tmp_path / "stopped")["status"] == "interrupted"
    assert all(has_ended(pid) for pid in workers)
    last = torch.load(tmp_path / "stopped" / "checkpoints" / LAST, weights_only=True)
    assert last["epoch"] >= 0


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_a_run_that_failed_on_some_devices_goes_on_on_others_as_if_it_had_not(
    tmp_path: Path, first: int, then: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = trained(tmp_path / "undisturbed", 1, *STOPPING_NET)
    folder = tmp_path / "failed"
    monkeypatch.setenv(STOP_AT, "12")  # in the third epoch of five batches
    command = [*RUN, *STOPPING_NET, f"trainer.devices={first}", f"hydra.run.dir={folder}"]
    assert train.main(command) == SOME_FAILED
    assert record_of(folder)["error"] == "RuntimeError: stopped"
    assert len(read_history(folder / "history.csv")) == 2
    monkeypatch.delenv(STOP_AT)
    assert_same_run(undisturbed, trained(folder, then, *STOPPING_NET))


@pytest.mark.slow
def test_memory_that_one_device_lacks_halves_what_all_have_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MOST_CELLS, "5")  # of pieces of 7 and 8
    about = record_of(trained(tmp_path, 2, *STOPPING_NET, "trainer.max_epochs=1"))
    assert about["accumulated_batches"] == 2
    assert about["batch_in_memory"] == 4
    assert [event["batch_in_memory"] for event in about["out_of_memory"]] == [8]


@pytest.mark.slow
def test_workers_write_no_epoch_of_a_run_that_another_process_took_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 1000.0)  # the supervisor does not notice
    monkeypatch.setenv(TAKE_OVER, str(folder / lease.FOLDER / "99.json"))
    command = [*RUN, *STOPPING_NET, "trainer.devices=2", f"hydra.run.dir={folder}"]
    assert train.main(command) == INTERRUPTED
    assert len(read_history(folder / "history.csv")) == 1
    assert torch.load(folder / "checkpoints" / LAST, weights_only=True)["epoch"] == 0
    assert record_of(folder)["status"] == "running"  # for the other process to say


@pytest.mark.slow
def test_devices_do_not_wait_for_each_other_at_steps_but_for_gradients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = tmp_path / "a folder of its own"  # whose name a URL would change
    where.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(where))
    monkeypatch.setenv(BROADCASTS, str(tmp_path / "broadcasts"))
    trained(tmp_path / "run", 2, *STOPPING_NET, "trainer.max_epochs=1")
    assert not (tmp_path / "broadcasts").exists()


@pytest.mark.slow
def test_a_killed_worker_ends_the_run_with_an_explanation_and_soon(tmp_path: Path) -> None:
    process = started(tmp_path / "run", 2)
    workers = workers_of(process)
    os.kill(workers[1], signal.SIGKILL)
    _, printed = process.communicate(timeout=30)
    assert process.returncode == SOME_FAILED, printed
    assert "TrainingError: the process of device 1 was killed by SIGKILL" in " ".join(printed.split())
    assert record_of(tmp_path / "run")["status"] == "failed"
    assert all(has_ended(pid) for pid in workers)


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_supervisor(tmp_path: Path) -> None:
    process = started(tmp_path / "run", 2)
    workers = workers_of(process)
    process.kill()
    process.communicate()
    wait_for(lambda: all(has_ended(pid) for pid in workers), 20)


@pytest.mark.slow
def test_what_a_worker_raises_arrives_as_it_was_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["optim.lr=1e30", "trainer.devices=2", f"hydra.run.dir={tmp_path}/run"]
    assert train.main([*RUN, *overrides]) == SOME_FAILED
    assert "TrainingError: the training loss is" in capsys.readouterr().err
    assert "In the process of device" in record_of(tmp_path / "run")["traceback"]


def test_a_death_without_a_word_explains_more_than_the_errors_that_follow_it() -> None:
    refused = Report(2.0, None, RuntimeError("connection closed by peer"))
    with pytest.raises(TrainingError, match="device 1 was killed by SIGKILL"):
        _outcome([refused, None], [1, -9])
    memory = Report(1.0, None, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.OutOfMemoryError):
        _outcome([refused, memory], [1, 1])
    with pytest.raises(ConfigError):  # the other hung until it was ended by us
        _outcome([None, Report(1.0, None, ConfigError("too few cells"))], [None, 2])


def test_an_error_that_cannot_be_sent_arrives_as_its_text() -> None:
    class LocalError(Exception):
        pass

    error = LocalError("what happened")
    error.add_note("where")
    sent = _picklable(error)
    assert type(sent) is RuntimeError
    assert str(sent) == "LocalError: what happened"
    assert sent.__notes__ == ["where"]
    for own in (PrunedRunError(0.75), TrainingError("no number", nan_step=3)):
        sent = pickle.loads(pickle.dumps(_picklable(own)))
        assert (type(sent), str(sent), vars(sent)) == (type(own), str(own), vars(own))


def test_validation_refuses_a_cell_that_is_missing_or_seen_twice() -> None:
    for seen in ([0, 1], [0, 1, 1], [1, 0, 2]):
        metrics = EpochMetrics(2, positive=0)
        metrics.update(torch.full((len(seen), 2), 0.5), torch.zeros(len(seen)).long(), torch.tensor(seen))
        with pytest.raises(RunError, match="not each of the part's 3 once and in order"):
            metrics.gather(torch.tensor([0, 1, 2]))


def test_more_devices_than_cells_or_gpus_are_refused_before_any_data_are_touched(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train.main(["trainer.devices=3", "trainer.batch_size=2", "trainer.accelerator=cpu"]) == BAD_INPUT
    assert "a batch of trainer.batch_size=2 cells has none for some of them" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_train_the_net_of_one(tmp_path: Path) -> None:
    one, two = (trained(tmp_path / f"on_{n}", n, "trainer.accelerator=cuda") for n in (1, 2))
    assert_same_run(one, two)
