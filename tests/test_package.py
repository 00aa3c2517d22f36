"""The wheel carries conf/ and works from any folder; the constraints and the Makefile keep their promises."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    return file


def test_the_wheel_carries_every_yaml_module_and_template(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    yamls = {
        f"leukemia_lab/conf/{file.relative_to(ROOT / 'conf')}" for file in (ROOT / "conf").rglob("*.yaml")
    }
    modules = {str(file.relative_to(ROOT)) for file in (ROOT / "leukemia_lab").rglob("*.py")}
    templates = {str(file.relative_to(ROOT)) for file in (ROOT / "leukemia_lab").rglob("*.j2")}
    styles = {str(file.relative_to(ROOT)) for file in (ROOT / "leukemia_lab").rglob("*.css")}
    assert len(yamls) > 15
    assert templates
    assert styles
    assert yamls | modules | templates | styles <= names
    assert not any(name.startswith(("tests", "conf")) for name in names)


def test_an_installed_wheel_finds_its_conf_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    code = (
        "import leukemia_lab.config as c, sys; print(c.conf_dir()); "
        "from leukemia_lab.cli import main; sys.exit(main(['train', '--cfg', 'job', '-p', 'optim']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0] == str(tmp_path / "site" / "leukemia_lab" / "conf")
    assert "AdamW" in done.stdout


def test_constraints_are_exact_and_name_no_registry() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin) for pin in pins)
    assert {"torch==2.14.1", "torchvision==0.29.2"} <= set(pins)
