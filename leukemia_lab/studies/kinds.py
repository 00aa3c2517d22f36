"""What each kind of study makes of its runs, and the findings that come of it."""

from __future__ import annotations

from collections.abc import Callable

from leukemia_lab.data.source import SYNTHETIC
from leukemia_lab.pages.formats import counted
from leukemia_lab.results.findings import Findings
from leukemia_lab.schema.study import Kind
from leukemia_lab.studies import challenge, controls, leakage, paper, tables
from leukemia_lab.studies.results import StudyResults, csv_rows
from leukemia_lab.studies.tables import Analysis

NO_RESULT = ("launcher", "sweep.")  # words that say how runs are done, which changes no result
ANALYSES: dict[Kind, Callable[[StudyResults], Analysis]] = {
    "table": tables.plain,
    "paper": paper.analysis,
    "ablation": tables.ablation,
    "leakage_price": leakage.analysis,
    "negative_controls": controls.analysis,
    "challenge": challenge.analysis,
}


def findings_of(results: StudyResults) -> Findings:
    """What the runs of a study say."""
    node = results.study.node
    analysis = ANALYSES[node.kind](results)
    return Findings(
        name=results.study.name,
        title=node.title,
        question=node.question,
        source=node.source,
        budget=results.budget,
        data=_data(results),
        stamps=results.stamps,
        headline=f"{_failed_words(results)}{analysis.headline}",
        sections=analysis.sections,
        rows=tuple(csv_rows(results, analysis.columns)),
        failures=results.failures,
        overruled=tuple(word for word in results.given if not word.startswith(NO_RESULT)),
    )


def _failed_words(results: StudyResults) -> str:
    failed = len(results.runs) - len(results.finished)
    return f"{failed} of {counted(len(results.runs), 'run')} failed. " if failed else ""


def _data(results: StudyResults) -> str:
    """The data in words: `data synthetic drawn from a seed, fingerprint 019dc579`."""
    if not results.finished:
        return "no data, as no run has finished"
    run = results.finished[0]
    name = str(run.settings.get("data.name"))
    fingerprint = run.data_fingerprint[:8]
    drawn = " drawn from a seed" if SYNTHETIC in run.stamps else ""
    return f"data {name}{drawn}, fingerprint {fingerprint}"
