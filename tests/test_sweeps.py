"""Sweeps: what Hydra alone would not do."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from small_runs import BAD_INPUT, DATA, DONE

from leukemia_lab import train


def test_a_key_of_a_swept_choice_can_be_fixed(tmp_path: Path) -> None:
    """`model.classifier` exists in the swept models only, not in the default one that Hydra composes first."""
    fixed = ["model.classifier.cv_folds=2", "model.classifier.grid={}", "data.root=null"]
    assert train.main(["-m", "model=knn,rf", *fixed, *DATA, f"hydra.sweep.dir={tmp_path}"]) == DONE
    table = pd.read_csv(tmp_path / "table.csv")
    assert sorted(table["model"]) == ["knn", "rf"]
    assert set(table["status"]) == {"finished"}
    assert all("model.classifier.cv_folds=2" in overrides for overrides in table["overrides"])


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("search=tpe,random", "give one value"),
        ("search.seed=1,2", "give one value"),
        ("sweep.on_error=stop,continue", "give one value"),
        ("launcher=local,joblib", "give one value"),
        ("hydra.sweep.dir=a,b", "give one value"),
        ("hydra/sweeper=basic", "choose search=tpe"),
        ("hydra/launcher=basic", "choose launcher=local"),
        ("hydra.sweeper.params={seed: '0,1'}", "write what is swept as key=a,b"),
        ("hydra.sweep.subdir=x", "leave it out"),
    ],
)
def test_what_a_sweep_cannot_do_is_refused_not_ignored(
    word: str,
    advice: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train.main(["-m", *DATA, "model=knn", "seed=0,1", word]) == BAD_INPUT
    assert advice in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seeds_as", ["0,1,2", "[0, 1, 2]"])
def test_a_config_brings_its_sweep_along_and_the_command_line_overrules_it(
    tmp_path: Path, seeds_as: str
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        f"# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      seed: {seeds_as}\n"
    )
    words = [*DATA, "model=knn", "model.classifier.grid={}", "experiment=mine", f"--config-dir={tmp_path}"]
    for own, seeds in ((), [0, 1, 2]), (("seed=5,6",), [5, 6]):
        folder = tmp_path / f"sweep{len(seeds)}"
        assert train.main([*words, *own, f"hydra.sweep.dir={folder}"]) == DONE
        assert pd.read_csv(folder / "table.csv")["seed"].tolist() == seeds
