"""A finished cross-validation and an evaluated one, each made once for both halves of its tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_folds import FOLDS
from small_runs import DONE

from leukemia_lab import evaluate, train


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "cv"
    assert train.main([*FOLDS, f"hydra.run.dir={folder}"]) == DONE
    return folder


@pytest.fixture(scope="session")
def evaluated(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("evaluated") / "cv"))
    assert evaluate.main([f"run={folder}"]) == DONE
    return folder


@pytest.fixture
def run(evaluated: Path, tmp_path: Path) -> Path:
    """A copy of the evaluated cross-validation that a test may change."""
    return Path(shutil.copytree(evaluated, tmp_path / "cv"))
