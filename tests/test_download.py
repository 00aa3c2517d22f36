"""The command `download` with a kagglehub that is made up: what arrives, and everything that may go wrong."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests
from planted_twins import PRELIMINARY, Planted, plant_twins
from small_runs import BAD_INPUT, DONE, SOME_FAILED

from leukemia_lab import download, downloading
from leukemia_lab.data import cnmc_expected

# The tree below: subjects 1, H2, 3, H4, 5, H6 in folds 0, 0, 1, 1, 2, 2 and two preliminary twins, two cells each.
CELLS = dict.fromkeys(cnmc_expected.EXPECTED_CELLS, 2)
SUBJECTS = dict.fromkeys(cnmc_expected.EXPECTED_SUBJECTS, 1)
TWINS = [Planted(0, 0.5, "header", PRELIMINARY), Planted(1, 0.5, "grey", PRELIMINARY)]

Install = Callable[[Callable[[str], str]], None]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cnmc_expected, "EXPECTED_CELLS", CELLS)
    monkeypatch.setattr(cnmc_expected, "EXPECTED_SUBJECTS", SUBJECTS)
    plant_twins(tmp_path / "tree", np.random.default_rng(0), 6, 2, TWINS)
    return tmp_path / "tree"


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a kagglehub in place whose `dataset_download` is the function given; Kaggle answers."""
    monkeypatch.setenv("KAGGLEHUB_CACHE", "before")  # so that what the command sets is undone
    monkeypatch.setattr(requests, "head", lambda url, timeout: None)

    def put(dataset_download: Callable[[str], str]) -> None:
        monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(dataset_download=dataset_download))

    return put


def failing(error: Exception) -> Callable[[str], str]:
    def dataset_download(handle: str) -> str:
        raise error

    return dataset_download


def refusal(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"{status} Client Error.\n\nmore", response=response)


def test_what_was_published_is_counted_and_the_next_commands_are_named(
    tree: Path, install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def dataset_download(handle: str) -> str:
        asked.append((handle, os.environ["KAGGLEHUB_CACHE"]))
        return str(tree)

    install(dataset_download)
    assert download.main(["data=cnmc", f"output={tmp_path / 'here'}"]) == DONE
    printed = capsys.readouterr().out
    assert asked == [("andrewmvd/leukemia-classification", str(tmp_path / "here"))]
    assert printed.count("2 / 2") == 8
    assert printed.count("1 / 1") == 8
    for command in ("audit", "train"):
        assert f"python -m leukemia_lab.{command} data=cnmc data.root={tree}" in printed
    assert download.main(["mirror=a/b"]) == DONE
    assert asked[1][0] == "a/b"


def test_a_tree_that_lacks_cells_is_named_with_its_faults(
    tree: Path, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "C-NMC_training_data/fold_1/hem/UID_H4_1_1_hem.bmp").write_bytes(b"")
    (tree / "C-NMC_training_data/fold_2/all/UID_5_1_2_all.bmp").unlink()
    install(lambda handle: str(tree))
    assert download.main(["data=cnmc"]) == SOME_FAILED
    printed = capsys.readouterr()
    assert "UnexpectedDataError" in printed.err
    assert "fold_1 HEM: 1 cells, 2 expected" in printed.err
    assert "fold_2 ALL: 1 cells, 2 expected" in printed.err
    assert "UID_H4_1_1_hem.bmp: empty file" in printed.err
    assert "1 / 2" in printed.out
    assert "leukemia_lab.train" not in printed.out


def test_a_download_without_cells_is_refused(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(lambda handle: str(tmp_path))
    assert download.main([]) == BAD_INPUT
    assert "no cells found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            requests.ConnectionError("Failed to resolve 'api.kaggle.com'"),
            ["no connection", "Failed to resolve"],
        ),
        (requests.ReadTimeout("read timed out"), ["no connection", "read timed out"]),
        (refusal(401), ["refuses it (401)", "KAGGLE_API_TOKEN"]),
        (refusal(403), ["refuses it (403)", "accept the terms"]),
        (refusal(404), ["no such data set (404)", "mirror="]),
        (refusal(500), ["HTTPError: 500 Client Error."]),
        (OSError(28, "No space left on device"), ["No space left on device"]),
        (ValueError("Unsupported archive type."), ["ValueError: Unsupported archive type."]),
        (KeyError(), ["KeyError: no reason given"]),
    ],
)
def test_a_failure_says_why_and_how_to_do_it_by_hand(
    error: Exception, expected: list[str], install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install(failing(error))
    assert download.main(["data=cnmc"]) == BAD_INPUT
    printed = capsys.readouterr().err
    for text in (*expected, "DataError", "10.7937/tcia.2019.dc64i46r", "in a browser", "CNMC_ROOT", "audit"):
        assert text in printed
    assert "https://www.kaggle.com/datasets/andrewmvd/leukemia-classification" in printed
    assert "Traceback" not in printed


def test_without_kagglehub_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    assert download.main(["data=cnmc"]) == BAD_INPUT
    printed = capsys.readouterr().err
    assert "ConfigError" in printed
    assert "pip install 'leukemia-lab[download]'" in printed


def test_a_network_that_never_answers_is_given_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(downloading, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(dataset_download=failing(AssertionError())))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(downloading, "KAGGLE", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        assert download.main(["data=cnmc"]) == BAD_INPUT
    assert time.monotonic() - started < 5
    assert "no connection to Kaggle (ReadTimeout" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["data=folder"], "data: folder cannot be downloaded, only data=cnmc can"),
        (["data=synthetic"], "data: synthetic cannot be downloaded"),
        (["data.root=/data"], "data.root=/data: of no effect; the folder of a download is output="),
        (["mirror=leukemia"], "mirror: 'leukemia' cannot be used"),
        (["output="], "output: empty"),
    ],
)
def test_bad_input_is_named_before_anything_is_asked_of_the_network(
    overrides: list[str], expected: str, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install(failing(AssertionError("asked")))
    assert download.main(overrides) == BAD_INPUT
    printed = capsys.readouterr().err
    assert expected in printed
    assert "asked" not in printed
