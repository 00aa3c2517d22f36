"""The sections that any study may have: its table, what its baselines say, its differences from a first row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from leukemia_lab.data.splits import LEAKY
from leukemia_lab.evaluation.comparison import LOWER_IS_BETTER
from leukemia_lab.pages.formats import counted, decimal, metric_name
from leukemia_lab.results.findings import Section, StudyTable
from leukemia_lab.results.run_result import RunResult
from leukemia_lab.schema import NetModel
from leukemia_lab.schema.study import StudyRow
from leukemia_lab.studies.pairing import NOT_PAIRED, Difference, corrected_together, differences_from
from leukemia_lab.studies.results import StudyResults
from leukemia_lab.wording import and_joined


@dataclass(frozen=True)
class Analysis:
    """What a kind of study makes of its runs: its answer, sections, and columns of table.csv by row."""

    headline: str
    sections: tuple[Section, ...]
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def plain(results: StudyResults) -> Analysis:
    """The table alone, and what the baselines say."""
    words = best_words(results, results.arm)
    return Analysis(words, (results_section(results), *baseline_sections(results)))


def best_words(results: StudyResults, arm: str) -> str:
    """The best row under an arm, all of them where several are equal, and the baselines that are as good."""
    metric = results.study.node.metric
    values = _values(results, results.rows, arm)
    if not values:
        return f"No run under {arm} has a result."
    best = max(values.values(), key=lambda value: better(metric) * value)
    names = [name for name, value in values.items() if value == best]
    ahead = [
        f"{name}, {decimal(value)}"
        for name, value in _values(results, results.baselines, arm).items()
        if better(metric) * (value - best) >= 0
    ]
    words = f"Best by {metric_name(metric)} under {arm}: {and_joined(names)}, {decimal(best)}."
    return f"{words} No worse is {and_joined(ahead)}." if ahead else words


def _values(results: StudyResults, rows: Sequence[StudyRow], arm: str) -> dict[str, float]:
    """The study's metric under an arm by row, of the rows that have it, as it is printed: to three decimals."""
    found = {row.name: results.metric(row, arm, results.study.node.metric) for row in rows}
    return {
        name: round(metric["value"], 3)
        for name, metric in found.items()
        if metric is not None and metric["value"] is not None
    }


def heading(metric: str) -> str:
    """The metric's name as a title begins with it: `Weighted F1`."""
    name = metric_name(metric)
    return f"{name[0].upper()}{name[1:]}"


def better(metric: str) -> int:
    """1 where more of the metric is better, -1 where less is."""
    return -1 if metric in LOWER_IS_BETTER else 1


def trained_words(run: RunResult) -> str:
    """`8 epochs at most, from ImageNet's weights`: how far rows were trained, which they may differ in."""
    settings = run.train_settings
    if settings is None:
        return ""
    words = []
    if isinstance(settings.model, NetModel):
        words.append(f"{counted(settings.trainer.max_epochs, 'epoch')} at most")
    if settings.model.net_node is not None:
        source = "a file's" if settings.model.weights_path is not None else "ImageNet's"
        words.append(f"from {source if settings.model.loads_weights else 'random'} weights")
    return ", ".join(words)


def results_section(results: StudyResults) -> Section:
    """The study's metric of every row under every arm, with intervals."""
    metric = results.study.node.metric
    rows = tuple(
        (row.name, *(results.shown(row, arm, metric) for arm in results.arms))
        for row in (*results.rows, *results.baselines)
    )
    return Section(
        f"{heading(metric)} on the {results.study.node.part} part",
        (about_cells(results),),
        StudyTable(("", *results.arms), rows, note=about_intervals(results)),
    )


def about_cells(results: StudyResults) -> str:
    """Of how many cells and subjects the numbers of each arm are."""
    words = []
    for arm in results.arms:
        run = next((run for row in results.rows if (run := results.of(row, arm)) is not None), None)
        if run is not None:
            found = run.metrics[results.study.node.part]["accuracy"]
            groups = "" if found["n_groups"] is None else f" of {counted(found['n_groups'], 'subject group')}"
            words.append(f"{arm}: {counted(found['n_cells'], 'cell')}{groups}")
    return (
        f"The {results.study.node.part} part has under {'; '.join(words)}."
        if words
        else "No run has finished."
    )


def about_intervals(results: StudyResults) -> str:
    """What the numbers in parentheses are, and what they are not."""
    words = [
        "In parentheses the 95 % interval over new subjects (jackknife of whole groups; * Wilson's bounds)."
    ]
    leaky = [arm for arm in results.arms if _is_leaky(results, arm)]
    if leaky:
        words.append(
            f"Under {', '.join(leaky)} these are subjects of whose cells some were learnt from: no interval for new "
            "patients."
        )
    if results.study.node.part == "val":
        words.append("Validation cells choose a net's epoch, so that its values flatter.")
    return " ".join(words)


def _is_leaky(results: StudyResults, arm: str) -> bool:
    found = [run for row in results.rows if (run := results.of(row, arm)) is not None]
    return any(LEAKY in run.stamps for run in found)


def baseline_differences(results: StudyResults) -> dict[str, dict[str, Difference]]:
    """Of each baseline that has a result, how the rows differ from it under the last arm; Holm over all of these."""
    metric, part = results.study.node.metric, results.study.node.part
    runs = _of_arm(results, results.arm)
    found = {
        (baseline.name, name): difference
        for baseline in results.baselines
        if (reference := results.of(baseline, results.arm)) is not None
        for name, difference in differences_from(reference, runs, part, metric).items()
    }
    by_baseline: dict[str, dict[str, Difference]] = {}
    for (baseline, name), difference in corrected_together(found).items():
        by_baseline.setdefault(baseline, {})[name] = difference
    return by_baseline


def baseline_sections(
    results: StudyResults, differences: Mapping[str, Mapping[str, Difference]] | None = None
) -> tuple[Section, ...]:
    """Of each baseline, which rows beat it under the last arm; `differences` are its own, where they are at hand."""
    sections = []
    metric = results.study.node.metric
    if differences is None:
        differences = baseline_differences(results)
    for baseline in results.baselines:
        if results.of(baseline, results.arm) is None:
            continue
        found = differences.get(baseline.name, {})
        verdicts = {name: verdict(difference, metric) for name, difference in found.items()}
        shown = {row.name: results.shown(row, results.arm, metric) for row in results.rows}
        rows = tuple((name, shown[name], str(found[name]), word) for name, word in verdicts.items())
        value = results.shown(baseline, results.arm, metric)
        sections.append(
            Section(
                f"Does it beat {baseline.name}?",
                (
                    f"{baseline.name} reaches {metric_name(metric)} {value} under {results.arm}. {_who(verdicts)}",
                ),
                StudyTable(
                    ("", metric_name(metric), "difference", "beats it"),
                    rows,
                    note="Differences by the paired jackknife over subjects; p with Holm's correction over all rows "
                    "and baselines.",
                ),
            )
        )
    return tuple(sections)


def differences_section(results: StudyResults) -> Section:
    """By arm, how each row differs from the first one."""
    metric, part = results.study.node.metric, results.study.node.part
    first = results.rows[0]
    columns: dict[str, dict[str, str]] = {row.name: {} for row in results.rows[1:]}
    told = []
    for arm in results.arms:
        reference = results.of(first, arm)
        runs = {name: run for name, run in _of_arm(results, arm).items() if name != first.name}
        found = {} if reference is None else differences_from(reference, runs, part, metric)
        for name, row in columns.items():
            row[arm] = str(found[name]) if name in found else "failed"
        told += [
            f"{name} under {arm} ({difference})"
            for name, difference in found.items()
            if difference.told_apart
        ]
    found_any = any(word != "failed" for row in columns.values() for word in row.values())
    sentence = f"None can be told apart from {first.name!r} by these subjects."
    if told:
        sentence = f"Told apart from {first.name!r}: {'; '.join(told)}."
    elif not found_any:
        sentence = f"There is no result to compare with {first.name!r}, or none of its own."
    rows = tuple((name, *(row[arm] for arm in results.arms)) for name, row in columns.items())
    note = "Paired jackknife over subjects, p with Holm's correction over the rows of a column."
    return Section(
        f"Difference in {metric_name(metric)} from {first.name!r}",
        (sentence,),
        StudyTable(("", *results.arms), rows, note=note),
    )


def ablation(results: StudyResults) -> Analysis:
    """The table, and the differences from its first row: what the ablation leaves out or puts in."""
    apart = differences_section(results)
    sections = (results_section(results), apart, *baseline_sections(results))
    best = [best_words(results, arm) for arm in results.arms]
    return Analysis(" ".join([*best, apart.sentences[0]]), sections)


def _of_arm(results: StudyResults, arm: str) -> dict[str, RunResult]:
    found = {row.name: results.of(row, arm) for row in results.rows}
    return {name: run for name, run in found.items() if run is not None}


def verdict(found: Difference, metric: str) -> str:
    """Whether what differs so from a baseline beats it."""
    if found.reason == NOT_PAIRED:
        return "not compared"
    if not found.told_apart or found.value is None:
        return "not shown"
    return "yes" if better(metric) * found.value > 0 else "no, it is worse"


def _who(verdicts: Mapping[str, str]) -> str:
    """Which rows beat the baseline, by their verdicts."""
    if not verdicts:
        return "No row has a result to be compared."
    if set(verdicts.values()) == {"yes"}:
        return "Every row with a result beats it."
    by_verdict: dict[str, list[str]] = {}
    for name, word in verdicts.items():
        by_verdict.setdefault(word, []).append(name)
    beaten_by = ", ".join(by_verdict.pop("yes", []))
    words = [f"{beaten_by} beat it" if beaten_by else "No row beats it by more than chance"]
    words += [
        f"{word}: {', '.join(names)}"
        for word, names in by_verdict.items()
        if beaten_by or word != "not shown"
    ]
    return "; ".join(words) + "."
