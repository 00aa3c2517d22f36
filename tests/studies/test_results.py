from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from page_checks import barriers
from run_folders import cells, make_run
from study_files import study_file

from leukemia_lab.errors import HeldRunError, LostRunError
from leukemia_lab.evaluation.comparison import aligned, compare
from leukemia_lab.evaluation.metrics import METRICS
from leukemia_lab.evaluation.multiplicity import holm
from leukemia_lab.plots.svg import Plot
from leukemia_lab.reporting.leaderboard import leaderboards
from leukemia_lab.reporting.page import make_report, render_page
from leukemia_lab.results.collect import Collected, read_run
from leukemia_lab.results.findings import Findings, Section, findings_in, read_findings
from leukemia_lab.results.run_result import RunResult
from leukemia_lab.studies import tables, work
from leukemia_lab.studies.definition import read_study
from leukemia_lab.studies.kinds import findings_of
from leukemia_lab.studies.pairing import differences_from
from leukemia_lab.studies.results import StudyResults, csv_rows
from leukemia_lab.studies.work import StudyRun
from leukemia_lab.studies.writing import markdown, write

QUALITIES = {
    ("good", "a"): 2.5,
    ("good", "b"): 2.0,
    ("bad", "a"): 0.3,
    ("bad", "b"): 0.25,
    ("ruler", "b"): 0.2,
}
SPLIT = cells(12)


def run_of(folder: Path, quality: float, seed: int = 0) -> RunResult:
    return read_run(make_run(folder, quality=quality, seed=seed, split=SPLIT))


@pytest.fixture
def results(tmp_path: Path) -> StudyResults:
    """Rows good and bad under the arms a and b, a baseline; the baseline failed under a."""
    rows = [
        {"name": "good", "overrides": ["model=simple_cnn"]},
        {"name": "bad", "overrides": ["model=alexnet"]},
        {"name": "ruler", "overrides": ["model=knn"], "baseline": True},
    ]
    arms = [{"name": name, "overrides": []} for name in ("a", "b")]
    study = read_study(str(study_file(tmp_path, rows=rows, arms=arms, kind="ablation")))
    runs = []
    for row in study.node.rows:
        for arm in ("a", "b"):
            quality = QUALITIES.get((row.name, arm))
            folder = tmp_path / "runs" / f"{row.name}-{arm}"
            found = None if quality is None else run_of(folder, quality, seed=len(runs))
            runs.append(StudyRun(row, arm, found, None if found else "it broke"))
    return StudyResults(study, "cpu", tuple(runs))


def test_table_csv_has_a_row_a_model_with_the_last_arm_first(results: StudyResults, tmp_path: Path) -> None:
    write(findings_of(results), results, tmp_path / "study", ["x"])
    with (tmp_path / "study" / "table.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [row["row"] for row in found] == ["good", "bad"]  # without the baseline
    assert list(found[0])[:2] == ["model", "protocol"]
    good = next(run for run in results.runs if (run.row.name, run.arm) == ("good", "b")).result
    assert good is not None
    for metric in METRICS:
        for bound, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
            assert float(found[0][f"{metric}{suffix}"]) == pytest.approx(good.metrics["test"][metric][bound])
    other = next(run for run in results.runs if (run.row.name, run.arm) == ("good", "a")).result
    assert other is not None
    assert float(found[0]["a_auroc"]) == pytest.approx(other.metrics["test"]["auroc"]["value"])


def test_a_run_that_failed_leaves_its_fields_empty_and_is_named(results: StudyResults) -> None:
    assert results.failures == ("ruler (a): it broke",)
    failed = StudyResults(
        results.study,
        "cpu",
        tuple(
            StudyRun(run.row, run.arm, None, "no") if run.row.name == "bad" else run for run in results.runs
        ),
    )
    bad = csv_rows(failed, {})[1]
    assert (bad["model"], bad["auroc"], bad["a_auroc"], bad["runs"]) == ("alexnet", None, None, "")
    assert "failed" in markdown(findings_of(failed), {}, "")


def test_a_baseline_is_beaten_by_more_than_chance_or_the_table_says_that_it_is_not(
    results: StudyResults,
) -> None:
    (section,) = tables.baseline_sections(results)
    assert section.table is not None
    assert [(row[0], row[3]) for row in section.table.rows] == [("good", "yes"), ("bad", "not shown")]
    assert section.sentences[0].endswith("good beat it; not shown: bad.")


def of_runs(results: StudyResults, metric: str, kept: Callable[[StudyRun], bool]) -> StudyResults:
    """The results by another metric; of runs that are not kept there are none."""
    node = results.study.node.model_copy(update={"metric": metric})
    runs = (run if kept(run) else StudyRun(run.row, run.arm, None, "no") for run in results.runs)
    return StudyResults(replace(results.study, node=node), "cpu", tuple(runs))


def test_less_is_better_of_a_loss(results: StudyResults) -> None:
    (section,) = tables.baseline_sections(of_runs(results, "brier", lambda _: True))
    assert section.table is not None
    assert section.table.rows[0][2].startswith("−")
    assert [(row[0], row[3]) for row in section.table.rows] == [("good", "yes"), ("bad", "not shown")]
    assert tables.best_words(of_runs(results, "brier", lambda _: True), "b").startswith(
        "Best by Brier score under b: good"
    )


def test_the_best_is_not_one_of_equals_and_a_baseline_that_is_better_is_named(
    results: StudyResults,
) -> None:
    def swapped(names: dict[str, str]) -> StudyResults:
        found = {(run.row.name, run.arm): run.result for run in results.runs}
        runs = (
            replace(run, result=found[names.get(run.row.name, run.row.name), run.arm]) for run in results.runs
        )
        return StudyResults(results.study, "cpu", tuple(runs))

    assert "under b: good and bad, 0." in tables.best_words(swapped({"bad": "good"}), "b")
    assert "No worse" not in tables.best_words(results, "b")
    words = tables.best_words(swapped({"ruler": "good", "good": "bad"}), "b")
    assert "under b: good and bad, 0." in words
    assert " No worse is ruler, 0." in words


def test_comparisons_with_several_baselines_are_corrected_together(
    results: StudyResults, tmp_path: Path
) -> None:
    (alone,) = tables.baseline_differences(results).values()
    one = run_of(tmp_path / "runs" / "other", 0.2, seed=9)
    row = results.baselines[0].model_copy(update={"name": "other"})
    both = replace(results, runs=(*results.runs, StudyRun(row, "b", one, None)))
    found = tables.baseline_differences(both)
    assert set(found) == {"ruler", "other"}
    p = np.array([difference.p for rows in found.values() for difference in rows.values()])
    assert [d.p_holm for rows in found.values() for d in rows.values()] == pytest.approx(holm(p).tolist())
    assert found["ruler"]["good"].p == alone["good"].p
    assert (found["ruler"]["good"].p_holm or 0) > (alone["good"].p_holm or 1)


def test_nothing_is_said_of_rows_without_results(results: StudyResults) -> None:
    (section,) = tables.baseline_sections(of_runs(results, "auroc", lambda run: run.row.baseline))
    assert section.sentences[0].endswith("No row has a result to be compared.")
    apart = tables.differences_section(of_runs(results, "auroc", lambda run: run.row.name != "good"))
    assert apart.sentences == ("There is no result to compare with 'good', or none of its own.",)


def test_intervals_of_a_leaky_arm_are_not_passed_off_as_of_new_patients(
    results: StudyResults, tmp_path: Path
) -> None:
    assert "new patients" not in tables.about_intervals(results)
    leaky = read_run(make_run(tmp_path / "runs" / "leaky", split=SPLIT, stamps=["LEAKY"]))
    runs = (StudyRun(run.row, run.arm, leaky if run.arm == "a" else run.result, None) for run in results.runs)
    words = tables.about_intervals(StudyResults(results.study, "cpu", tuple(runs)))
    assert "Under a these are subjects of whose cells some were learnt from" in words


def test_differences_are_those_of_compare_with_holm_over_the_pairs_asked_for(results: StudyResults) -> None:
    runs = {name: results.of(row, "b") for row in (*results.rows, *results.baselines) for name in [row.name]}
    known = {name: run for name, run in runs.items() if run is not None}
    found = differences_from(known["ruler"], {n: known[n] for n in ("good", "bad")}, "test", "auroc")
    together = compare(
        aligned({n: run.predicted("test") for n, run in known.items()}, ("ALL", "HEM"), "ALL"), "auroc"
    )
    at = METRICS.index("auroc")
    for name in ("good", "bad"):
        pair = together.pair_of[together.names.index(name), together.names.index("ruler")]
        assert found[name].value == pytest.approx(together.found.difference[pair, at])
        assert found[name].low == pytest.approx(together.found.low[pair, at])
        assert found[name].p == pytest.approx(together.found.p[pair, at])
    smaller, larger = sorted((found["good"], found["bad"]), key=lambda one: one.p or 0)
    assert smaller.p_holm == pytest.approx(2 * (smaller.p or 0))
    assert larger.p_holm == pytest.approx(max(larger.p or 0, smaller.p_holm or 0))


def test_a_row_of_other_data_is_not_compared_and_does_not_end_the_study(
    results: StudyResults, tmp_path: Path
) -> None:
    other = read_run(make_run(tmp_path / "other", split=SPLIT, fingerprint="f2"))
    first, second = (results.of(results.rows[k], "b") for k in (0, 1))
    assert first is not None
    assert second is not None
    found = differences_from(first, {"other": other, "bad": second}, "test", "auroc")
    assert list(found) == ["other", "bad"]
    assert str(found["other"]) == "n/a (not of the same data, split, cells and labels: cannot be paired)"
    assert found["bad"].p_holm == found["bad"].p  # Holm counts those that were tested


def test_findings_come_back_from_study_json_and_a_report_finds_them(
    results: StudyResults, tmp_path: Path
) -> None:
    findings = findings_of(results)
    write(findings, results, tmp_path / "studies" / "one", ["x"])
    again = read_findings(tmp_path / "studies" / "one")
    assert again.sections == findings.sections
    assert [dict(row) for row in again.rows] == [dict(row) for row in findings.rows]
    (tmp_path / "studies" / "two").mkdir()
    (tmp_path / "studies" / "two" / "study.json").write_text('{"name": "another program"}')
    assert findings_in([tmp_path / "studies" / "one"]) == ([again], [])
    found, (left_out,) = findings_in([tmp_path / "studies"])
    assert found == [again]
    assert "two" in left_out.where
    assert "of another version" in left_out.reason
    assert Findings.of_document(again.document()) == again


def test_markdown_shows_every_number_of_the_table_and_escapes_names(results: StudyResults) -> None:
    text = markdown(findings_of(results), {}, "figures")
    for row in results.rows:
        for arm in results.arms:
            value = results.metric(row, arm, "auroc")
            assert value is not None
            assert f"{value['value']:.3f} (" in text
    assert text.startswith("# Mine\n")


def test_a_test_part_that_another_process_opens_is_waited_for_and_a_fault_is_the_runs_own(
    results: StudyResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[Exception | None] = [
        HeldRunError("another process"),
        None,
        MemoryError("full"),
        LostRunError("x"),
    ]

    def evaluate_folder(*_: object, **__: object) -> None:
        end = ends.pop(0)
        if end is not None:
            raise end

    monkeypatch.setattr(work, "evaluate_folder", evaluate_folder)
    monkeypatch.setattr(work, "_evaluation", lambda _: None)
    monkeypatch.setattr(work, "POLL_SECONDS", 0)
    study, folder = results.study, tmp_path / "runs" / "good-a"
    run = SimpleNamespace(row=results.rows[0], arm="a", repeat=0)
    waited = work._evaluated(study, run, folder)
    assert waited.result is not None
    failed = work._evaluated(study, run, folder)
    assert (failed.result, failed.failure) == (None, "Unexpected MemoryError: full")
    with pytest.raises(LostRunError):  # the same command goes on
        work._evaluated(study, run, folder)


def test_no_report_is_tried_where_no_run_has_finished(results: StudyResults, tmp_path: Path) -> None:
    none = of_runs(results, "auroc", lambda _: False)
    folder = tmp_path / "study"
    make_run(folder / "runs" / "net-1", split=SPLIT, status="failed")
    write(findings_of(none), none, folder, ["x"])
    assert "good (a): no" in (folder / "table.md").read_text()
    assert not (folder / "report.html").exists()


def test_the_report_ranks_the_studys_own_runs_by_its_metric_and_names_them_by_row_and_arm(
    results: StudyResults, tmp_path: Path
) -> None:
    make_run(tmp_path / "runs" / "of_another_budget", split=SPLIT, quality=9)
    by_loss = of_runs(results, "brier", lambda _: True)
    again = replace(by_loss.runs[0], repeat=1, result=run_of(tmp_path / "again", 3.0, seed=9))
    by_loss = replace(by_loss, runs=(*by_loss.runs, again))
    write(findings_of(by_loss), by_loss, tmp_path, ["x"])
    with (tmp_path / "leaderboard.csv").open() as file:
        found = list(csv.DictReader(file))
    losses = {run.name: run.result.metrics["test"]["brier"]["value"] for run in by_loss.runs if run.result}
    assert set(losses) == {"good (a)", "good (b)", "bad (a)", "bad (b)", "ruler (b)", "good (a, repeat 1)"}
    assert [row["run"] for row in found] == sorted(losses, key=lambda name: losses[name])
    assert [int(row["rank"]) for row in found] == list(range(1, 7))
    page = (tmp_path / "report.html").read_text()
    assert "Leaderboard: Brier score on test" in page
    assert "good (a, repeat 1)" in page
    assert "of_another_budget" not in page
    left_out = page[page.index('id="left-out"') :]
    assert left_out.index("ruler (a)") < left_out.index("it broke")


def test_a_study_at_two_budgets_can_stand_in_one_report(results: StudyResults) -> None:
    findings = findings_of(results)
    drawing = Plot('<svg class="plot" aria-labelledby="a-t"><title id="a-t">t</title></svg>', "t")
    studies = [
        replace(findings, budget=budget, sections=(Section("S", drawing=drawing),))
        for budget in ("cpu", "full")
    ]
    collected = Collected(results.finished[:1], ())
    boards = leaderboards(collected.runs, "auto", "auroc")
    report = make_report(collected, boards, made="", command="", version="", studies=studies)
    assert barriers(render_page(report)) == []
