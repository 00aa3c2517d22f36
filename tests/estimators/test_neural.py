"""The LightningModule, its data and its metrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import NET, a_model, fitted, some_data

from leukemia_lab.config import standard_evaluation
from leukemia_lab.data.datamodule import fits_on_device
from leukemia_lab.errors import RunError
from leukemia_lab.estimators.checkpoints import BEST
from leukemia_lab.estimators.epoch_metrics import EpochMetrics
from leukemia_lab.estimators.fit import load_model, predict
from leukemia_lab.estimators.neural import learning_rate_factor
from leukemia_lab.evaluation.document import part_metrics
from leukemia_lab.evaluation.predictions import predictions_table


def test_epoch_metrics_equal_the_final_ones(tmp_path: Path) -> None:
    data = some_data(60, 16)
    model = a_model()
    fitted(tmp_path, model, data, max_epochs=1)
    best = load_model(tmp_path / "checkpoints" / BEST)
    logits = predict(best, data, "val", output="logits", precision="32-true", deterministic=True)
    import pandas as pd

    labels = [("ALL", "HEM")[label] for label in data.cells.labels[data.rows["val"]]]
    cells = pd.DataFrame({"cell_id": [str(row) for row in range(len(labels))], "label": labels})
    cells = cells.assign(subject=None, group=cells["cell_id"], part="val", fold=pd.NA)
    final = part_metrics(
        predictions_table(cells, logits, ("ALL", "HEM"), "r"), ("ALL", "HEM"), "ALL", standard_evaluation()
    )
    running = EpochMetrics(2, positive=0)
    running.update(torch.from_numpy(logits).softmax(1), data.cells.labels[data.rows["val"]], data.rows["val"])
    for name, value in running.compute().items():
        if final[name]["value"] is not None:
            assert float(value) == pytest.approx(final[name]["value"], abs=1e-6), name


def test_the_checkpoint_holds_names_and_numbers_alone(tmp_path: Path) -> None:
    fitted(tmp_path, a_model(), some_data(), max_epochs=1)
    content = torch.load(tmp_path / "checkpoints" / BEST, weights_only=True)
    assert content["hyper_parameters"]["net"] == NET
    assert not any("of_all" in name for name in content["state_dict"])


def test_a_missing_or_foreign_checkpoint_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is missing"):
        load_model(tmp_path / "absent.ckpt")
    (tmp_path / "foreign.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(RunError, match="cannot be loaded"):
        load_model(tmp_path / "foreign.ckpt")


def test_workers_give_the_same_batches() -> None:
    alone, helped = some_data(), some_data(num_workers=2)
    for left, right in zip(alone.train_dataloader(), helped.train_dataloader(), strict=True):
        assert all(torch.equal(left[key], right[key]) for key in ("image", "cell", "label"))


def test_resident_cells_give_the_same_batches() -> None:
    mapped, resident = some_data(), some_data(resident=True)
    for left, right in zip(mapped.train_dataloader(), resident.train_dataloader(), strict=True):
        assert torch.equal(left["image"], right["image"])
    assert not fits_on_device(np.zeros((1, 1, 1, 3), dtype=np.uint8), torch.device("cpu"))


def test_a_limited_loader_spreads_over_the_part() -> None:
    batches = list(some_data().loader("train", limit=5))
    assert torch.cat([batch["cell"] for batch in batches]).tolist() == [0, 4, 9, 14, 19]


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    factors = [learning_rate_factor(step, 10, 2, cosine=True) for step in range(11)]
    assert factors[0] == pytest.approx(1 / 3)
    assert factors[2] == 1.0
    assert factors[6] == pytest.approx(0.5)
    assert factors[10] == pytest.approx(0.0)
    assert [learning_rate_factor(step, 10, 0, cosine=False) for step in range(3)] == [1.0, 1.0, 1.0]
