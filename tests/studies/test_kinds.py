"""What each kind of study says of runs whose quality is planted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from run_folders import cells, make_run
from study_files import study_file

from leukemia_lab.auditing.subject_probe import SubjectProbe
from leukemia_lab.evaluation.leakage import leakage_prices
from leukemia_lab.evaluation.uncertainty import Interval
from leukemia_lab.results.collect import read_run
from leukemia_lab.results.findings import Findings
from leukemia_lab.results.run_result import RunResult
from leukemia_lab.runs.record import CROSS_VALIDATION
from leukemia_lab.studies import controls, paper
from leukemia_lab.studies.definition import read_study
from leukemia_lab.studies.kinds import findings_of
from leukemia_lab.studies.results import StudyResults
from leukemia_lab.studies.work import StudyRun

SPLIT = cells(20)


def study_results(
    folder: Path,
    runs: Mapping[tuple[str, str], RunResult],
    rows: Mapping[str, Mapping[str, Any]],
    **changed: Any,
) -> StudyResults:
    """A study of these runs by row and arm; `rows` have more keys of each row."""
    arms = list(dict.fromkeys(arm for _, arm in runs))
    path = study_file(
        folder,
        rows=[{"name": name, "overrides": [], **more} for name, more in rows.items()],
        arms=[{"name": name, "overrides": []} for name in arms],
        **changed,
    )
    study = read_study(str(path))
    found = [
        StudyRun(row, arm, runs.get((row.name, arm)), None if (row.name, arm) in runs else "it broke")
        for row in study.node.rows
        for arm in arms
    ]
    return StudyResults(study, "cpu", tuple(found))


def run_of(folder: Path, name: str, quality: float, **more: Any) -> RunResult:
    given = {"split": SPLIT, "seed": len(name) + int(10 * quality)} | more
    return read_run(make_run(folder / "runs" / name, quality=quality, **given))


def words_of(findings: Findings) -> str:
    sections = [" ".join(section.sentences) for section in findings.sections]
    tables = [str(section.table.rows) for section in findings.sections if section.table is not None]
    return " ".join([findings.headline, *sections, *tables])


def test_a_paper_is_told_what_is_impossible_and_how_far_its_claims_lie_from_ours(tmp_path: Path) -> None:
    claims = {
        "KNN": {"claimed": {"sensitivity": "86.23", "specificity": "89.90", "accuracy": "91.20"}},
        "VGG16": {"claimed": {"sensitivity": "86.15", "specificity": "78.97", "accuracy": "82.97"}},
    }
    runs = {
        (name, arm): run_of(tmp_path, f"{name}-{arm}", 1.0, stamps=["SYNTHETIC"])
        for name in claims
        for arm in ("random_cells", "subject_kfold")
    }
    findings = findings_of(study_results(tmp_path, runs, claims, kind="paper"))
    assert findings.headline.startswith("The figures claimed for KNN are impossible")
    assert "of 2." in findings.headline  # how many claims lie outside our intervals
    assert "drawn cells" in findings.headline  # ours are no word on the paper's data
    by_row = {row["row"]: row for row in findings.rows}
    assert by_row["KNN"]["claim_verdict"] == "impossible"
    assert by_row["VGG16"]["claim_verdict"] == "possible"
    assert by_row["VGG16"]["implied_positive_share"] == pytest.approx(0.5571, abs=1e-4)
    ours = runs["VGG16", "subject_kfold"].metrics["test"]["accuracy"]
    points = 100 * (0.8297 - ours["value"])
    assert f"{abs(points):.1f} points {'above' if points > 0 else 'below'} ours" in words_of(findings)


def test_models_that_give_every_cell_one_answer_are_named_and_no_measure_of_a_claim(tmp_path: Path) -> None:
    claims = {name: {"claimed": {"accuracy": "95.00"}} for name in ("CNN", "lazy")}
    runs = {(name, "a"): run_of(tmp_path, name, 1.0) for name in claims}
    table = runs["lazy", "a"].predicted("test").assign(prob_ALL=0.7, prob_HEM=0.3)
    object.__setattr__(runs["lazy", "a"], "predicted", lambda _: table)
    findings = findings_of(study_results(tmp_path, runs, claims, kind="paper"))
    assert "One answer for every cell, as trained here: lazy." in findings.headline
    assert "Claimed accuracies of the others lie" in findings.headline
    assert findings.headline.endswith("of 1.")
    assert "Under a every cell is ALL to our lazy" in words_of(findings)
    trained = next(section for section in findings.sections if section.title.startswith("Accuracy")).table
    assert trained is not None
    assert trained.headers[-1] == "ours, trained"
    assert {row[-1] for row in trained.rows} == {"30 epochs at most, from random weights"}


def test_the_headline_begins_with_what_failed(tmp_path: Path) -> None:
    runs = {("CNN", "a"): run_of(tmp_path, "CNN", 1.0), ("CNN", "b"): run_of(tmp_path, "CNN-b", 1.0)}
    findings = findings_of(study_results(tmp_path, runs, {"CNN": {}, "other": {}}))
    assert findings.headline.startswith("2 of 4 runs failed. Best by AUROC")


@pytest.mark.parametrize(
    ("claimed", "ours", "words"),
    [
        (0.90, (0.80, 0.70, 0.85), "10.0 points above ours, outside its interval"),
        (0.75, (0.80, 0.70, 0.85), "5.0 points below ours, within its interval"),
        (0.80, (0.80, 0.70, 0.85), "the same as ours, within its interval"),
        (0.90, (0.80, None, None), "10.0 points above ours, which has no interval"),
        (0.90, (None, None, None), ""),
    ],
)
def test_the_difference_to_a_claim_in_words(
    tmp_path: Path, claimed: float, ours: tuple[float | None, ...], words: str
) -> None:
    row = {"name": "a", "overrides": [], "claimed": {"accuracy": f"{100 * claimed:.2f}"}}
    node = read_study(str(study_file(tmp_path, rows=[row], kind="paper"))).node
    metric = dict(zip(("value", "low", "high"), ours, strict=True))
    assert paper.claim_difference(node.rows[0], "accuracy", True, metric) == words


def folded(folder: Path, name: str, quality: float) -> RunResult:
    """An evaluated cross-validation of three folds, as far as its pooled predictions go."""
    split = SPLIT[SPLIT["part"] == "test"].copy()
    split["fold"] = (pd.factorize(split["group"])[0] % 3).astype("int64")
    others = SPLIT[SPLIT["part"] != "test"]
    return run_of(folder, name, quality, split=pd.concat([others, split]), kind=CROSS_VALIDATION, folds=[])


def test_the_price_of_leakage_is_that_of_the_statistic_and_its_answer_names_the_dear_models(
    tmp_path: Path,
) -> None:
    qualities = {"random": 3.0, "apart": 1.0, "merged": 0.9}
    runs = {("net", arm): folded(tmp_path, f"net-{arm}", quality) for arm, quality in qualities.items()}
    runs |= {
        ("honest", arm): folded(tmp_path, f"honest-{arm}", 1.0 + k / 10) for k, arm in enumerate(qualities)
    }
    findings = findings_of(study_results(tmp_path, runs, {"net": {}, "honest": {}}, kind="leakage_price"))
    tables = {
        name: {arm: runs[name, arm].predicted("test") for arm in qualities} for name in ("net", "honest")
    }
    net, _ = leakage_prices(tables, ("ALL", "HEM"), "ALL")
    gap = net.gaps["random", "merged"]
    assert gap.p_holm is not None
    assert gap.p_holm < 0.05
    assert f"net {gap.value:.3f} ({gap.low_holm:.3f} to {gap.high_holm:.3f})" in findings.headline
    assert "honest" not in findings.headline
    assert (
        "Between a split of subjects with twins apart and a split of subjects with twins merged no gap"
        in findings.headline
    )
    rows = {row["row"]: row for row in findings.rows}
    assert rows["net"]["gap_random_merged"] == gap.value
    assert rows["net"]["gap_random_merged_p_holm"] == gap.p_holm
    assert findings.sections[0].drawing is not None


def test_permuted_labels_that_are_not_at_chance_are_called_a_leak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = SubjectProbe(0.4, 0.3, 0.5, 0.2, 10, 100)
    monkeypatch.setattr(
        controls, "probe_run", lambda *_: dict.fromkeys(("features", "size", "colour"), probe)
    )

    def said(qualities: Mapping[str, float]) -> str:
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        runs = {("net", "a"): run_of(folder, "net", 2.0)}
        rows: dict[str, dict[str, Any]] = {"net": {}}
        for name, quality in qualities.items():
            runs[name, "a"] = run_of(folder, name, quality)
            config = dict(runs[name, "a"].config) | {"permute_labels": 0}
            object.__setattr__(runs[name, "a"], "config", config)
            rows[name] = {"overrides": ["permute_labels=0"]}
        return words_of(findings_of(study_results(folder, runs, rows, kind="negative_controls")))

    fair = said({"first": 0.0, "second": 0.0})
    assert "With permuted labels 0.5 lies in all 2 intervals of AUROC at 99.50%, the narrowest 0." in fair
    assert "0.400 (0.300–0.500)" in fair
    assert "Taken singly at 95%, 0 of 2 intervals leave 0.5 out" in fair
    leaking = said({"first": 0.0, "second": 3.0})
    assert "not at chance: second" in leaking
    monkeypatch.setattr(controls, "_auroc_interval", lambda *_: Interval(None, None))
    assert "cannot be said: no interval for first" in said({"first": 3.0})


def test_the_answer_of_negative_controls_names_every_baseline_that_is_beaten_or_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = SubjectProbe(0.4, 0.3, 0.5, 0.2, 10, 100)
    monkeypatch.setattr(controls, "probe_run", lambda *_: {"features": probe})
    qualities = {"net": 2.5, "size only": 0.2, "colour only": 2.4, "border only": 0.1}
    runs = {(name, "a"): run_of(tmp_path, name, quality) for name, quality in qualities.items()}
    rows = {name: {"baseline": name != "net"} for name in qualities}
    findings = findings_of(study_results(tmp_path, runs, rows, kind="negative_controls"))
    assert findings.headline.endswith(
        " under a, beats size only and border only; is not shown to beat colour only."
    )
    assert "none of them was in the training part" in words_of(findings)
    assert "The features carry the subject: chance lies below the interval." in words_of(findings)
    rows["file size only"] = {"baseline": True}  # it has failed
    worse = {place: run_of(tmp_path, f"{place[0]}3", 2.5 if place[0] != "net" else 0.1) for place in runs}
    words = findings_of(study_results(tmp_path, worse, rows, kind="negative_controls")).headline
    assert (
        "is worse than size only, colour only and border only; is not compared with file size only." in words
    )
    leaky = {place: run_of(tmp_path, f"{place[0]}2", 1.0, stamps=["LEAKY"]) for place in runs}
    words = words_of(findings_of(study_results(tmp_path, leaky, rows, kind="negative_controls")))
    assert "the net has learnt from cells of some of them (LEAKY)" in words


def test_a_row_of_another_split_does_not_end_the_challenge(tmp_path: Path) -> None:
    members = {f"recipe seed={k}": {"member": True} for k in range(2)}
    runs = {(name, "challenge"): run_of(tmp_path, name, 2.0, seed=k) for k, name in enumerate(members)}
    runs["mine", "challenge"] = run_of(tmp_path, "mine", 1.0, split=cells(12))
    findings = findings_of(study_results(tmp_path, runs, members | {"mine": {}}, kind="challenge"))
    assert "cannot be paired" in words_of(findings)
    assert "No row of the papers can be compared with the recipe." in words_of(findings)
    assert "mine" not in findings.headline  # its value is one of other cells
    runs["CNN", "challenge"] = run_of(tmp_path, "CNN", 0.5)
    rows = members | {"mine": {}, "CNN": {}}
    assert (
        "the best row of the papers, CNN"
        in findings_of(study_results(tmp_path, runs, rows, kind="challenge")).headline
    )


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([27.02, 26.98], "27.0 points above"),
        ([0.0, -0.04], "as high as"),
        ([2.0, 5.1], "2.0 to 5.1 points above"),
        ([-5.1, -2.0], "2.0 to 5.1 points below"),
        ([-3.0, 5.1], "from 3.0 points below to 5.1 above"),
    ],
)
def test_how_far_claims_lie_from_ours_in_words(points: list[float], words: str) -> None:
    assert paper.span_words(points) == words


def test_the_recipe_is_the_mean_of_its_members_and_is_said_to_win_only_where_it_does(tmp_path: Path) -> None:
    def headline(recipe: float, other: float) -> str:
        folder = tmp_path / f"{recipe}-{other}"
        members = {f"recipe seed={k}": {"member": True} for k in range(3)}
        runs = {(name, "challenge"): run_of(folder, name, recipe, seed=k) for k, name in enumerate(members)}
        runs["CNN", "challenge"] = run_of(folder, "CNN", other, seed=7)
        rows = members | {"CNN": {}}
        findings = findings_of(study_results(folder, runs, rows, kind="challenge", metric="weighted_f1"))
        assert findings.sections[0].table is not None
        assert len(findings.sections[0].table.rows) == 5
        assert {row[1] for row in findings.sections[0].table.rows} == {
            "30 epochs at most, from random weights"
        }
        return findings.headline

    better = headline(3.0, 0.5)
    assert " of the best row of the papers, CNN: " in better
    assert better.endswith(": better, by more than chance.")
    assert headline(0.5, 3.0).endswith(": worse, by more than chance.")
    assert headline(1.0, 1.6).endswith(": better, but by no more than chance allows.")
