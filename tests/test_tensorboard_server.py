"""A real TensorBoard server on a sweep of eight runs and a cross-validation, asked as its own pages ask it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from small_runs import DATA, DONE, MORE_DATA

from leukemia_lab import evaluate, train
from leukemia_lab.estimators import validation_curves
from leukemia_lab.evaluation.metrics import METRICS
from leukemia_lab.runs.record import METRICS as METRICS_FILE
from leukemia_lab.runs.record import read_json

pytestmark = pytest.mark.xdist_group("tensorboard_server")  # one process, so that its runs are made once

WAIT_SECONDS = 60
N_RUNS, FOLDS = 8, ("fold_0", "fold_1")
CROSS_VALIDATION = "cross_validation"
SCALARS = {
    "train/loss",
    "val/loss",
    "val/auroc",
    "val/ece",
    "optim/lr",
    "optim/gradient_norm",
    "speed/images_per_second",
    "speed/data_wait_share",
    "memory/process_bytes",
}


class Server:
    """TensorBoard at one address."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str, **query: str) -> Any:
        return json.loads(self.raw(path, **query))

    def raw(self, path: str, **query: str) -> bytes:
        address = f"{self.address}/data/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=60) as answer:
            content: bytes = answer.read()
            return content

    def post(self, path: str, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address}/data/{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def rows(self) -> dict[str, dict[str, Any]]:
        """The HParams tab: by run its `hparams` and `metrics`."""
        statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
        body = {"allowedStatuses": statuses, "colParams": [], "startIndex": 0, "sliceSize": 100}
        groups = self.post("plugin/hparams/session_groups", body)["sessionGroups"]
        return {
            group["name"]: {
                "hparams": group["hparams"],
                "sessions": len(group["sessions"]),
                "metrics": {value["name"]["tag"]: value["value"] for value in group["metricValues"]},
            }
            for group in groups
        }


@contextmanager
def serving(logdir: Path, n_runs: int) -> Iterator[Server]:
    """A server on a port that it chose itself, once it has read all runs."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--port", "0"]
    command += ["--load_fast", "false", "--reload_interval", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            line = next(text for text in process.stdout if " at http" in text)
            server = Server(line.split(" at ")[1].split()[0].rstrip("/"))
            wait_for(lambda: len(server.get("runs")) == n_runs and len(server.rows()) == n_runs)
            yield server
        finally:
            process.terminate()
            assert process.stdout is not None
            said = process.stdout.read()
        assert "Traceback" not in said, said
        assert re.search(r"^E\d{4} ", said, re.MULTILINE) is None, said


def wait_for(condition: Any) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < until, "the server does not show it"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four nets and four classical models whose test parts were opened, and a cross-validation whose were not."""
    folder = tmp_path_factory.mktemp("sweep")
    words = ["-m", *DATA, "model=simple_cnn,knn", "seed=0,1,2,3", "trainer.max_epochs=2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation_curves, "DRAWING_SHARE", 100)  # runs of seconds draw figures by epoch too
        assert train.main([*words, "trainer.batch_size=16", f"hydra.sweep.dir={folder}"]) == DONE
    for run in folder.glob("*-*"):
        assert evaluate.main([f"run={run}"]) == DONE
    folds = ["protocol=subject_kfold", f"protocol.n_folds={len(FOLDS)}", "protocol.fold=all"]
    words = [*MORE_DATA, "model=knn", "model.classifier.grid.n_neighbors=[3]", *folds]
    assert train.main([*words, f"hydra.run.dir={folder / CROSS_VALIDATION}"]) == DONE
    return folder


@pytest.fixture(scope="module")
def server(sweep: Path) -> Iterator[Server]:
    with serving(sweep, N_RUNS + 1 + len(FOLDS)) as found:
        yield found


def runs_of(sweep: Path, pattern: str = "*-*") -> set[str]:
    return {f"{path.name}/tensorboard" for path in sweep.glob(pattern) if path.is_dir()}


def test_final_metrics_of_all_runs_stand_in_hparams(server: Server, sweep: Path) -> None:
    rows = server.rows()
    folds = {f"{CROSS_VALIDATION}/{fold}/tensorboard" for fold in FOLDS}
    assert len(runs_of(sweep)) == N_RUNS
    assert rows.keys() == runs_of(sweep) | {f"{CROSS_VALIDATION}/tensorboard"} | folds
    for name, row in rows.items():
        document = read_json(sweep / name.removesuffix("/tensorboard") / METRICS_FILE)
        assert row["sessions"] == 1
        assert row["hparams"]["stamps"] == "SYNTHETIC"
        shown = final_shown(row)
        assert shown == pytest.approx(final_of(document), abs=1e-6)
        parts = ("val", "test") if name in runs_of(sweep) else ("val",)
        for part in parts:
            assert sum(tag.startswith(f"hp/{part}/") for tag in shown) > 8, (name, part)


def final_shown(row: dict[str, Any]) -> dict[str, float]:
    """The final metrics of a row, without what was logged by epoch."""
    return {tag: value for tag, value in row["metrics"].items() if tag.startswith("hp/")}


def final_of(document: dict[str, Any]) -> dict[str, float]:
    """The defined metrics of what was opened, as the HParams tab names them."""
    return {
        f"hp/{part}/{metric}": document[part][metric]["value"]
        for part in ("val", "test")
        for metric in METRICS
        if part in document and document[part][metric]["value"] is not None
    }


def test_hparams_columns_are_those_of_all_runs_and_say_which_differ(server: Server) -> None:
    experiment = server.post("plugin/hparams/experiment", {})
    infos = {info["name"]: info for info in experiment["hparamInfos"]}
    assert infos["seed"]["differs"]
    assert infos["model.name"]["differs"]
    assert not infos["pipeline.image_size"]["differs"]
    assert {"model.net._target_", "model.classifier.estimator._target_", "stamps"} <= infos.keys()
    tags = {info["name"]["tag"] for info in experiment["metricInfos"]}
    assert {"hp/val/auroc", "hp/test/auroc"} <= tags


def test_scalars_are_listed_and_grouped_into_charts(server: Server, sweep: Path) -> None:
    tags = server.get("plugin/scalars/tags")
    for run in runs_of(sweep, "simple_cnn-*"):
        assert set(tags[run]) >= SCALARS
    layout = server.get("plugin/custom_scalars/layout")
    charts = {
        tag
        for category in layout["category"]
        for chart in category["chart"]
        for tag in chart["multiline"]["tag"]
    }
    assert len(layout["category"]) == 5
    assert charts >= SCALARS
    assert charts - {"memory/device_bytes"} <= set(tags[min(runs_of(sweep, "simple_cnn-*"))])


def test_curves_and_pictures_are_listed_for_nets_and_classical_models(server: Server, sweep: Path) -> None:
    curves, images = server.get("plugin/pr_curves/tags"), server.get("plugin/images/tags")
    n_grids = 0
    for run in runs_of(sweep):
        document = read_json(sweep / run.removesuffix("/tensorboard") / METRICS_FILE)
        for part in ("val", "test"):
            assert f"pr/{part}/ALL" in curves[run]
            assert {f"roc/{part}", f"confusion/{part}"} <= images[run].keys()
            has_errors = document[part]["accuracy"]["value"] < 1
            assert (f"errors/{part}" in images[run]) == has_errors
            n_grids += has_errors
    assert n_grids > N_RUNS
    for run in runs_of(sweep, "simple_cnn-*"):
        assert "pr_by_epoch/val/ALL" in curves[run]
        assert "cells/raw_filtered_augmented" in images[run]
        assert {"attribution/val", "attribution/test"} <= images[run].keys()
        points = server.get("plugin/pr_curves/pr_curves", tag="pr_by_epoch/val/ALL", run=run)[run]
        assert [point["step"] for point in points] == [0, 1]
        for tag in ("roc_by_epoch/val", "confusion_by_epoch/val"):
            shown = server.get("plugin/images/images", tag=tag, run=run, sample="0")
            assert [image["step"] for image in shown] == [0, 1]
            picture = server.raw(f"plugin/images/individualImage?{shown[-1]['query']}")
            assert picture.startswith(b"\x89PNG")


def test_the_projector_has_each_runs_cells_with_their_thumbnails(server: Server, sweep: Path) -> None:
    assert set(server.get("plugin/projector/runs")) >= runs_of(sweep)
    for run in runs_of(sweep):
        [embedding] = server.get("plugin/projector/info", run=run)["embeddings"]
        name = embedding["tensorName"]
        assert name == "validation cells [SYNTHETIC]"
        table = server.raw("plugin/projector/metadata", run=run, name=name).decode().splitlines()
        assert table[0].split("\t")[:6] == ["cell_id", "label", "subject", "group", "predicted", "correct"]
        columns = zip(*(row.split("\t") for row in table), strict=True)
        values = {name: set(column) for name, *column in columns}
        for colour in (
            "label",
            "subject",
            "correct",
        ):  # the page offers a column of up to 50 values as colours
            assert 2 <= len(values[colour]) <= 50, colour
        n_cells, n_dimensions = embedding["tensorShape"]
        assert n_cells == len(table) - 1 > 5
        assert 1 < n_dimensions <= 64
        content = server.raw("plugin/projector/tensor", run=run, name=name)
        assert len(content) == 4 * n_cells * n_dimensions
        assert server.raw("plugin/projector/sprite_image", run=run, name=name).startswith(b"\x89PNG")


def test_settings_and_stamps_stand_in_the_text_tab(server: Server, sweep: Path) -> None:
    tags = server.get("plugin/text/tags")
    for run in runs_of(sweep):
        assert {"run/config", "run/stamps"} <= {tag.removesuffix("/text_summary") for tag in tags[run]}
        [tag] = [name for name in tags[run] if name.startswith("run/stamps")]
        assert "SYNTHETIC" in server.get("plugin/text/text", run=run, tag=tag)[-1]["text"]
        [tag] = [name for name in tags[run] if name.startswith("run/config")]
        assert "<table>" in server.get("plugin/text/text", run=run, tag=tag)[-1]["text"]


def test_a_server_that_runs_while_test_parts_are_opened_again_shows_it(sweep: Path) -> None:
    """Last in this file: it changes runs of the sweep."""
    n_rows = N_RUNS + 1 + len(FOLDS)
    run, folds = max(sweep.glob("simple_cnn-*")), sweep / CROSS_VALIDATION
    of_run, of_folds = (f"{path.relative_to(sweep)}/tensorboard" for path in (run, folds))
    with serving(sweep, n_rows) as server:
        assert "hp/test/auroc" not in server.rows()[of_folds]["metrics"]
        for path in (run, folds, folds):
            assert evaluate.main([f"run={path}"]) == DONE
        wait_for(lambda: "hp/test/auroc" in server.rows()[of_folds]["metrics"])
        points = {"tag": "pr/test/ALL", "run": of_run}
        wait_for(lambda: len(server.get("plugin/pr_curves/pr_curves", **points)[of_run]) == 2)
        assert len(server.rows()) == n_rows
    with serving(sweep, n_rows) as server:
        rows = server.rows()
        for name in (of_run, of_folds, *(f"{CROSS_VALIDATION}/{fold}/tensorboard" for fold in FOLDS)):
            assert rows[name]["sessions"] == 1
            assert rows[name]["hparams"]["stamps"] == "SYNTHETIC, TEST SEEN 2 TIMES"
            document = read_json(sweep / name.removesuffix("/tensorboard") / METRICS_FILE)
            assert final_shown(rows[name]) == pytest.approx(final_of(document), abs=1e-6)
            points = server.get("plugin/pr_curves/pr_curves", tag="pr/test/ALL", run=name)[name]
            assert [point["step"] for point in points] == [1, 2]
