"""What the README shows works as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def blocks(after: str) -> list[str]:
    """The fenced blocks that follow the heading `after`, up to the next heading."""
    section = README.read_text(encoding="utf-8").split(f"{after}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"```(?:python)?\n(.*?)```", section, flags=re.DOTALL)


def test_a_net_of_your_own_trains_as_the_readme_says(tmp_path: Path) -> None:
    code, command = blocks("### A net of your own")
    lines = code.strip().splitlines()
    assert lines[0] == "# my_nets.py"
    assert len(lines) <= 10
    (tmp_path / "my_nets.py").write_text(code, encoding="utf-8")
    assert command.startswith("python -m leukemia_lab.train ")
    run(command, tmp_path)


def test_a_classifier_of_your_own_trains_as_the_readme_says(tmp_path: Path) -> None:
    text = README.read_text(encoding="utf-8")
    code = re.findall(r"```yaml\n(estimator:.*?)```", text, flags=re.DOTALL)[0]
    command = next(line for line in text.splitlines() if "--config-dir my_conf" in line)
    (tmp_path / "my_conf" / "model" / "classifier").mkdir(parents=True)
    (tmp_path / "my_conf" / "model" / "classifier" / "trees.yaml").write_text(code, encoding="utf-8")
    run(command, tmp_path)


def test_transforms_of_your_own_train_as_the_readme_says(tmp_path: Path) -> None:
    given = re.findall(r'`"(augment\.on_host\.transforms=.*?)"`', README.read_text(encoding="utf-8"))
    assert len(given) == 1
    run(f'python -m leukemia_lab.train augment=positional "{given[0]}"', tmp_path)


def run(command: str, folder: Path) -> None:
    """Run `command` as a shell would, with the least data, in `folder`; its run ends well."""
    _, *words = shlex.split(command)
    done = subprocess.run(
        [sys.executable, *words, "experiment=smoke", "pipeline.image_size=32", "hydra.run.dir=run"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "run" / "record.json").read_text())["status"] == "finished"
