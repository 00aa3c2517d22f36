"""Fixtures that every test may use."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # nets this small lose time to threads, most of all on a busy machine
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SHARED_DATA = "LEUKEMIA_LAB_SHARED_DATA"


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tests share one empty cache folder; the user's is not touched."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["LEUKEMIA_LAB_CACHE"] = str(folder)
    os.environ.pop("CNMC_ROOT", None)
    return folder


@pytest.fixture(autouse=True)
def nothing_shared() -> None:
    """No test finds the cells of the test before: a run that does says less."""
    module = sys.modules.get("leukemia_lab.shared_cells")
    if module is not None:
        module._KNOWN.clear()
        module._CELLS.clear()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real cells, which are not part of the project; the test is skipped where they are absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get(SHARED_DATA, default))
    if not (folder / "cnmc_sample").is_dir():
        pytest.skip(f"no real cells at {folder}; set {SHARED_DATA} to a folder that holds cnmc_sample")
    return folder


# A run that takes seconds: 64 drawn cells of 10 subjects, 32 px, a few hundred weights.
TINY = (
    "data.n_cells=64",
    "data.n_subjects=10",
    "data.n_twins=1",
    "pipeline.image_size=32",
    "model.net.width=4",
    "trainer.max_epochs=2",
    "trainer.batch_size=16",
)


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Overrides of `train` that make a run of seconds."""
    return list(TINY)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, cache_of_its_own: Path) -> Path:
    """The folder of a finished tiny run, made once; copy it before changing it."""
    from leukemia_lab import train

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert train.main([*TINY, f"hydra.run.dir={folder}"]) == 0
    return folder


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    return Path(shutil.copytree(finished_run, tmp_path / finished_run.name))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands work from any folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The folder that an audit is written to."""
    return tmp_path / "audit"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium of the system, driven by playwright; the test is skipped where one of the two is missing."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next((found for name in BROWSERS if (found := shutil.which(name)) is not None), None)
    if chromium is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the path")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()
