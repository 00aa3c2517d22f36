from __future__ import annotations

import io

import pytest
from rich.console import Console

from leukemia_lab import progress as module
from leukemia_lab.estimators import callbacks
from leukemia_lab.progress import progress, rate_text


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal of 120 columns would show."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=120)
    monkeypatch.setattr(module, "CONSOLE", console)
    monkeypatch.setattr(callbacks, "CONSOLE", console)
    return shown


def test_a_terminal_sees_a_bar_with_count_and_rate(terminal: io.StringIO) -> None:
    with progress("reading", 4, "cells") as advance:
        for _ in range(4):
            advance(1)
    text = terminal.getvalue()
    assert "reading" in text
    assert "4/4" in text
    assert "cells/s" in text


def test_without_a_terminal_there_are_plain_lines_with_rate_and_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "PLAIN_LINE_SECONDS", 0.0)
    monkeypatch.setattr(module, "CONSOLE", Console(stderr=True, width=200))
    with progress("reading", 3, "cells") as advance:
        for _ in range(3):
            advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("reading: 1/3, ")
    assert lines[0].endswith("s left")
    assert lines[-1].startswith("reading: 3 cells in ")
    assert len(lines) == 3


def test_a_rate_survives_no_time_at_all() -> None:
    assert rate_text(10, 2.0, "images") == "5 images/s"
    assert rate_text(1, 0.0, "images").endswith("images/s")


def test_training_on_a_terminal_shows_a_bar_an_epoch(
    terminal: io.StringIO, tiny: list[str], tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leukemia_lab import train

    monkeypatch.chdir(tmp_path)
    assert train.main([*tiny, "hydra.run.dir=run"]) == 0
    text = terminal.getvalue()
    assert "epoch 1/2" in text
    assert "train/loss" in text
    assert "images/s" in text
