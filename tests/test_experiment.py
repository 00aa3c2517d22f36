"""The steps between settings and training: nothing of val and test reaches what is fitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import composed

from leukemia_lab.cells import Cells, prepare_cells
from leukemia_lab.data.datamodule import CellDataModule
from leukemia_lab.errors import ConfigError
from leukemia_lab.experiment import normalisation, part_rows, resolve_auto
from leukemia_lab.identity import identity_settings, job_settings, run_identity, sweep_identity
from leukemia_lab.initial_weights import weights_hash
from leukemia_lab.schema import FolderData, TrainSettings


def settings(*overrides: str) -> TrainSettings:
    return composed(*overrides)


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
        oversample=False,
        host_policy=None,
    )


def test_normalisation_comes_from_the_training_part_alone(cells: Cells) -> None:
    images = np.random.default_rng(0).integers(0, 255, (len(cells.index.table), 16, 16, 3), dtype=np.uint8)
    rows = part_rows(cells)
    plain = resolve_auto(settings())
    estimated = normalisation(plain, loaders(cells, images))
    elsewhere, inside = images.copy(), images.copy()
    elsewhere[np.concatenate([rows["val"], rows["test"]])] = 255
    inside[rows["train"][0]] = 255
    assert normalisation(plain, loaders(cells, elsewhere)) == estimated
    assert normalisation(plain, loaders(cells, inside)) != estimated
    reference = images[rows["train"]].reshape(-1, 3) / 255
    assert estimated[0] == pytest.approx(reference.mean(axis=0), abs=1e-6)
    assert estimated[1] == pytest.approx(reference.std(axis=0), abs=1e-6)
    assert normalisation(resolve_auto(settings("pipeline.normalise=none")), loaders(cells, images)) == (
        None,
        None,
    )


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
        "balance=oversample",
        "balance=class_weight",
        "balance=focal",
        "augment=strong",
        "optim.ema_decay=0.9",
        "optim.stage_decay=0.5",
        "optim.label_smoothing=0.1",
        "model.freeze=block1",
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


SAME_FOR_CLASSICAL = ["optim.lr=1e-5", "optim=sgd", "augment=strong", "balance=focal", "trainer.max_epochs=3"]


@pytest.mark.parametrize("override", [*SAME_FOR_CLASSICAL, "model.pretrained=false"])
@pytest.mark.parametrize("model", ["knn", "svm", "rf"])
def test_what_a_classical_baseline_does_not_use_leaves_its_identity(model: str, override: str) -> None:
    assert identity_settings(settings(f"model={model}", override)) == identity_settings(
        settings(f"model={model}")
    )


@pytest.mark.parametrize(
    ("model", "override"),
    [
        ("knn", "model.classifier.grid.n_neighbors=[3]"),
        ("knn", "model.features.size=16"),
        ("knn", "pipeline.log.mode=none"),
        ("knn", "seed=1"),
        ("svm", "model.classifier.pca=10"),
        ("svm", "model/features=morphology"),
        ("rf", "model/classifier=svm"),
        ("rf", "model.classifier.estimator.n_estimators=10"),
        ("vgg16_rf", "model.pretrained=false"),
        ("vgg16_rf", "trainer.precision=32-true"),
    ],
)
def test_what_a_classical_baseline_uses_is_in_its_identity(model: str, override: str) -> None:
    assert identity_settings(settings(f"model={model}", override)) != identity_settings(
        settings(f"model={model}")
    )


def test_a_net_without_imagenet_weights_does_not_use_pretrained() -> None:
    for model in ("simple_cnn", "vgg13"):
        same = [settings(f"model={model}", f"model.pretrained={value}") for value in ("true", "false")]
        assert identity_settings(same[0]) == identity_settings(same[1])
    vgg16 = [settings("model=vgg16", f"model.pretrained={value}") for value in ("true", "false")]
    assert identity_settings(vgg16[0]) != identity_settings(vgg16[1])
    thawing = [settings("model.thaw_every=2"), settings("model.freeze=block1", "model.thaw_every=2")]
    assert identity_settings(thawing[0]) == identity_settings(settings())
    assert identity_settings(thawing[1]) != identity_settings(settings("model.freeze=block1"))


def test_a_file_of_weights_counts_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"one")
    (tmp_path / "b.pth").write_bytes(b"one")
    (tmp_path / "c.pth").write_bytes(b"two")

    def identity(name: str) -> str:
        given = settings(f"model.weights_path={tmp_path / name}")
        return run_identity(given, "data", "split", weights_hash(given.model))

    assert identity("a.pth") == identity("b.pth") != identity("c.pth")
    assert identity("a.pth") != run_identity(settings(), "data", "split", None)
    with pytest.raises(ConfigError, match=r"absent.pth cannot be read"):
        identity("absent.pth")


def test_the_models_own_size_filter_and_rate_stand_for_auto() -> None:
    svm = resolve_auto(settings("model=svm"))
    assert (svm.pipeline.image_size, svm.pipeline.log.mode, svm.pipeline.normalise) == (
        128,
        "replace",
        "train",
    )
    vgg = resolve_auto(settings("model=vgg16"))
    assert (vgg.pipeline.image_size, vgg.optim.lr, vgg.pipeline.normalise) == (224, 1e-4, "pretrained")
    filtered = resolve_auto(settings("model=vgg16", "pipeline.log.mode=append"))
    assert filtered.pipeline.normalise == "train"
    assert resolve_auto(settings("model=vgg16", "model.pretrained=false")).pipeline.normalise == "train"
    assert resolve_auto(settings("optim.lr=0.5")).optim.lr == 0.5
    assert resolve_auto(resolve_auto(settings())) == resolve_auto(settings())


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["pipeline.normalise=imagenet", "pipeline.log.mode=append"], "holds for RGB images"),
        (["pipeline.normalise=pretrained"], "weights of simple_cnn bring no constants"),
        (["augment=positional", "trainer.resident=true"], "works on the host"),
        (["optim.ema_decay=0.9", "trainer.precision=bf16-true"], "bfloat16 has too few digits"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(overrides: list[str], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        resolve_auto(settings(*overrides))


def test_runs_of_random_cells_without_folds_are_those_from_before_there_were_folds() -> None:
    of_cells = settings("protocol=random_cells")
    asked = {"name": "random_cells", "val_share": 0.2, "test_share": 0.2, "seed": 0}
    assert identity_settings(of_cells)["protocol"] == job_settings(of_cells)["protocol"] == asked
    assert type(of_cells.protocol).model_validate(asked) == of_cells.protocol
    of_folds = ("protocol=random_cells", "protocol.n_folds=4", "protocol.fold=all")
    assert identity_settings(settings(*of_folds, "protocol.test_share=0.7")) == identity_settings(
        settings(*of_folds)
    )


def test_data_and_split_are_part_of_the_identity() -> None:
    same = settings()
    assert len({run_identity(same, data, split, None) for data in "ab" for split in "cd"}) == 4
    assert sweep_identity([same, settings("seed=1")]) == sweep_identity([settings("seed=1"), same])
    assert sweep_identity([same]) != sweep_identity([settings("data.root=/elsewhere")])


def test_the_path_of_the_metadata_names_no_run_but_a_sweep() -> None:
    given = [settings("data=folder", f"data.metadata={value}") for value in ("auto", "a.csv", "null")]
    assert [node.data.metadata for node in given if isinstance(node.data, FolderData)] == [
        "auto",
        Path("a.csv"),
        None,
    ]
    assert len({run_identity(one, "data", "split", None) for one in given}) == 1
    assert len({sweep_identity([one]) for one in given}) == 3


def test_auto_is_resolved_everywhere() -> None:
    resolved = resolve_auto(settings())
    assert resolved.trainer.precision != "auto"
    assert resolved.trainer.devices == 1
    assert resolved.trainer.accelerator in ("cpu", "cuda")
    assert resolved.pipeline.image_size == 128
