"""Negative controls: what must be at chance, what a net must beat, how much of the subject its features carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from leukemia_lab.auditing.subject_probe import SubjectProbe
from leukemia_lab.data.splits import LEAKY
from leukemia_lab.evaluation import uncertainty
from leukemia_lab.evaluation.outcomes import Outcomes
from leukemia_lab.evaluation.uncertainty import Interval, intervals
from leukemia_lab.pages.formats import decimal, estimate, metric_name
from leukemia_lab.probing import FEATURES, probe_run
from leukemia_lab.results.findings import Section, StudyTable
from leukemia_lab.results.run_result import RunResult
from leukemia_lab.schema.study import StudyRow
from leukemia_lab.studies.pairing import Difference
from leukemia_lab.studies.results import StudyResults
from leukemia_lab.studies.tables import (
    Analysis,
    baseline_differences,
    baseline_sections,
    results_section,
    verdict,
)
from leukemia_lab.wording import and_joined

LEVEL, CHANCE = 0.99, 0.5
VERDICTS = {
    "yes": "beats",
    "no, it is worse": "is worse than",
    "not shown": "is not shown to beat",
    "not compared": "is not compared with",
}


def analysis(results: StudyResults) -> Analysis:
    """The table, permuted labels against chance, the baselines, and the probe of each model's features."""
    permuted = [row for row in results.rows if _is_permuted(results, row)]
    models = tuple(row for row in results.rows if row not in permuted)
    real = replace(results, runs=tuple(run for run in results.runs if run.row not in permuted))
    chance, at_chance = _chance_section(results, permuted)
    differences = baseline_differences(real)
    beaten = baseline_sections(real, differences)
    words = [at_chance, *_beaten_words(real, differences)]
    probes = tuple(section for row in models if (section := _probe_section(results, row)) is not None)
    return Analysis(" ".join(words), (results_section(results), chance, *beaten, *probes))


def _beaten_words(results: StudyResults, differences: Mapping[str, Mapping[str, Difference]]) -> list[str]:
    """Of each row a sentence: which baselines it beats, and which of them it does not."""
    metric = results.study.node.metric
    sentences = []
    for row in results.rows:
        by_verdict: dict[str, list[str]] = {}
        for baseline in results.baselines:
            found = differences.get(baseline.name, {}).get(row.name)
            word = "not compared" if found is None else verdict(found, metric)
            by_verdict.setdefault(word, []).append(baseline.name)
        words = [
            f"{VERDICTS[word]} {and_joined(by_verdict[word])}" for word in VERDICTS if word in by_verdict
        ]
        if words and results.of(row, results.arm) is not None:
            value = f"{metric_name(metric)} {results.shown(row, results.arm, metric)} under {results.arm}"
            sentences.append(f"{row.name}, {value}, {'; '.join(words)}.")
    return sentences


def _is_permuted(results: StudyResults, row: StudyRow) -> bool:
    run = results.of(row, results.arm)
    if run is None:
        return any(
            word.startswith("permute_labels=") and not word.endswith("=null") for word in row.overrides
        )
    return run.settings.get("permute_labels") is not None


def _chance_section(results: StudyResults, rows: list[StudyRow]) -> tuple[Section, str]:
    """AUROC of each permutation, at 99 % over all of them together, and whether chance lies in each interval."""
    part = results.study.node.part
    runs = {row.name: run for row in rows if (run := results.of(row, results.arm)) is not None}
    level = 1 - (1 - LEVEL) / max(len(runs), 1)
    found = {name: _auroc_interval(run, part, level) for name, run in runs.items()}
    words = _chance_words(found, level)
    shown = tuple(
        (
            name,
            estimate(
                {
                    "value": run.metrics[part]["auroc"]["value"],
                    "low": found[name].low,
                    "high": found[name].high,
                }
            ),
            _holds_chance(found[name]),
        )
        for name, run in runs.items()
    )
    note = (
        f"Labels are permuted among the subjects of each part. Intervals at {level:.2%}: {LEVEL:.0%} over "
        f"{len(runs)} permutations together (Bonferroni)."
    )
    table = StudyTable(("", "AUROC", f"{CHANCE} inside"), shown, note=note)
    usual = [_holds_chance(_auroc_interval(run, part, uncertainty.LEVEL)) for run in runs.values()]
    alone = (
        f"Taken singly at {uncertainty.LEVEL:.0%}, {usual.count('no')} of {len(usual)} intervals leave {CHANCE} out; "
        "one of twenty would by chance, and somewhat more where subjects are few."
    )
    return Section("Permuted labels", (words, alone), table), words


def _chance_words(found: Mapping[str, Interval], level: float) -> str:
    """Whether chance lies in every interval, and the narrowest of them: how much that says."""
    inside = {name: _holds_chance(interval) for name, interval in found.items()}
    outside = [name for name, word in inside.items() if word == "no"]
    untested = [name for name, word in inside.items() if word == "no interval"]
    if not found:
        return "No permutation has finished."
    if outside:
        return (
            f"With permuted labels AUROC is not at chance: {and_joined(outside)}. The labels leak, or this is the one "
            "table of a hundred in which chance does it."
        )
    if untested:
        names = and_joined(untested)
        return f"Whether AUROC is at chance with permuted labels cannot be said: no interval for {names}."
    spans = [(i.low, i.high) for i in found.values() if i.low is not None and i.high is not None]
    low, high = min(spans, key=lambda span: span[1] - span[0])
    held = "the interval" if len(found) == 1 else f"all {len(found)} intervals"
    return (
        f"With permuted labels {CHANCE} lies in {held} of AUROC at {level:.2%}, the narrowest {decimal(low)} to "
        f"{decimal(high)}."
    )


def _holds_chance(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return "no interval"
    return "yes" if interval.low <= CHANCE <= interval.high else "no"


def _auroc_interval(run: RunResult, part: str, level: float) -> Interval:
    outcomes = Outcomes.of(run.predicted(part), run.class_names, run.positive)
    return intervals(outcomes, level)["auroc"]


def _carried_words(own: SubjectProbe) -> str:
    """Whether the features tell subjects apart."""
    if own.low is None or own.chance is None:
        return "Whether the features carry the subject cannot be said: no interval."
    if own.low > own.chance:
        return "The features carry the subject: chance lies below the interval."
    return "That the features carry the subject is not shown: chance lies in the interval or above it."


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
    seen = (
        f"the net has learnt from cells of some of them ({LEAKY})"
        if LEAKY in run.stamps
        else "none of them was in the training part of the net"
    )
    sentence = (
        f"{own.n_subjects} subjects of {own.n_cells} cells, told apart among those of their class and fold by Gaussian "
        f"naive Bayes of principal components; {seen}. Subjects of fewer than five cells in a fold are left out. What "
        "lies above chance is what a random split of cells can learn subjects by."
    )
    return Section(
        f"Which subject is it? Features of {row.name}",
        (_carried_words(own), sentence),
        StudyTable(("", "balanced accuracy over subjects", "chance"), rows),
    )
