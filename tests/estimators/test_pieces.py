"""Batches cut into pieces: the same draws, the same loss, the same steps as uncut ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plain_net import NET
from small_models import OPTIM, a_model, fitted, some_data

from leukemia_lab.data.batches import EpochBatches
from leukemia_lab.data.datamodule import CellDataModule
from leukemia_lab.errors import ConfigError
from leukemia_lab.estimators.history import TrainingHistory, read_history
from leukemia_lab.estimators.losses import classification_loss

SGD = OPTIM | {"lr": 0.05, "optimizer": {"_target_": "torch.optim.SGD", "momentum": 0.9}}
LOSSES: dict[str, dict[str, Any]] = {
    "plain": {},
    "class weights": {"class_weights": [0.3, 2.5]},
    "focal": {"focal_gamma": 2.0, "class_weights": [0.3, 2.5]},
    "smoothing": {"optim": SGD | {"label_smoothing": 0.2}, "class_weights": [0.3, 2.5]},
    "average": {"optim": SGD | {"ema_decay": 0.9}},
}


@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_pieces_join_to_the_batches(pieces: int) -> None:
    rows = torch.arange(100, 123)
    whole = EpochBatches(rows, 8, seed=3)
    shares = [range(2), range(2, pieces)]
    cut = [EpochBatches(rows, 8, 3, pieces, mine) for mine in shares]
    for batches in (whole, *cut):
        batches.set_epoch(4)
    assert [len(batches) for batches in cut] == [3 * len(mine) for mine in shares]
    first, second = (list(batches) for batches in cut)
    for k, (draws, epoch) in enumerate(whole):
        mine = first[2 * k : 2 * k + 2] + second[(pieces - 2) * k : (pieces - 2) * (k + 1)]
        assert torch.equal(torch.cat([piece for piece, _, _ in mine]), draws)
        assert all(torch.equal(batch, draws) and of == epoch for _, of, batch in mine)
        sizes = [len(piece) for piece, _, _ in mine]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("weights", [None, [0.2, 1.0, 3.0]])
@pytest.mark.parametrize("gamma", [None, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_losses_of_pieces_sum_to_that_of_the_batch(
    weights: list[float] | None, gamma: float | None, smoothing: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(11, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0])  # the pieces' classes differ
    keywords: dict[str, Any] = {
        "class_weights": None if weights is None else torch.tensor(weights, dtype=torch.float64),
        "focal_gamma": gamma,
        "label_smoothing": smoothing,
    }
    pieces = zip(logits.tensor_split(3), labels.tensor_split(3), strict=True)
    parts = [classification_loss(*piece, whole=labels, **keywords) for piece in pieces]
    expected = classification_loss(logits, labels, **keywords)
    torch.testing.assert_close(sum(parts), expected, rtol=1e-13, atol=0)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (sum(parts), expected)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-15)


def in_pieces(accumulated: int, **changes: Any) -> CellDataModule:
    data = some_data(46, 8, **changes)  # 23 training cells: batches of 8, 8 and 7
    data.accumulated = accumulated
    return data


@pytest.mark.parametrize("accumulated", [2, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_training_in_pieces_ends_with_the_same_weights(loss: str, accumulated: int, tmp_path: Path) -> None:
    keywords: dict[str, Any] = {"net": NET, "optim": SGD} | LOSSES[loss]
    ends, histories = [], []
    for pieces in (1, accumulated):
        folder = tmp_path / str(pieces)
        data = in_pieces(pieces, oversample=loss == "plain")
        history = TrainingHistory(folder / "history.csv")
        ends.append(fitted(folder, a_model(**keywords), data, callbacks=[history]))
        table = read_history(folder / "history.csv")
        histories.append(table[[name for name in table if not name.startswith(("speed/", "memory/"))]])
        last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        assert last["global_step"] == 9
    start = a_model(**keywords).state_dict()
    for name, end in ends[0].items():
        torch.testing.assert_close(ends[1][name], end, rtol=1e-4, atol=2e-6, msg=name)
    assert any((ends[0][name] - start[name]).abs().max() > 1e-2 for name in start)
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-4, atol=1e-5)


def test_a_batch_too_small_for_its_pieces_is_refused_by_name() -> None:
    data = in_pieces(7)
    assert len(data.train_dataloader()) == 21
    data.accumulated = 8
    with pytest.raises(ConfigError, match=re.escape("smallest training batch has 7 cells, too few for 8")):
        data.train_dataloader()


def test_devices_share_the_pieces_among_them() -> None:
    data = in_pieces(2)
    data.n_ranks = 3
    dealt = []
    for rank in range(3):
        data.rank = rank
        dealt.append([(batch["cell"], batch["whole"]) for batch in data.train_dataloader()])
    uncut = [batch["cell"] for batch in in_pieces(1).train_dataloader()]
    for k, cells in enumerate(uncut):
        pieces = [piece for rank in dealt for piece in rank[2 * k : 2 * k + 2]]
        assert torch.equal(torch.cat([piece for piece, _ in pieces]), cells)
        assert all(torch.equal(whole, data.cells.labels[cells]) for _, whole in pieces)
