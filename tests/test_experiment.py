"""The steps between settings and training: nothing of val and test reaches what is fitted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from leukemia_lab.config import Composer, checked
from leukemia_lab.data.datamodule import CellDataModule
from leukemia_lab.experiment import Cells, normalisation, part_rows, prepare_cells, resolve_auto
from leukemia_lab.identity import identity_settings, run_identity, sweep_identity
from leukemia_lab.schema import TrainSettings


def settings(*overrides: str) -> TrainSettings:
    return checked(TrainSettings, Composer("train", TrainSettings, None).compose(overrides))


@pytest.fixture(scope="module")
def cells() -> Cells:
    return prepare_cells(settings("data.n_cells=64", "data.n_subjects=10", "data.n_twins=1"))


def loaders(cells: Cells, images: np.ndarray) -> CellDataModule:
    return CellDataModule(
        images,
        np.zeros(len(images), dtype=np.int64),
        part_rows(cells),
        batch_size=16,
        seed=0,
        num_workers=0,
        device=torch.device("cpu"),
        resident=False,
    )


def test_normalisation_comes_from_the_training_part_alone(cells: Cells) -> None:
    images = np.random.default_rng(0).integers(0, 255, (len(cells.index.table), 16, 16, 3), dtype=np.uint8)
    rows = part_rows(cells)
    estimated = normalisation(settings(), loaders(cells, images))
    elsewhere, inside = images.copy(), images.copy()
    elsewhere[np.concatenate([rows["val"], rows["test"]])] = 255
    inside[rows["train"][0]] = 255
    assert normalisation(settings(), loaders(cells, elsewhere)) == estimated
    assert normalisation(settings(), loaders(cells, inside)) != estimated
    reference = images[rows["train"]].reshape(-1, 3) / 255
    assert estimated[0] == pytest.approx(reference.mean(axis=0), abs=1e-6)
    assert estimated[1] == pytest.approx(reference.std(axis=0), abs=1e-6)
    assert normalisation(settings("pipeline.normalise=none"), loaders(cells, images)) == (None, None)


def test_the_parts_share_no_row_and_no_group(cells: Cells) -> None:
    rows = part_rows(cells)
    assert sum(len(part) for part in rows.values()) == len(cells.split.table)
    groups = [set(cells.index.table["group"].iloc[part]) for part in rows.values()]
    assert len(set.union(*groups)) == sum(len(part) for part in groups)


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "optim.lr=1e-4",
        "optim.weight_decay=0.5",
        "model.net.width=8",
        "augment=none",
        "trainer.batch_size=8",
        "trainer.max_epochs=3",
        "trainer.precision=32-true",
        "pipeline.image_size=64",
        "pipeline.log.mode=append",
        "pipeline.normalise=none",
        "protocol.seed=1",
        "data.seed=1",
    ],
)
def test_what_can_change_a_result_is_part_of_the_identity(override: str) -> None:
    assert identity_settings(settings(override)) != identity_settings(settings())


def test_the_log_counts_only_as_far_as_it_is_in_effect() -> None:
    assert identity_settings(settings("pipeline.log.sigma_px=2")) == identity_settings(settings())
    append = ("pipeline.log.mode=append", "pipeline.log.stencil=sampled")
    unused = ("pipeline.log.strength=2", "pipeline.log.laplacian_size=5")
    assert identity_settings(settings(*append, *unused)) == identity_settings(settings(*append))
    assert identity_settings(settings(*append, "pipeline.log.sigma_px=2")) != identity_settings(
        settings(*append)
    )


def test_data_and_split_are_part_of_the_identity() -> None:
    same = settings()
    assert len({run_identity(same, data, split) for data in "ab" for split in "cd"}) == 4
    assert sweep_identity([same, settings("seed=1")]) == sweep_identity([settings("seed=1"), same])
    assert sweep_identity([same]) != sweep_identity([settings("data.root=/elsewhere")])


def test_auto_is_resolved_everywhere() -> None:
    resolved = resolve_auto(settings())
    assert resolved.trainer.precision != "auto"
    assert resolved.trainer.devices == 1
    assert resolved.trainer.accelerator in ("cpu", "cuda")
    assert resolved.pipeline.image_size == 128
