"""What is written for TensorBoard: one row of HParams a run, PR curves, text, the files of the projector."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.decomposition import PCA
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.util import tensor_util

from leukemia_lab.errors import RunError
from leukemia_lab.runs import tensorboard
from leukemia_lab.runs.projector import (
    MAX_DIMENSIONS,
    THUMBNAIL_PX,
    principal_components,
    sprite,
    write_projector,
)


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder / "tensorboard")).Reload()


def session(folder: Path) -> dict[str, object]:
    content = events(folder).SummaryMetadata(hparams.SESSION_START_INFO_TAG).plugin_data.content
    found = hparams.parse_session_start_info_plugin_data(content).hparams
    return {key: getattr(value, str(value.WhichOneof("kind"))) for key, value in found.items()}


def test_the_second_row_of_a_run_replaces_the_first(tmp_path: Path) -> None:
    settings = {"optim.lr": 0.1, "balance.oversample": True, "trainer.patience": None, "name": "a|b"}
    for stamps, metrics in (
        ((), {"val/auroc": 0.8}),
        (("SYNTHETIC", "TEST SEEN 2 TIMES"), {"val/auroc": 0.8, "test/auroc": 0.7}),
    ):
        logger = tensorboard.run_logger(tmp_path)
        tensorboard.log_final(logger, settings, metrics, stamps)
        logger.finalize("success")
        expected = ", ".join(stamps) if stamps else "none"
        assert session(tmp_path) == {
            "optim.lr": 0.1,
            "balance.oversample": "true",
            "trainer.patience": "null",
            "name": "a|b",
            "stamps": expected,
        }
    sizes = sorted(path.stat().st_size for path in tmp_path.rglob("*.hparams"))
    assert len(sizes) == 2
    assert sizes[0] > 100  # a server logs an error where a file that it has read gets shorter
    found = events(tmp_path)
    assert {tag: [e.value for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]} == {
        "hp/val/auroc": [pytest.approx(0.8)],
        "hp/test/auroc": [pytest.approx(0.7)],
    }
    assert hparams.EXPERIMENT_TAG not in found.summary_metadata


def test_pr_curves_are_those_of_the_counts_at_each_threshold(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    prob = rng.random(80)
    table = pd.DataFrame({"label": np.where(rng.random(80) < prob, "ALL", "HEM"), "prob_ALL": prob})
    table["prob_HEM"] = 1 - table["prob_ALL"]
    logger = tensorboard.run_logger(tmp_path)
    tensorboard.log_pr_curves(logger, "pr/val", table, ["ALL", "HEM"], "ALL", 3)
    tensorboard.log_pr_curves(logger, "pr/classes", table, ["ALL", "HEM"], None, 0)
    logger.finalize("success")
    found = events(tmp_path)
    assert {tag for tag in found.Tags()["tensors"] if tag.startswith("pr/")} == {
        "pr/val/ALL",
        "pr/classes/ALL",
        "pr/classes/HEM",
    }
    [event] = found.Tensors("pr/val/ALL")
    assert event.step == 3
    hits, false_alarms, _, misses, precision, recall = tensor_util.make_ndarray(event.tensor_proto)
    is_all = (table["label"] == "ALL").to_numpy()
    for k, threshold in enumerate(np.linspace(0, 1, 127)[1:-1], start=1):
        called = np.floor(prob * 126) >= k  # probabilities are put into 127 bins
        assert hits[k] == (called & is_all).sum(), threshold
        assert false_alarms[k] == (called & ~is_all).sum()
        assert misses[k] == (~called & is_all).sum()
        if called.any():
            assert precision[k] == pytest.approx(is_all[called].mean())
        assert recall[k] == pytest.approx(called[is_all].mean())


def test_settings_are_a_table_that_no_value_can_break(tmp_path: Path) -> None:
    logger = tensorboard.run_logger(tmp_path)
    tensorboard.log_about(logger, {"a.b": "x|y\nz", "_target_": "m_n_o"}, ["LEAKY"])
    logger.finalize("success")
    found = events(tmp_path)
    text = tensor_util.make_ndarray(found.Tensors("run/config/text_summary")[0].tensor_proto).item().decode()
    lines = text.splitlines()
    assert lines[:2] == ["| setting | value |", "| --- | --- |"]
    assert lines[2] == "| `a.b` | x\\|y z |"
    assert len(lines) == 4
    stamps = tensor_util.make_ndarray(found.Tensors("run/stamps/text_summary")[0].tensor_proto).item()
    assert stamps == b"- **LEAKY**"


@pytest.mark.parametrize(("n_cells", "n_features"), [(30, 200), (90, 70), (20, MAX_DIMENSIONS)])
def test_components_keep_the_distances_that_scikit_learns_pca_keeps(n_cells: int, n_features: int) -> None:
    features = np.random.default_rng(n_cells).normal(size=(n_cells, n_features))
    found = principal_components(features)
    if n_features <= MAX_DIMENSIONS:
        np.testing.assert_array_equal(found, features)
        return
    expected = PCA(min(n_cells, MAX_DIMENSIONS), svd_solver="full").fit_transform(features)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-9)


def test_each_cell_stands_in_the_sprite_where_its_row_is(tmp_path: Path) -> None:
    images = np.zeros((5, 64, 64, 3), dtype=np.uint8)
    images += np.arange(5, dtype=np.uint8)[:, None, None, None] * 50
    picture = np.asarray(sprite(images))
    assert picture.shape == (3 * THUMBNAIL_PX, 3 * THUMBNAIL_PX, 3)
    for k in range(5):
        row, column = divmod(k, 3)
        tile = picture[row * THUMBNAIL_PX :, column * THUMBNAIL_PX :][:THUMBNAIL_PX, :THUMBNAIL_PX]
        assert (tile == 50 * k).all()


def test_the_projectors_files_are_written_over_and_hold_no_loose_tab(tmp_path: Path) -> None:
    images = np.zeros((2, 8, 8, 3), dtype=np.uint8)
    about = pd.DataFrame({"cell_id": ["a\tb.bmp", 'c"d.bmp'], "label": ["ALL", "HEM"]})
    for _ in range(2):
        write_projector(tmp_path, 'cells ["é"]', np.eye(2), about, images)
    text = (tmp_path / "projector_config.pbtxt").read_text(encoding="utf-8")
    assert text.count("embeddings") == 1
    assert r'tensor_name: "cells [\"é\"]"' in text
    assert (tmp_path / "projector" / "metadata.tsv").read_text().splitlines() == [
        "cell_id\tlabel",
        "a b.bmp\tALL",
        'c"d.bmp\tHEM',
    ]
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "projector" / "tensors.tsv"), np.eye(2))
    assert Image.open(tmp_path / "projector" / "sprite.png").size == (80, 80)


def test_a_projector_of_unlike_numbers_is_refused(tmp_path: Path) -> None:
    images = np.zeros((2, 8, 8, 3), dtype=np.uint8)
    with pytest.raises(RunError, match=r"as many features \(3\) as rows \(2\) and images \(2\)"):
        write_projector(tmp_path, "x", np.eye(3), pd.DataFrame({"a": [1, 2]}), images)


@pytest.mark.parametrize("failure", [None, RunError("no")])
def test_a_logger_is_closed_whatever_happens(tmp_path: Path, failure: RunError | None) -> None:
    before = threading.active_count()
    with contextlib.suppress(RunError), tensorboard.logging_to(tmp_path) as logger:
        tensorboard.log_stamps(logger, ["LEAKY"], 0)
        assert threading.active_count() == before + 1  # the writer's
        if failure is not None:
            raise failure
    with contextlib.suppress(RunError), tensorboard.logging_to(tmp_path / "nothing logged"):
        if failure is not None:
            raise failure
    assert threading.active_count() == before
    assert events(tmp_path).Tensors("run/stamps/text_summary")
