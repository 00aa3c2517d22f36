"""Models that see what should say nothing, permuted labels and the probe of subjects, through the commands."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from small_runs import DATA, DONE, MORE_DATA, NET, composed, record_of

from leukemia_lab import evaluate, train
from leukemia_lab.auditing.confounds import SINGLE
from leukemia_lab.auditing.subject_probe import subject_probe
from leukemia_lab.cells import Cells, prepare_cells
from leukemia_lab.errors import RunError
from leukemia_lab.estimators.classical import Part, fit_classical, predict_logits
from leukemia_lab.evaluation.predictions import read_predictions
from leukemia_lab.experiment import label_indices, permuted, resolve_auto, training_data
from leukemia_lab.extraction import feature_extractor
from leukemia_lab.identity import identity_settings
from leukemia_lab.indexing import read_data
from leukemia_lab.probing import probe_run
from leukemia_lab.runs import record
from leukemia_lab.runs.record import RunFolder
from leukemia_lab.schema import MeasureFeatures, TrainSettings

CONTROLS = ("size_only", "colour_only", "border_only", "file_size_only")
FOLDS = ("protocol=subject_kfold", "protocol.n_folds=2", "protocol.fold=all")


PERMUTED_FOLDS = (*MORE_DATA, "model=size_only", *FOLDS, "permute_labels=3")


@pytest.fixture(scope="module")
def cells() -> Cells:
    return prepare_cells(composed(*DATA))


def test_every_measure_of_the_audit_can_be_a_models_only_feature() -> None:
    assert set(get_args(MeasureFeatures.model_fields["columns"].annotation)) == set(SINGLE)


@pytest.mark.parametrize("model", CONTROLS)
def test_a_control_sees_what_the_audit_measures_or_the_border(model: str, cells: Cells) -> None:
    settings = resolve_auto(composed(*DATA, f"model={model}"))
    data = training_data(settings, cells)
    extractor = feature_extractor(settings, cells, data)
    found = extractor.extract("val")
    names = extractor.names(found.shape[1])
    if model == "border_only":
        assert found.shape == (len(data.rows["val"]), 24)
        assert len(names) == 24
        return
    split = cells.split.table
    rows = cells.index.table.set_index("cell_id").loc[split["cell_id"][split["part"] == "val"]]
    assert found == pytest.approx(rows[SINGLE[model.removesuffix("_only")]].to_numpy(dtype=np.float32))


def fitted_on_a_constant(value: float) -> Any:
    classifier = composed("model=file_size_only").model.classifier
    labels = np.arange(40) % 2
    part = Part(np.full((40, 3), value, dtype=np.float32), labels, None)
    about: dict[str, Any] = {"scale": classifier.scale, "pca": None, "grid": {}, "cv_folds": 5, "seed": 0}
    fitted = fit_classical(
        part, part, classifier=classifier.estimator, n_classes=2, accelerate=False, **about
    )
    return predict_logits(fitted, part.features), fitted.notes


@pytest.mark.parametrize("value", [0.0, 608_454.0])
def test_a_constant_feature_is_at_chance_without_a_word(value: float) -> None:
    with warnings.catch_warnings(action="error"):
        logits, notes = fitted_on_a_constant(value)
    assert logits == pytest.approx(np.log(0.5), abs=1e-9)
    assert len(np.unique(logits)) == 1
    assert notes == ()


def test_what_the_features_are_is_in_the_identity_and_nothing_else() -> None:
    def identity(*overrides: str) -> dict[str, Any]:
        return identity_settings(composed(*overrides))

    found = [identity(f"model={model}") for model in CONTROLS]
    assert all(a != b for i, a in enumerate(found) for b in found[:i])
    assert identity("model=size_only", "pipeline.image_size=32") == found[0]
    assert identity("model=border_only", "pipeline.image_size=32") != found[2]
    assert identity("model=border_only", "model.features.width=0.1") != found[2]
    assert "permute_labels" not in found[0]
    assert identity("permute_labels=0") != identity()


def test_runs_from_before_there_was_the_key_can_still_be_read() -> None:
    plain = composed().model_dump(mode="json")
    del plain["permute_labels"]
    assert TrainSettings.model_validate(plain, strict=False).permute_labels is None


def test_training_sees_the_permuted_labels(cells: Cells) -> None:
    settings = composed(*DATA, "permute_labels=3")
    drawn = permuted(settings, cells)
    of_index = drawn.index.table.assign(code=label_indices(drawn)).set_index("cell_id")
    table = drawn.split.table.set_index("cell_id")
    codes = of_index.loc[table.index, "code"]
    assert (codes.to_numpy() == (table["label"] == "HEM")).all()
    assert (table["label"] != of_index.loc[table.index, "label"]).any()
    assert (of_index.loc[~of_index.index.isin(table.index), "code"] == -1).all()
    assert permuted(composed(*DATA), cells) is cells
    assert drawn.index.fingerprint == cells.index.fingerprint


@pytest.fixture(scope="module")
def permuted_folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "permuted"
    assert train.main([*PERMUTED_FOLDS, f"hydra.run.dir={folder}"]) == DONE
    return folder


def test_a_closed_test_part_is_not_probed(permuted_folds: Path) -> None:
    if record_of(permuted_folds / "fold_0")["test_looks"] == 0:
        with pytest.raises(RunError, match="test part is closed"):
            probe_run(permuted_folds)


def test_the_class_shares_of_each_fold_are_said_as_drawn_and_as_permuted(
    permuted_folds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main([*PERMUTED_FOLDS, f"hydra.run.dir={permuted_folds}"]) == DONE
    said = capsys.readouterr().err.partition("fold 0 of 2")[2].partition("fold 1 of 2")
    for k, words in enumerate((said[0], said[2])):
        table = pd.read_parquet(permuted_folds / f"fold_{k}" / record.SPLIT)
        positive = table.loc[table["part"] == "test", "label"] == "ALL"
        (line,) = (line for line in words.splitlines() if line.startswith("after permuting, test: "))
        assert line.startswith(f"after permuting, test: {len(positive)} cells")
        assert f"ALL {positive.mean():.1%}" in line
        assert words.index("\ntest: ") < words.index("permute_labels=3: ") < words.index(line)


def test_permuted_labels_go_through_all_folds_and_their_evaluation(permuted_folds: Path) -> None:
    assert evaluate.main([f"run={permuted_folds}"]) == DONE
    found = read_predictions(permuted_folds / record.PREDICTIONS)
    truth = read_data(composed(*MORE_DATA).data).table.set_index("cell_id")["label"]
    changed = found["label"].to_numpy() != truth.loc[found["cell_id"]].to_numpy()
    assert 0 < changed.sum() < len(found)
    assert (found.groupby("group")["label"].nunique() == 1).all()
    for folder in (permuted_folds, permuted_folds / "fold_0"):
        assert RunFolder.existing(folder).metrics()["stamps"] == ["SYNTHETIC", "PERMUTED LABELS"]
    probes = probe_run(permuted_folds)
    assert probes["features"] == probes["size"]
    assert probes["size"].n_subjects > 5
    assert probes["colour"].balanced_accuracy > probes["colour"].chance
    assert record_of(permuted_folds / "fold_0")["test_looks"] == 1


@pytest.mark.slow  # trains a net on more subjects than the run that tests share has
def test_the_features_of_a_net_are_probed_beside_size_and_colour(tmp_path: Path) -> None:
    assert train.main([*MORE_DATA, *NET, f"hydra.run.dir={tmp_path / 'net'}"]) == DONE
    probes = probe_run(tmp_path / "net", "train")
    assert list(probes) == ["features", "size", "colour"]
    assert len({(probe.n_subjects, probe.n_cells, probe.chance) for probe in probes.values()}) == 1
    assert len({probe.balanced_accuracy for probe in probes.values()}) == 3


@pytest.mark.slow  # draws 480 cells
def test_size_and_colour_tell_subjects_apart_only_where_these_differ() -> None:
    found = {}
    for effect in (0.0, 1.0):
        data = composed(
            "data.n_cells=240", "data.n_subjects=10", "data.n_twins=0", f"data.subject_effect={effect}"
        )
        table: pd.DataFrame = read_data(data.data).table
        values = table[SINGLE["size"] + SINGLE["colour"]].to_numpy(dtype=np.float64)
        found[effect] = subject_probe(
            values, table["group"].to_numpy(dtype=object), table["label"].to_numpy(dtype=object)
        )
    assert found[0.0].low < found[0.0].chance < found[0.0].high
    assert found[1.0].low > found[1.0].chance
    assert found[1.0].balanced_accuracy > 2 * found[0.0].balanced_accuracy
