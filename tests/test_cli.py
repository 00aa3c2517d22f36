"""The console script: commands, completion in a real shell, light imports."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from leukemia_lab import __version__, cli

SCRIPT = Path(sys.executable).parent / "leukemia-lab"


def test_usage_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(command in printed for command in cli.COMMANDS)
    assert cli.main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trian", "model=vgg13"]) == 2
    assert "Did you mean train?" in capsys.readouterr().err
    assert cli.main(["completion", "tcsh"]) == 2


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("leukemia-lab ", [*cli.COMMANDS, "completion"]),
        ("leukemia-lab completion ", ["bash", "zsh", "fish"]),
        ("leukemia-lab ev", ["evaluate"]),
        ("leukemia-lab nothing model=", []),
        (
            "leukemia-lab train model=vgg1",
            [
                "model=vgg13",
                "model=vgg16",
                *(f"model=vgg16_{rest}" for rest in ("frozen", "knn", "rf", "svm")),
                "model=vgg19",
            ],
        ),
        ("leukemia-lab train -m model=vgg13 model.net.h", ["model.net.hidden="]),
        ("leukemia-lab evaluate acc", ["accelerator="]),
        ("leukemia-lab study study=vgg1", ["study=vgg13_paper", "study=vgg16_paper"]),
        ("leukemia-lab study study=challenge data=cn", ["data=cnmc"]),
        ("leukemia-lab reproduce study.budget=f", ["study.budget=full"]),
    ],
)
def test_completions(line: str, expected: list[str]) -> None:
    assert cli.completions(line) == expected


def test_completion_after_a_finished_word_offers_groups_and_keys() -> None:
    offered = cli.completions("leukemia-lab train model=vgg13 ")
    assert {"optim=", "seed=", "trainer."} <= set(offered)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
@pytest.mark.skipif(not SCRIPT.exists(), reason="the package is not installed, so there is no console script")
def test_bash_completes_with_the_printed_script() -> None:
    typed = "leukemia-lab train model=simp"
    session = (
        f'eval "$(leukemia-lab completion bash)"; COMP_LINE="{typed}" COMP_POINT={len(typed)} _leukemia_lab; '
        'echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", session],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": f"{SCRIPT.parent}:/usr/bin:/bin"},
    )
    assert done.stdout.split() == ["model=simple_cnn"]


def modules_after(code: str) -> set[str]:
    """The names of the modules that a fresh interpreter has imported after `code`."""
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "code",
    [
        "import leukemia_lab",
        "from leukemia_lab import train; train.main(['--help'])",
        "from leukemia_lab import cli; cli.completions('leukemia-lab train model=vgg13 optim.')",
    ],
)
def test_help_and_completion_do_not_import_torch(code: str) -> None:
    imported = modules_after(code)
    assert "leukemia_lab" in imported
    assert not {"torch", "lightning", "pandas"} & imported


def test_importing_the_package_takes_no_time() -> None:
    code = "import time; t = time.perf_counter(); import leukemia_lab; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.3


def test_a_reader_that_stops_reading_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m leukemia_lab.train --help | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("Train one model")
    assert done.stderr == ""
