"""What the README shows works as it stands there."""

from __future__ import annotations

import json
import re
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
    words = command.strip().split()
    assert words[:3] == ["python", "-m", "leukemia_lab.train"]
    done = subprocess.run(
        [sys.executable, *words[1:], "experiment=smoke", "hydra.run.dir=run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "record.json").read_text())["status"] == "finished"
