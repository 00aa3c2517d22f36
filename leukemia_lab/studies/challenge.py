"""A recipe against every row of the papers: the ensemble of its members, and how each row differs from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from leukemia_lab.config import standard_evaluation
from leukemia_lab.pages.formats import estimate, metric_name
from leukemia_lab.results.ensembles import EnsembleResult, ensemble_result
from leukemia_lab.results.findings import Section, StudyTable
from leukemia_lab.studies.pairing import NOT_PAIRED, Difference, table_differences
from leukemia_lab.studies.results import StudyResults
from leukemia_lab.studies.tables import (
    Analysis,
    about_cells,
    about_intervals,
    best_words,
    better,
    heading,
    trained_words,
)

RECIPE = "the recipe"


def analysis(results: StudyResults) -> Analysis:
    """The ensemble of the rows that are its members, then all rows, best first, with their differences from it."""
    part, metric = results.study.node.part, results.study.node.metric
    members = [
        run for row in results.rows if row.member and (run := results.of(row, results.arm)) is not None
    ]
    if len(members) < 2:
        return Analysis(
            f"Fewer than two members of the ensemble have finished. {best_words(results, results.arm)}", ()
        )
    ensemble = ensemble_result([run.path for run in members], part, standard_evaluation())
    runs = {row.name: run for row in results.rows if (run := results.of(row, results.arm)) is not None}
    found = table_differences(
        ensemble.table,
        {name: run.predicted(part) for name, run in runs.items()},
        members[0].class_names,
        members[0].positive,
        metric,
    )
    values = {name: run.metrics[part][metric]["value"] for name, run in runs.items()}
    names = {row.name for row in results.rows if not row.member}
    apart = {name for name in names if name in found and found[name].reason == NOT_PAIRED}
    papers = {name: value for name, value in values.items() if name in names - apart and value is not None}
    shown = {row.name: results.shown(row, results.arm, metric) for row in results.rows}
    own = ensemble.metrics[metric]
    rows = (
        (f"{RECIPE}, mean of {len(members)}", trained_words(members[0]), estimate(own), ""),
        *(
            (name, trained_words(runs[name]), shown[name], str(found[name]))
            for name in _best_first(values, metric)
        ),
    )
    section = Section(
        f"{heading(metric)} on the {part} part",
        (about_cells(results), _told_apart(found, papers)),
        StudyTable(
            ("", "trained", metric_name(metric), f"difference from {RECIPE}"),
            rows,
            note=f"{about_intervals(results)} Differences by the paired jackknife over subjects: p with Holm's "
            "correction over the rows, intervals without.",
        ),
    )
    return Analysis(_headline(own["value"], papers, found, metric), (section, _all_metrics(ensemble)))


def _best_first(values: Mapping[str, float | None], metric: str) -> list[str]:
    """The names by falling quality, those without a value last."""
    worst = float("-inf")
    return sorted(
        values,
        key=lambda name: worst if (value := values[name]) is None else better(metric) * value,
        reverse=True,
    )


def _headline(
    value: float | None, papers: dict[str, float], found: Mapping[str, Difference], metric: str
) -> str:
    if value is None or not papers:
        return f"{RECIPE.capitalize()} or the papers' rows have no {metric_name(metric)}."
    best = max(papers, key=lambda name: better(metric) * papers[name])
    told = "by more than chance" if found[best].told_apart else "but by no more than chance allows"
    ahead = better(metric) * (value - papers[best])
    verdict = "the same" if ahead == 0 else f"{'better' if ahead > 0 else 'worse'}, {told}"
    return (
        f"{RECIPE.capitalize()} reaches {metric_name(metric)} {value:.3f}, against {papers[best]:.3f} of the best row "
        f"of the papers, {best}: {verdict}."
    )


def _told_apart(found: Mapping[str, Difference], papers: Collection[str]) -> str:
    told = [name for name in papers if found[name].told_apart]
    if not papers:
        return f"No row of the papers can be compared with {RECIPE}."
    if not told:
        return f"No row of the papers can be told apart from {RECIPE} by these subjects."
    return f"Told apart from {RECIPE} by subjects: {', '.join(told)}."


def _all_metrics(ensemble: EnsembleResult) -> Section:
    rows = tuple((metric_name(name), estimate(found)) for name, found in ensemble.metrics.items())
    return Section(f"All metrics of {RECIPE}", (), StudyTable(("", "mean calibrated probabilities"), rows))
