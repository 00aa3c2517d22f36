"""An ensemble as one more row of a report."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from page_checks import Outline, barriers
from run_folders import cells, make_run
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import roc_auc_score

from leukemia_lab import report
from leukemia_lab.config import standard_evaluation
from leukemia_lab.errors import RunError
from leukemia_lab.reporting.cautions import cautions
from leukemia_lab.reporting.ensemble import Ensemble, ensemble
from leukemia_lab.reporting.leaderboard import leaderboards
from leukemia_lab.results.collect import Collected, collect, read_run

CLASSES = ["ALL", "HEM"]


def ensemble_of(*folders: Path) -> Ensemble:
    return ensemble([read_run(folder) for folder in folders], standard_evaluation())


def logits_and_truth(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return table[[f"logit_{name}" for name in CLASSES]].to_numpy(), table["label"].map(
        CLASSES.index
    ).to_numpy()


def by_hand(folder: Path, part: str) -> np.ndarray:
    """Probabilities of `part`, in the order of cell ids, at the temperature of least log loss on validation cells."""
    table = read_run(folder).predictions.sort_values("cell_id")
    logits, truth = logits_and_truth(table[table["part"] == "val"])

    def loss(log_t: float) -> float:
        scores = log_softmax(logits / np.exp(log_t), axis=1)
        return float(-scores[np.arange(len(truth)), truth].mean())

    found = minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-10})
    return softmax(logits_and_truth(table[table["part"] == part])[0] / np.exp(found.x), axis=1)


def report_of(folder: Path, members: list[Path], *more: str) -> int:
    listed = ",".join(map(str, members))
    return report.main([f"runs={folder / 'runs'}", f"ensemble=[{listed}]", f"output={folder}", *more])


@pytest.fixture
def members(tmp_path: Path) -> list[Path]:
    return [
        make_run(
            tmp_path / "runs" / "a", quality=1.2, stamps=["SYNTHETIC", "TEST SEEN 2 TIMES"], test_looks=2
        ),
        make_run(
            tmp_path / "runs" / "b", quality=1.5, stamps=["SYNTHETIC", "TEST SEEN 10 TIMES"], test_looks=10
        ),
        make_run(tmp_path / "runs" / "c", quality=1.4, stamps=["DIHEDRAL AVERAGING"]),
    ]


def test_it_is_the_mean_of_the_calibrated_probabilities(members: list[Path]) -> None:
    run = ensemble_of(*members)
    for part in ("val", "test"):
        table = run.predicted(part)
        assert list(table["cell_id"]) == sorted(table["cell_id"])
        mean = np.mean([by_hand(folder, part) for folder in members], axis=0)
        assert table[[f"prob_{name}" for name in CLASSES]].to_numpy() == pytest.approx(mean, abs=1e-6)
        area = roc_auc_score(table["label"] == "ALL", mean[:, 0])
        assert run.metrics[part]["auroc"]["value"] == pytest.approx(area)
        assert run.metrics[part]["auroc"]["low"] < area <= run.metrics[part]["auroc"]["high"]
    assert "train" not in run.metrics


def test_it_bears_every_stamp_and_the_most_looks(members: list[Path]) -> None:
    run = ensemble_of(*members)
    assert run.stamps == ("SYNTHETIC", "TEST SEEN 10 TIMES", "DIHEDRAL AVERAGING")
    assert run.record["stamps"] == list(run.stamps)
    assert run.record["test_looks"] == 10
    collected = Collected((*map(read_run, members), run), ())
    said = [caution.text for caution in cautions(collected, leaderboards(collected.runs, "auto", "auroc"))]
    assert any("opened 13 times by the 3 runs" in text for text in said)


def test_it_has_no_test_part_where_a_member_has_not_opened_it(members: list[Path], tmp_path: Path) -> None:
    unopened = make_run(tmp_path / "d", tested=False)
    run = ensemble_of(members[0], unopened)
    assert run.predicted_parts == ("val",)
    assert run.parts == ("val",)
    collected = Collected((read_run(members[0]), run), ())
    boards = leaderboards(collected.runs, "val", "auroc")
    said = [caution.text for caution in cautions(collected, boards)]
    assert any("calibrated on the validation cells that it is shown on" in text for text in said)


def test_it_is_refused_where_its_members_do_not_fit(
    members: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_run(tmp_path / "other", split=cells(seed=5))
    assert report_of(tmp_path, [members[0], other]) == 2
    said = capsys.readouterr().err
    for folder in (members[0], other):
        assert read_run(folder).split_hash in said
    assert not (tmp_path / "report.html").exists()
    assert report_of(tmp_path, members[:1]) == 2
    assert "two or more" in capsys.readouterr().err
    assert report_of(tmp_path, [members[0], tmp_path / "missing"]) == 2
    assert "missing" in capsys.readouterr().err
    with pytest.raises(RunError, match="different data"):
        ensemble_of(members[0], make_run(tmp_path / "data", fingerprint="e2"))
    folds = [{"fold": 0, "run": "fold_0", "split_hash": "0"}]
    with pytest.raises(RunError, match="is a cross-validation"):
        ensemble_of(members[0], make_run(tmp_path / "cv", kind="cross_validation", folds=folds))


def test_it_is_a_row_of_the_report_with_a_section_of_its_own(members: list[Path], tmp_path: Path) -> None:
    assert report_of(tmp_path, members) == 0
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert barriers(html) == []
    text = Outline(html).text
    for said in (
        "Report of 4 runs",
        "the mean calibrated probabilities of 3 runs",
        "Mean of the probabilities of 3 runs",
        "by the member that looked most",
        "Groups in more than one part: 0",
        "the command of each stands in its own section",
    ):
        assert said in text, said
    for wrong in ("split.parquet cannot be read", "made by another version", "no commit known", "None"):
        assert wrong not in text.split("Checklist")[0], wrong
    table = pd.read_csv(tmp_path / "leaderboard.csv").set_index("run")
    assert table.loc["ensemble of 3", "stamps"] == "SYNTHETIC;TEST SEEN 10 TIMES;DIHEDRAL AVERAGING"
    assert table.loc["ensemble of 3", "auroc"] == pytest.approx(
        ensemble_of(*members).metrics["test"]["auroc"]["value"]
    )
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| ensemble of 3 |" in markdown


def test_the_split_is_audited_where_the_ensemble_is_first(members: list[Path], tmp_path: Path) -> None:
    assert report_of(tmp_path, members) == 0
    table = pd.read_csv(tmp_path / "leaderboard.csv").set_index("run")
    first = next(metric for metric in ("auroc", "brier", "ece") if _best(table, metric) == "ensemble of 3")
    assert report_of(tmp_path, members, f"metric={first}") == 0
    text = Outline((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert re.search("Best ?ensemble of 3, ", text)
    assert "Subject names taken as one: TRA0 = TRA1, TRH0 = TRH1" in text


def _best(table: pd.DataFrame, metric: str) -> str:
    return str(table[metric].idxmax() if metric == "auroc" else table[metric].idxmin())


def test_the_command_shown_makes_it_again(
    members: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert report_of(tmp_path, members) == 0
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    command = next(
        line.strip()
        for line in markdown.splitlines()
        if line.strip().startswith("python -m leukemia_lab.report")
    )
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "leukemia_lab.report"]
    monkeypatch.chdir(tmp_path)
    assert report.main([*words[3:], "output=again"]) == 0
    rows = [
        pd.read_csv(folder / "leaderboard.csv").set_index("run") for folder in (tmp_path, tmp_path / "again")
    ]
    assert rows[1].loc["ensemble of 3", "auroc"] == rows[0].loc["ensemble of 3", "auroc"]


def test_members_need_not_be_among_the_runs(members: list[Path], tmp_path: Path) -> None:
    others = [make_run(tmp_path / "x" / name, quality=q) for name, q in (("d", 0.9), ("e", 1.1))]
    assert report_of(tmp_path, others) == 0
    assert set(pd.read_csv(tmp_path / "leaderboard.csv")["run"]) == {"a", "b", "c", "ensemble of 2"}
    assert len(collect([tmp_path / "runs"]).runs) == 3
