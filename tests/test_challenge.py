"""The challenge's recipe: three seeds of one net, each evaluated with test-time averaging, and their ensemble."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_folders import EVALUATION
from small_runs import DONE, composed, record_of

from leukemia_lab import evaluate, train
from leukemia_lab.results.ensembles import ensemble_result


def test_a_single_run_of_it_can_be_moved_to_another_protocol_and_size() -> None:
    run = composed("experiment=challenge", "seed=4")
    assert (run.model.name, run.protocol.name, run.seed) == ("efficientnet_lite0", "challenge", 4)
    assert run.model.pretrained
    moved = composed(
        "experiment=challenge", "protocol=subject_kfold", "model=timm", "pipeline.image_size=320"
    )
    assert (moved.model.name, moved.protocol.name) == ("resnet18", "subject_kfold")
    assert moved.pipeline.image_size == 320


@pytest.mark.slow
def test_the_recipe_from_training_to_the_ensemble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    monkeypatch.chdir(tmp_path)
    smallest = ["experiment=[challenge,smoke]", "pipeline.image_size=32", "model.pretrained=false"]
    assert train.main([*smallest, "hydra.sweep.dir=members"]) == DONE
    members = sorted((tmp_path / "members").glob("efficientnet_lite0-*"))
    assert len(members) == 3
    for member in members:
        assert evaluate.main([f"run={member}", "test_time=dihedral"]) == DONE
        assert record_of(member)["protocol"]["name"] == "challenge"
    found = ensemble_result(members, "test", EVALUATION)
    assert {"SYNTHETIC", "DIHEDRAL AVERAGING"} <= set(found.stamps)
    assert 0 <= found.metrics["weighted_f1"]["value"] <= 1
