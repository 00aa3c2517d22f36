"""Which runs can be paired, as far as permuted labels decide it; tests/test_compare.py has the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from run_folders import make_run

from leukemia_lab.config import standard_evaluation
from leukemia_lab.errors import RunError
from leukemia_lab.reporting.ensemble import ensemble
from leukemia_lab.results.collect import read_run
from leukemia_lab.results.comparable import require_comparable
from leukemia_lab.results.run_result import RunResult
from leukemia_lab.runs.record import CONFIG, CROSS_VALIDATION


def run_of(folder: Path, permute_labels: int | None, seed: int = 0, **record: Any) -> RunResult:
    """A run whose configuration has this key."""
    config = make_run(folder, seed=seed, **record) / CONFIG
    settings = yaml.safe_load(config.read_text()) | {"permute_labels": permute_labels}
    config.write_text(yaml.safe_dump(settings))
    return read_run(folder)


def test_runs_of_one_permutation_and_their_ensemble_can_be_paired(tmp_path: Path) -> None:
    members = [run_of(tmp_path / str(seed), 3, seed) for seed in range(2)]
    require_comparable([*members, ensemble(members, standard_evaluation())])


@pytest.mark.parametrize(
    "kind", ["run", CROSS_VALIDATION]
)  # folds of different splits can be paired, labels cannot
def test_other_labels_are_refused_whichever_run_has_them(tmp_path: Path, kind: str) -> None:
    folds = [{"split_hash": "s"}]
    runs = [
        run_of(tmp_path / name, permuted, kind=kind, folds=folds)
        for name, permuted in (("plain", None), ("first", 0), ("second", 1))
    ]
    words = "labels of .*/first were permuted .permute_labels=0., those of .*/plain were not.*study=negative_controls$"
    for pair in ([runs[0], runs[1]], [runs[1], runs[0]]):
        with pytest.raises(RunError, match=words):
            require_comparable(pair)
    with pytest.raises(RunError, match=r"first were permuted .permute_labels=0., .*/second otherwise"):
        require_comparable(runs[1:])
