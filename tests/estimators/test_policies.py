"""Freezing, learning rates by depth, moving averages, class balance, averaging at test time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import OPTIM, a_fit, a_model, equal, fitted, some_data

from leukemia_lab.errors import ConfigError
from leukemia_lab.estimators.fit import load_model, predict
from leukemia_lab.estimators.neural import CellClassifier
from leukemia_lab.estimators.stages import parameter_groups
from leukemia_lab.nets.stages import stages

EMA = OPTIM | {"ema_decay": 0.9}


def start(model: CellClassifier) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if name.startswith("net.") and not torch.equal(before[name], after[name])}


def test_a_frozen_backbone_keeps_weights_and_statistics(tmp_path: Path) -> None:
    model = a_model(freeze="backbone")
    before = start(model)
    after = fitted(tmp_path, model, some_data())
    assert changed(before, after) == {"net.head.weight", "net.head.bias"}
    n_learning = sum(weight.requires_grad for weight in model.net.parameters())
    assert n_learning == 2


def test_all_weights_but_frozen_ones_learn(tmp_path: Path) -> None:
    model = a_model(freeze="block1")
    before = start(model)
    after = fitted(tmp_path, model, some_data())
    of_block1 = {
        name
        for name, weight in model.net.state_dict(prefix="net.", keep_vars=True).items()
        if any(
            weight is own
            for module in stages(model.net)["block1"]
            for own in [*module.parameters(), *module.buffers()]
        )
    }
    assert len(of_block1) >= 4
    assert changed(before, after) == {name for name in before if name.startswith("net.")} - of_block1


def test_stages_are_freed_from_the_head_down_as_epochs_pass(tmp_path: Path) -> None:
    model = a_model(freeze="backbone", thaw_every=1)
    frozen_in: list[list[str]] = []
    step = model.training_step

    def noted(batch: object, batch_idx: int) -> torch.Tensor:
        if batch_idx == 0:
            frozen_in.append(list(model.frozen))
        return step(batch, batch_idx)  # type: ignore[arg-type]

    model.training_step = noted  # type: ignore[method-assign, assignment]
    before = start(model)
    after = fitted(tmp_path, model, some_data(), max_epochs=4)
    assert frozen_in == [["block1", "block2", "block3"], ["block1", "block2"], ["block1"], []]
    assert len(changed(before, after)) == len([name for name in before if name.startswith("net.")])


def test_an_unknown_stage_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"block4.*block1, block2, block3"):
        a_model(freeze="block4")


def test_learning_rates_fall_by_depth() -> None:
    net = a_model().net
    groups = parameter_groups(net, 1.0, 0.5)
    assert [group["lr"] for group in groups] == [1.0, 0.5, 0.25, 0.125]
    assert {id(weight) for group in groups for weight in group["params"]} == {id(w) for w in net.parameters()}
    head = stages(net)["head"][0]
    assert {id(weight) for weight in groups[0]["params"]} == {id(weight) for weight in head.parameters()}
    assert len(parameter_groups(net, 1.0, 1.0)) == 1


@pytest.mark.parametrize(
    "changes",
    [{"optim": EMA}, {"freeze": "backbone", "thaw_every": 1}, {"optim": OPTIM | {"stage_decay": 0.5}}],
)
def test_a_resumed_run_ends_where_an_undisturbed_one_does(tmp_path: Path, changes: dict[str, object]) -> None:
    undisturbed = fitted(tmp_path / "whole", a_model(**changes), some_data(), max_epochs=4)
    # two epochs of a schedule of four: the fit is cut off by an exception
    model = a_model(**changes)
    cut_off_after(model, n_epochs=2)
    with pytest.raises(RuntimeError, match="cut off"):
        fitted(tmp_path / "cut", model, some_data(), max_epochs=4)
    resumed = fitted(tmp_path / "cut", a_model(seed=0, **changes), some_data(), max_epochs=4)
    assert equal(undisturbed, resumed)


def cut_off_after(model: CellClassifier, n_epochs: int) -> None:
    step = model.training_step

    def raising(batch: object, batch_idx: int) -> torch.Tensor:
        if model.current_epoch == n_epochs:
            raise RuntimeError("cut off")
        return step(batch, batch_idx)  # type: ignore[arg-type]

    model.training_step = raising  # type: ignore[method-assign, assignment]


def test_the_moving_average_is_what_predicts(tmp_path: Path) -> None:
    result = a_fit(tmp_path, max_epochs=2, optim=EMA)
    model = load_model(result.best_checkpoint)
    assert model.average is not None
    assert not equal(model.average.state_dict(), model.net.state_dict())
    data = some_data()
    logits = predict(model, data, "val", output="logits", precision="32-true", deterministic=True)
    inputs = model.pipeline(
        torch.from_numpy(np.array(data.cells.images[20:40])).permute(0, 3, 1, 2),
        data.rows["val"],
        0,
        0,
        augment=False,
    )
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(logits), model.average.eval()(inputs))


def test_weights_to_start_from_go_into_net_and_average() -> None:
    model, other = a_model(optim=EMA), a_model(seed=1)
    assert model.start_from(other.net.state_dict()) == []
    assert model.average is not None
    assert equal(model.net.state_dict(), other.net.state_dict())
    assert equal(model.average.state_dict(), other.net.state_dict())


@pytest.mark.parametrize(
    "changes",
    [{"class_weights": [0.2, 5.0]}, {"focal_gamma": 2.0}, {"optim": OPTIM | {"label_smoothing": 0.2}}],
)
def test_the_loss_weighs_cells_as_asked(changes: dict[str, object]) -> None:
    data = some_data()
    batch = data.cells[data.rows["train"], 0]
    plain, weighed = a_model(), a_model(**changes)
    for model in (plain, weighed):
        batch["inputs"] = model.pipeline(batch["image"], batch["draw"], 0, 0, augment=False)
        model.train(False)
    assert plain.training_step(batch, 0) != weighed.training_step(batch, 0)


def test_predictions_averaged_over_the_symmetries_do_not_depend_on_the_position(tmp_path: Path) -> None:
    model = a_model()
    upright, turned = some_data(), some_data()
    turned.cells.images = np.rot90(np.array(turned.cells.images), axes=(1, 2)).copy()
    keywords = {"precision": "32-true", "deterministic": True}
    averaged = [predict(model, data, "val", output="dihedral", **keywords) for data in (upright, turned)]  # type: ignore[arg-type]
    single = [predict(model, data, "val", output="logits", **keywords) for data in (upright, turned)]  # type: ignore[arg-type]
    np.testing.assert_allclose(averaged[0], averaged[1], atol=1e-5)
    assert np.abs(single[0] - single[1]).max() > 1e-3
    np.testing.assert_allclose(np.exp(averaged[0]).sum(axis=1), 1, rtol=1e-5)


def test_features_are_the_activations_before_the_head() -> None:
    model, data = a_model(), some_data()
    keywords = {"precision": "32-true", "deterministic": True}
    features = predict(model, data, "val", output="features", **keywords)  # type: ignore[arg-type]
    logits = predict(model, data, "val", output="logits", **keywords)  # type: ignore[arg-type]
    assert features.shape == (20, 16)
    with torch.no_grad():
        np.testing.assert_allclose(model.net.head(torch.from_numpy(features)), logits, atol=1e-5)
