"""A paper's table: are its claims possible, and what do the same models give under its protocol and an honest one."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from leukemia_lab.claims.check import CheckedClaim, ClaimsCheck, check_claims
from leukemia_lab.claims.claim import Claim
from leukemia_lab.claims.tables import claims_table, implied_share_words
from leukemia_lab.data.source import SYNTHETIC
from leukemia_lab.pages.formats import metric_name
from leukemia_lab.plots.claims import ClaimedRow, Estimate, claimed_and_ours
from leukemia_lab.plots.svg import Plot
from leukemia_lab.results.findings import Section, StudyTable
from leukemia_lab.schema.study import StudyRow
from leukemia_lab.studies.results import StudyResults
from leukemia_lab.studies.tables import (
    Analysis,
    about_cells,
    about_intervals,
    baseline_sections,
    heading,
    results_section,
    trained_words,
)
from leukemia_lab.wording import and_joined

OURS = {"recall": "sensitivity"}  # names of the papers that have another here
FIRST = "accuracy"
AVERAGES = (
    "Papers often print precision, recall and F1 averaged over the classes; with two classes ours are of the positive "
    "one alone, so that they need not compare."
)


def analysis(results: StudyResults) -> Analysis:
    """The check of the claims, each claimed metric beside ours under every arm, and what the baselines say."""
    rows = [row for row in results.rows if row.claims]
    about = results.study.node.claims
    check = check_claims(
        [Claim.of(row.name, row.claims) for row in rows], about.positive_share, about.n_cells
    )
    named = dict.fromkeys(name for row in rows for name in row.claims)
    metrics = sorted(named, key=lambda name: name != FIRST)
    sections = [
        _claims_section(check, metrics),
        *(_metric_section(results, rows, name, check.in_percent) for name in metrics),
        results_section(results),
        *baseline_sections(results),
    ]
    columns = {row["name"]: {key: row[key] for key in row if key != "name"} for row in claims_table(check)}
    return Analysis(_headline(results, check, rows), tuple(sections), columns)


def _headline(results: StudyResults, check: ClaimsCheck, rows: list[StudyRow]) -> str:
    """What is impossible, and how far the claimed accuracies lie from ours."""
    impossible = [row.claim.name for row in check.rows if row.verdict == "impossible"]
    on_rates = "No row is impossible by its rates"
    if impossible:
        on_rates = f"The figures claimed for {and_joined(impossible)} are impossible"
    rest = "the rest" if impossible else "the rows"
    on_set = f", and {rest} cannot be of one test set" if check.one_test_set is False else ""
    far = _distance_words(results, rows, check.in_percent)
    drawn = (
        " Ours are of drawn cells, which say nothing of the paper's." if SYNTHETIC in results.stamps else ""
    )
    return f"{on_rates}{on_set}.{far}{drawn}"


def _distance_words(results: StudyResults, rows: list[StudyRow], in_percent: bool) -> str:
    """How far claimed accuracies lie from ours under the last arm, of the models that tell classes apart."""
    gaps, outside, without = [], 0, []
    for row in rows:
        claimed, ours = claimed_value(row, FIRST, in_percent), results.metric(row, results.arm, FIRST)
        if claimed is None or ours is None or ours["value"] is None:
            continue
        if single_answer(results, row, results.arm) is not None:
            without.append(row.name)
            continue
        gaps.append(100 * (claimed - ours["value"]))
        outside += ours["low"] is not None and not ours["low"] <= claimed <= ours["high"]
    words = f" One answer for every cell, as trained here: {and_joined(without)}." if without else ""
    if not gaps:
        return words
    others = " of the others" if without else ""
    return (
        f"{words} Claimed accuracies{others} lie {span_words(gaps)} ours under {results.arm}, outside our interval in "
        f"{outside} of {len(gaps)}."
    )


def single_answer(results: StudyResults, row: StudyRow, arm: str) -> str | None:
    """The class that the row's model gives every cell under the arm; None where it tells cells apart."""
    run = results.of(row, arm)
    if run is None:
        return None
    table = run.predicted(results.study.node.part)
    probabilities = table[[f"prob_{name}" for name in run.class_names]].to_numpy()
    answers = set(probabilities.argmax(axis=1))
    return run.class_names[answers.pop()] if len(answers) == 1 else None


def span_words(points: list[float]) -> str:
    """`2.0 to 5.1 points above`, `from 3.0 points below to 5.1 above`."""
    low, high = min(points), max(points)
    if low < 0 < high:
        return f"from {-low:.1f} points below to {high:.1f} above"
    near, far = (f"{abs(gap):.1f}" for gap in sorted((low, high), key=abs))
    if far == "0.0":
        return "as high as"
    return f"{near if near == far else f'{near} to {far}'} points {'above' if high > 0 else 'below'}"


def _claims_section(check: ClaimsCheck, metrics: list[str]) -> Section:
    unit = " (%)" if check.in_percent else ""
    headers = (
        "",
        *(f"{metric_name(name)}{unit}" for name in metrics),
        "verdict",
        "implied share",
        "integer matrix",
    )
    reasons = [
        f"{row.claim.name}: {reason}"
        for row in check.rows
        # the share that a possible row implies stands in its field
        for reason in (row.reasons[1:] if row.share_interval is not None else row.reasons)
    ]
    return Section(
        "What is claimed, and is it possible?",
        (*check.sentences, *reasons),
        StudyTable(
            headers,
            tuple(_claims_row(row, metrics) for row in check.rows),
            note="The verdict is by the rates alone; the implied share is that of the positive class in the test set, "
            "with what rounding allows.",
        ),
    )


def _claims_row(row: CheckedClaim, metrics: list[str]) -> tuple[str, ...]:
    rates = row.claim.rates
    printed = (str(rates[OURS.get(name, name)]) if OURS.get(name, name) in rates else "" for name in metrics)
    return (row.claim.name, *printed, row.verdict, implied_share_words(row, digits=2), row.integer_matrix)


def _metric_section(results: StudyResults, rows: list[StudyRow], name: str, in_percent: bool) -> Section:
    """One claimed metric beside ours."""
    ours = OURS.get(name, name)
    found = tuple(
        (
            row.name,
            claimed_words(row, name, in_percent),
            *(results.shown(row, arm, ours) for arm in results.arms),
            claim_difference(row, name, in_percent, results.metric(row, results.arm, ours)),
        )
        for row in rows
    )
    headers = ("", "claimed", *results.arms, f"the claim against {results.arm}")
    title, note = f"{heading(name)}: claimed and ours", about_intervals(results)
    if name != FIRST:
        averaged = (AVERAGES,) if name in ("precision", "f1", "recall") else ()
        return Section(title, averaged, StudyTable(headers, found, note=note))
    trained = tuple(
        (*words, "" if (run := results.of(row, results.arm)) is None else trained_words(run))
        for words, row in zip(found, rows, strict=True)
    )
    return Section(
        title,
        (about_cells(results), *_single_answers(results, rows)),
        StudyTable((*headers, "ours, trained"), trained, note=note),
        _drawing(results, rows, in_percent),
    )


def _single_answers(results: StudyResults, rows: list[StudyRow]) -> list[str]:
    """By arm and class, which models give every cell one answer."""
    found: dict[tuple[str, str], list[str]] = {}
    for arm, row in product(results.arms, rows):
        answer = single_answer(results, row, arm)
        if answer is not None:
            found.setdefault((arm, answer), []).append(row.name)
    return [
        f"Under {arm} every cell is {answer} to our {and_joined(names)}: as trained here, accuracy is the share of "
        "that class and says nothing."
        for (arm, answer), names in found.items()
    ]


def _drawing(results: StudyResults, rows: list[StudyRow], in_percent: bool) -> Plot:
    """Claimed and our accuracies."""

    def estimate(row: StudyRow, arm: str) -> Estimate:
        found = results.metric(row, arm, FIRST)
        return Estimate(None) if found is None else Estimate(found["value"], found["low"], found["high"])

    drawn = [
        ClaimedRow(
            row.name,
            claimed_value(row, FIRST, in_percent),
            [estimate(row, arm) for arm in results.arms],
        )
        for row in rows
    ]
    ident = f"{results.study.name}-claimed"
    return claimed_and_ours(drawn, results.arms, FIRST, ident=ident, title="Accuracy, claimed and ours")


def claimed_value(row: StudyRow, name: str, in_percent: bool) -> float | None:
    """The claim as a share of 1."""
    rate = Claim.of(row.name, row.claims).rates.get(OURS.get(name, name))
    return None if rate is None else float(rate) / (100 if in_percent else 1)


def claimed_words(row: StudyRow, name: str, in_percent: bool) -> str:
    """The claim as a share of 1, as ours are shown."""
    value = claimed_value(row, name, in_percent)
    return "" if value is None else f"{value:.4f}"


def claim_difference(row: StudyRow, name: str, in_percent: bool, ours: Mapping[str, Any] | None) -> str:
    """`13.1 points above ours, outside its interval`."""
    claimed = claimed_value(row, name, in_percent)
    if claimed is None or ours is None or ours["value"] is None:
        return ""
    points = 100 * (claimed - ours["value"])
    side = "above" if points > 0 else "below"
    words = "the same as ours" if abs(points) < 0.05 else f"{abs(points):.1f} points {side} ours"
    if ours["low"] is None:
        return f"{words}, which has no interval"
    inside = ours["low"] <= claimed <= ours["high"]
    return f"{words}, {'within' if inside else 'outside'} its interval"
