"""Negative controls: what must be at chance, what a net must beat, how much of the subject its features carry."""

from __future__ import annotations

from leukemia_lab.evaluation.outcomes import Outcomes
from leukemia_lab.evaluation.uncertainty import intervals
from leukemia_lab.pages.formats import decimal, estimate
from leukemia_lab.probing import FEATURES, probe_run
from leukemia_lab.results.findings import Section, StudyTable
from leukemia_lab.results.run_result import RunResult
from leukemia_lab.schema.study import StudyRow
from leukemia_lab.studies.results import StudyResults
from leukemia_lab.studies.tables import Analysis, baseline_sections, results_section

LEVEL, CHANCE = 0.99, 0.5


def analysis(results: StudyResults) -> Analysis:
    """The table, permuted labels against chance, the baselines, and the probe of each model's features."""
    permuted = [row for row in results.rows if _is_permuted(results, row)]
    models = tuple(row for row in results.rows if row not in permuted)
    real = StudyResults(
        results.study, results.budget, tuple(run for run in results.runs if run.row not in permuted)
    )
    chance, at_chance = _chance_section(results, permuted)
    beaten = baseline_sections(real)
    words = [at_chance, *(f"{section.title} {section.sentences[0]}" for section in beaten)]
    probes = tuple(section for row in models if (section := _probe_section(results, row)) is not None)
    return Analysis(" ".join(words[:2]), (results_section(results), chance, *beaten, *probes))


def _is_permuted(results: StudyResults, row: StudyRow) -> bool:
    run = results.of(row, results.arm)
    if run is None:
        return any(
            word.startswith("permute_labels=") and not word.endswith("=null") for word in row.overrides
        )
    return run.settings.get("permute_labels") is not None


def _chance_section(results: StudyResults, rows: list[StudyRow]) -> tuple[Section, str]:
    """AUROC of each permutation, at 99 % over all of them together, and whether chance lies in each interval."""
    runs = {row.name: run for row in rows if (run := results.of(row, results.arm)) is not None}
    level = 1 - (1 - LEVEL) / max(len(runs), 1)
    shown, outside = [], []
    for name, run in runs.items():
        found = _auroc(run, results.study.node.part, level)
        inside = _holds_chance(found["low"], found["high"])
        outside += [name] if inside == "no" else []
        shown.append((name, estimate(found), inside))
    words = "With permuted labels AUROC cannot be told from chance."
    untested = [name for name, _, inside in shown if inside == "no interval"]
    if outside:
        words = (
            f"With permuted labels AUROC is not at chance: {', '.join(outside)}. The labels leak, or this is the one "
            "table of a hundred in which chance does it."
        )
    elif not runs:
        words = "No permutation has finished."
    elif untested:
        names = ", ".join(untested)
        words = f"Whether AUROC is at chance with permuted labels cannot be said: no interval for {names}."
    note = (
        f"Labels are permuted among the subjects of each part. Intervals at {level:.2%}: {LEVEL:.0%} over "
        f"{len(runs)} permutations together (Bonferroni)."
    )
    return Section(
        "Permuted labels",
        (words,),
        StudyTable(("", "AUROC", f"{CHANCE} inside"), tuple(shown), note=note),
    ), words


def _holds_chance(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "no interval"
    return "yes" if low <= CHANCE <= high else "no"


def _auroc(run: RunResult, part: str, level: float) -> dict[str, float | None]:
    outcomes = Outcomes.of(run.predicted(part), run.class_names, run.positive)
    found = intervals(outcomes, level)["auroc"]
    return {"value": run.metrics[part]["auroc"]["value"], "low": found.low, "high": found.high}


def _probe_section(results: StudyResults, row: StudyRow) -> Section | None:
    """How well the features of a row's net tell subjects apart that it was not trained on."""
    run = results.of(row, results.arm)
    if run is None:
        return None
    found = probe_run(run.path, results.study.node.part)
    rows = tuple(
        (
            f"features of {row.name}" if name == FEATURES else f"{name} alone",
            estimate({"value": probe.balanced_accuracy, "low": probe.low, "high": probe.high}),
            decimal(probe.chance),
        )
        for name, probe in found.items()
    )
    own = found[FEATURES]
    sentence = (
        f"{own.n_subjects} subjects of {own.n_cells} cells, told apart among those of their class and fold by Gaussian "
        "naive Bayes of principal components; none of them was in the training part of the net. What lies above chance "
        "is what a random split of cells can learn subjects by."
    )
    return Section(
        f"Which subject is it? Features of {row.name}",
        (sentence,),
        StudyTable(("", "balanced accuracy over subjects", "chance"), rows),
    )
