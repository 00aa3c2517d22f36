"""What a run's files say of its results, a sentence a subject; None where they say nothing of it."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any, TypeGuard

from leukemia_lab.checklists import stamps
from leukemia_lab.checklists.run_files import Run, at, listed, stamped

PARTS = ("train", "val", "test")
SHOWN_METRICS = ("auroc", "balanced_accuracy", "sensitivity", "specificity", "weighted_f1", "ece", "brier")
WORST_SUBJECTS = 3
MAX_ERRORS = 12  # most confident errors of a run that a report shows


def sizes(run: Run) -> str | None:
    """Cells by class, subjects and groups of each part."""
    said = [
        f"{part}: {_size(run, part)}" for part in PARTS if at(run.metrics, f"{part}.accuracy") is not None
    ]
    return "; ".join(said) if said else None


def _size(run: Run, part: str) -> str:
    accuracy = run.metrics[part]["accuracy"]
    by_class, subjects = at(run.metrics, f"per_class.{part}"), at(run.metrics, f"per_subject.{part}")
    counts = [
        f"{of_class['n_cells']:,} {name}" for name, of_class in ({} if by_class is None else by_class).items()
    ]
    classes = f" ({', '.join(counts)})" if counts else ""
    folds = " summed over the folds" if "folds" in accuracy else ""
    named = "" if not subjects else f", {len(subjects):,} subjects"
    return f"{accuracy['n_cells']:,} cells{classes}{named}, {accuracy['n_groups']:,} groups{folds}"


def performance(run: Run) -> str | None:
    """The metrics of the test part."""
    return _performance(run, "test")


def validation(run: Run) -> str | None:
    """The metrics of the validation part, where the test part was not opened."""
    said = None if "test" in run.metrics else _performance(run, "val")
    return (
        None
        if said is None
        else f"The test part was not opened. {said}; it took part in choosing the weights"
    )


def _performance(run: Run, part: str) -> str | None:
    metrics = run.metrics.get(part)
    if metrics is None:
        return None
    shown = [f"{name} {estimate(metrics[name])}" for name in SHOWN_METRICS if name in metrics]
    return f"{part}: {', '.join(shown)}" + "".join(f" [{stamp}]" for stamp in run.stamps)


def estimate(metric: Mapping[str, Any]) -> str:
    """`0.910 (0.850–0.950)`; without an interval the value alone, without a value the reason."""
    if metric.get("value") is None:
        return f"n/a ({metric.get('reason', 'no reason given')})"
    bounds = (metric.get("low"), metric.get("high"))
    interval = "" if None in bounds else f" ({bounds[0]:.3f}–{bounds[1]:.3f})"
    return f"{metric['value']:.3f}{interval}"


def intervals(run: Run) -> str | None:
    """How intervals were made; None where no metric of the shown part has one."""
    about, part = run.metrics.get("intervals"), run.shown_part
    if (
        not _has(about, "level", "method", "unit")
        or part is None
        or all(metric.get("low") is None for metric in run.metrics[part].values())
    ):
        return None
    return (
        f"{about['level']:.0%} intervals by {about['method']}; the unit is the {about['unit']}, not the cell"
    )


def calibration_method(run: Run) -> str | None:
    """How probabilities were calibrated."""
    about = run.metrics.get("calibration")
    if _has(about, "method", "fitted_on"):
        return f"Calibrated by {about['method']}, fitted on {about['fitted_on']}"
    own = run.record.get("calibration")
    return None if own is None else f"Calibrated by {own}"


def calibration(run: Run) -> str | None:
    """Calibration of the shown part before and after."""
    change = at(run.metrics, f"calibration.{run.shown_part}")
    if change is None:
        return None
    steps = [f"{when}: {_rounded(change[when])}" for when in ("before", "after") if change.get(when)]
    return f"{run.shown_part}: {'; '.join(steps)}" if steps else None


def _has(values: Any, *keys: str) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(values, Mapping) and all(values.get(key) is not None for key in keys)


def _rounded(values: Mapping[str, Any]) -> str:
    return listed({key: value if value is None else f"{value:.3f}" for key, value in values.items()})


def threshold(run: Run) -> str | None:
    """Where the classes part."""
    if run.shown_part is None:
        return None
    said = "A cell is of the class with the highest probability"
    chosen = run.metrics.get("operating_point")
    if not _has(chosen, "threshold", "rule", "chosen_on"):
        return said
    return f"{said}; beside it the threshold {chosen['threshold']:.3f}, by {chosen['rule']} on {chosen['chosen_on']}"


def prediction(run: Run) -> str | None:
    """How probabilities come about."""
    if not (run.is_net or run.is_classical):
        return None
    how = "softmax of the net's logits" if run.is_net else "probability of the classifier"
    return stamped(f"A probability of each class for each cell: {how}", run, stamps.OF_PREDICTION)


def test_use(run: Run) -> str | None:
    """How often the test part was opened."""
    looks = run.record.get("test_looks")
    if looks is None:
        return stamped(None, run, stamps.OF_TEST)
    said = "never opened" if looks == 0 else f"opened {looks} time{'' if looks == 1 else 's'}"
    return stamped(f"By this run the test part was {said}", run, stamps.OF_TEST)


def subgroups(run: Run) -> str | None:
    """Accuracy by subject."""
    subjects = at(run.metrics, f"per_subject.{run.shown_part}")
    if not subjects:
        return None
    values = [subject["accuracy"] for subject in subjects.values()]
    text = f"{run.shown_part}, accuracy by subject: median {median(values):.3f}, lowest {min(values):.3f}"
    whole = at(run.metrics, f"subjects.{run.shown_part}.accuracy")
    return text if whole is None else f"{text}; subjects classified as a whole: accuracy {estimate(whole)}"


def failures(run: Run) -> str | None:
    """The subjects with most errors, and how many of its errors the report shows."""
    subjects = at(run.metrics, f"per_subject.{run.shown_part}")
    if not subjects:
        return None
    worst = sorted(subjects.items(), key=lambda item: (item[1]["accuracy"], item[0]))[:WORST_SUBJECTS]
    named = ", ".join(f"{name} ({one['accuracy']:.0%} of {one['n_cells']} cells)" for name, one in worst)
    return f"{run.shown_part}, subjects with the lowest accuracy: {named}{_shown_errors(run)}"


def _shown_errors(run: Run) -> str:
    held = run.explained.get("cells")
    if not held:
        return ""
    n_errors = run.explained.get("n_errors")
    of = f"the {len(held)}" if n_errors is None else f"its {n_errors}"
    if max(len(held), len(held) if n_errors is None else n_errors) <= MAX_ERRORS:
        return f"; {of} errors are shown" if len(held) > 1 else "; its one error is shown"
    return f"; of {of} errors the most confident are shown, at most {MAX_ERRORS}"


def explanation(run: Run) -> str | None:
    """The attribution method and how much of it lies on the cell, or why there is no attribution."""
    reason = run.explained.get("reason")
    if reason is not None:
        return f"No attribution: {reason}"
    about = {key: run.explained.get(key) for key in ("method", "library", "layer")}
    return None if about["method"] is None else f"{listed(about)}{_on_cell(run.explained)}"


def _on_cell(explained: Mapping[str, Any]) -> str:
    """The share of the attribution on the cell beside the cell's share of the picture, which chance would give."""
    mass, area = at(explained, "mass_on_cell.median"), at(explained, "area_share.median")
    if mass is None:
        reason = explained.get("mass_reason")
        return "" if reason is None else f"; {reason}"
    beside = "" if area is None else f"; the cell covers a median of {area:.0%} of the picture"
    return f"; a median of {mass:.0%} of its mass lies on the cell{beside}"
