"""A recipe against every row of the papers: the ensemble of its members, and how each row differs from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from leukemia_lab.config import standard_evaluation
from leukemia_lab.pages.formats import counted, estimate, metric_name
from leukemia_lab.results.ensembles import EnsembleResult, ensemble_result
from leukemia_lab.results.findings import Section, StudyTable
from leukemia_lab.results.run_result import RunResult
from leukemia_lab.schema import NetModel
from leukemia_lab.studies.pairing import NOT_PAIRED, Difference, table_differences
from leukemia_lab.studies.results import StudyResults
from leukemia_lab.studies.tables import Analysis, about_cells, about_intervals, best_words, better, heading

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
            note=f"{about_intervals(results)} Differences by the paired jackknife over subjects, p with Holm's "
            "correction over the rows.",
        ),
    )
    return Analysis(_headline(own["value"], papers, found, metric), (section, _all_metrics(ensemble)))


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
    ahead = "better" if better(metric) * (value - papers[best]) > 0 else "which is not better"
    told = "tell" if found[best].told_apart else "do not tell"
    return (
        f"{RECIPE.capitalize()} reaches {metric_name(metric)} {value:.3f}, {ahead} than the best row of the papers, "
        f"{best}, {papers[best]:.3f}; subjects {told} the two apart."
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
