"""What the terminal says of a run's results beside the table of its metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from leukemia_lab.evaluation.tables import estimate, metrics_table, number
from leukemia_lab.progress import RESULTS

FEW_SUBJECTS = 10  # of a class; with fewer an interval is wide, and its coverage uncertain
CALIBRATED = ("ece", "brier", "log_loss")
WORST = 5  # subjects to name


def show_metrics(document: dict[str, Any], parts: Sequence[str]) -> None:
    """Print `metrics_table`, and below it `result_lines` of the last part that has any."""
    RESULTS.print(metrics_table(document, parts))
    for part in [part for part in parts if part in document.get("calibration", {})][-1:]:
        for line in result_lines(document, part):
            RESULTS.print(line, markup=False, soft_wrap=True)


def choice_line(chosen: Mapping[str, Any]) -> str:
    """`chosen from 12 configurations by …`, of the `sweep_choice` of a record: how good its figure looks by that."""
    rule = "" if chosen["rule"] == "best" else ", the simplest within one standard error of the best"
    by = f"{chosen['by']} {number(chosen['objective'])}"
    n = chosen["n_configurations"]
    made = f"chosen from {n} configuration{'s' if n != 1 else ''} by {by}{rule}"
    optimism = chosen["optimism"]
    if optimism["value"] is None:
        return f"{made}; how optimistic that makes this figure is not known: {optimism['reason']}"
    corrected = estimate({"value": optimism["corrected"], "low": optimism["low"], "high": optimism["high"]})
    return f"{made}; expected optimism of that figure {optimism['value']:.3f}, without it {corrected}"


def result_lines(document: Mapping[str, Any], part: str) -> list[str]:
    """A line each: operating point, calibration, subjects as the units, and that these are few."""
    found = [_operating_point(document, part), _calibration(document, part), *_subjects(document, part)]
    return [line for line in found if line is not None]


def _operating_point(document: Mapping[str, Any], part: str) -> str | None:
    point = document.get("operating_point", {})
    if part not in point:
        return None
    chosen = point.get("per_fold", [point])
    thresholds = ", ".join(f"{one['threshold']:.3f}" for one in chosen)
    rule = chosen[0]["rule"].replace("min_sensitivity=", "sensitivity of at least ").replace("_", " ")
    why = "".join(f"; {one['reason']}" for one in chosen if "reason" in one)
    rates = ", ".join(f"{name} {estimate(point[part][name])}" for name in ("sensitivity", "specificity"))
    return f"{part} at the threshold {thresholds} (chosen on val: {rule}{why}): {rates}"


def _calibration(document: Mapping[str, Any], part: str) -> str | None:
    calibration = document.get("calibration", {})
    if part not in calibration:
        return None
    chosen = calibration.get("per_fold", [calibration])
    why = "".join(f"; {one['reason']}" for one in chosen if "reason" in one)
    if chosen[0]["method"] == "none":
        return f"{part} not calibrated{why}" if why else None
    warmth = ", ".join(f"{one['temperature']:.3f}" for one in chosen if "temperature" in one)
    scores = ((name, *(calibration[part][when][name] for when in ("before", "after"))) for name in CALIBRATED)
    changes = ", ".join(f"{name} {number(before)} → {number(after)}" for name, before, after in scores)
    return f"{part} calibrated ({chosen[0]['method']} {warmth}".rstrip() + f", fitted on val{why}): {changes}"


def _subjects(document: Mapping[str, Any], part: str) -> list[str | None]:
    subjects = document.get("subjects", {}).get(part)
    if subjects is None or subjects["accuracy"]["value"] is None:
        return []
    worst = f"; worst: {', '.join(subjects['worst'][:WORST])}" if subjects["worst"] else ""
    rates = ", ".join(f"{name} {_reasoned(subjects[name])}" for name in ("accuracy", "auroc"))
    return [f"{part}, subjects as the units: {rates}{worst}", few_subjects(subjects, part)]


def few_subjects(subjects: Mapping[str, Any], part: str) -> str | None:
    """A caution where a class has few subjects in a part; `subjects` is its section of `metrics.json`."""
    counts = Counter(label for _, label in {(row["group"], row["label"]) for row in subjects["rows"]})
    if not counts or min(counts.values()) >= FEW_SUBJECTS:
        return None
    listed = ", ".join(f"{n} of {label}" for label, n in sorted(counts.items()))
    return f"few subjects in {part} ({listed}): an interval of 0 to 1 is no error, so few say nothing of the next one"


def _reasoned(metric: Mapping[str, Any]) -> str:
    without = metric["value"] is not None and metric["low"] is None and "reason" in metric
    return estimate(metric) + (f" (no interval: {metric['reason']})" if without else "")
