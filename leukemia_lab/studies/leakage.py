"""The price of leakage: the same models under splits of rising honesty, and the paired gaps between these."""

from __future__ import annotations

from leukemia_lab.evaluating import TEST
from leukemia_lab.evaluation.leakage import (
    ARMS,
    GAPS,
    Arm,
    ArmValue,
    Gap,
    LeakagePrice,
    joined,
    leakage_prices,
)
from leukemia_lab.evaluation.multiplicity import ALPHA
from leukemia_lab.pages.formats import decimal, difference, estimate, p_value
from leukemia_lab.plots.leakage import leakage_price
from leukemia_lab.results.comparable import require_comparable
from leukemia_lab.results.findings import Section, StudyTable
from leukemia_lab.studies.results import StudyResults
from leukemia_lab.studies.tables import Analysis, about_cells

NAMES: dict[Arm, str] = {
    "random": "random cells",
    "apart": "subjects, twins apart",
    "merged": "subjects, twins merged",
}
IN_WORDS: dict[Arm, str] = {
    "random": "a random split of cells",
    "apart": "a split of subjects with twins apart",
    "merged": "a split of subjects with twins merged",
}
REPEATED = "Each arm is cross-validated {} times, by other splits and weights each time; AUROC is of the pairs of all."
HOW = (
    "AUROC is of pairs of cells that one model scored, that of their fold, so that no arm loses by comparing scores of "
    "several. Gaps are paired by cell, with a jackknife over subject groups; p and the wider interval have Holm's "
    "correction over all gaps of the study."
)


def analysis(results: StudyResults) -> Analysis:
    """Each model in each arm, and the gaps."""
    found = {
        row.name: {arm: runs for arm in ARMS if (runs := results.repeats(row, arm))} for row in results.rows
    }
    found = {name: own for name, own in found.items() if own}
    everywhere = (
        set.intersection(*(set(runs) for own in found.values() for runs in own.values())) if found else set()
    )
    if not everywhere:
        return Analysis("No run has a result, or no repeat one in every arm.", ())
    tables = {
        name: {
            arm: joined([runs[k].predicted(TEST) for k in sorted(everywhere)]) for arm, runs in own.items()
        }
        for name, own in found.items()
    }
    require_comparable(results.finished)
    first = results.finished[0]
    prices = leakage_prices(tables, first.class_names, first.positive)
    return Analysis(
        _headline(prices),
        (_arms_section(results, prices, len(everywhere)), _gaps_section(prices)),
        _columns(prices),
    )


def _headline(prices: list[LeakagePrice]) -> str:
    """Each of the gaps: whose are told from chance, with the intervals that say so."""
    if not any(gap.p_holm is not None for price in prices for gap in price.gaps.values()):
        return "No gap between splits has an interval: runs are missing, or the cells have too few subjects."
    sentences = []
    for first, second in GAPS:
        dear = [
            f"{price.model} {decimal(gap.value)} ({decimal(gap.low_holm)} to {decimal(gap.high_holm)})"
            for price in prices
            if (gap := price.gaps.get((first, second))) is not None and _is_told(gap)
        ]
        sentences.append(
            f"Against {IN_WORDS[second]}, {IN_WORDS[first]} flatters AUROC: {'; '.join(dear)}."
            if dear
            else f"Between {IN_WORDS[first]} and {IN_WORDS[second]} no gap can be told from chance."
        )
    return f"{' '.join(sentences)} Intervals with Holm's correction."


def _arms_section(results: StudyResults, prices: list[LeakagePrice], n_repeats: int) -> Section:
    rows = tuple((price.model, *(_arm(price.arms.get(arm)) for arm in ARMS)) for price in prices)
    repeated = (REPEATED.format(n_repeats),) if n_repeats > 1 else ()
    return Section(
        "AUROC of the same cells under three splits",
        (about_cells(results), HOW, *repeated),
        StudyTable(("", *(NAMES[arm] for arm in ARMS)), rows),
        leakage_price(prices, ident=f"{results.study.name}-price", title="The price of leakage"),
    )


def _gaps_section(prices: list[LeakagePrice]) -> Section:
    rows = tuple(
        (
            price.model,
            f"{NAMES[first]} less {NAMES[second]}",
            _gap(gap.value, gap.low, gap.high),
            _gap(gap.value, gap.low_holm, gap.high_holm),
            p_value(gap.p_holm) if gap.reason is None else gap.reason,
        )
        for price in prices
        for first, second in GAPS
        if (gap := price.gaps.get((first, second))) is not None
    )
    return Section(
        "How much too good",
        (),
        StudyTable(("", "gap", "AUROC (95 % interval)", "with Holm's interval", "p (Holm)"), rows),
    )


def _arm(found: ArmValue | None) -> str:
    if found is None:
        return "failed"
    return estimate({"value": found.value, "low": found.low, "high": found.high})


def _gap(value: float | None, low: float | None, high: float | None) -> str:
    return difference({"value": value, "low": low, "high": high})


def _is_told(gap: Gap) -> bool:
    return gap.p_holm is not None and gap.p_holm < ALPHA and gap.value is not None and gap.value > 0


def _columns(prices: list[LeakagePrice]) -> dict[str, dict[str, float | None]]:
    """Columns of table.csv: `gap_random_merged`, `…_low`, `…_high`, `…_p_holm`, and so on."""
    return {
        price.model: {
            f"gap_{first}_{second}{suffix}": getattr(gap, name)
            for (first, second), gap in price.gaps.items()
            for suffix, name in (("", "value"), ("_low", "low"), ("_high", "high"), ("_p_holm", "p_holm"))
        }
        for price in prices
    }
