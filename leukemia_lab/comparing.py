"""What `compare` does: read runs, refuse what cannot be paired, compare by subject, show and write the result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation import comparison
from leukemia_lab.evaluation.comparison import Comparison, aligned, comparison_document
from leukemia_lab.evaluation.comparison_tables import leaderboard, pair_table, seeds_table, write_pairs_csv
from leukemia_lab.evaluation.ensembles import Member, ensemble_table
from leukemia_lab.evaluation.optimism import WINNERS_CURSE
from leukemia_lab.evaluation.seeds import over_seeds
from leukemia_lab.evaluation.tables import POOLED
from leukemia_lab.progress import CONSOLE, RESULTS
from leukemia_lab.results.collect import LeftOut, collect, read_named_run
from leukemia_lab.results.comparable import joined_stamps, require_comparable, seed_groups
from leukemia_lab.results.run_result import RunResult
from leukemia_lab.runs.record import write_atomically
from leukemia_lab.schema import CompareSettings

TEST, VALIDATION = "test", "val"
READABLE_PAIRS = 200  # more of them are for programs, and compact JSON is written several times faster
FIXED_MODELS = "intervals and p are over new subjects, the trained models taken as they are"
SELECTION_PART = (
    "this is the validation part, on which the runs' best weights, and often their settings, were chosen: what was "
    "tuned most is flattered most"
)
WHAT_WOULD_SAY = "a test part that has not been compared on yet would say how good it is"
OTHER_SPLITS = (
    "the runs were cross-validated on different splits; their out-of-fold predictions are paired by cell"
)
CALIBRATED_HERE = "the ensemble's members were calibrated on this same validation part"


def compare(settings: CompareSettings) -> dict[str, Any]:
    """Compare the runs that `settings` name, print what came of it; returns the content of comparison.json.

    Raises:
        RunError: a run is not finished, or runs differ in data, split, classes or cells.
    """
    runs, left_out = read_runs(settings)
    members = [read_named_run(path) for path in settings.ensemble]
    require_comparable([*runs, *members])
    part = chosen_part([*runs, *members], settings.part)
    document = compared(runs, members, part, settings)
    document["notes"] += [f"left out: {left.where}: {left.reason}" for left in left_out]
    document["left_out"] = [left._asdict() for left in left_out]
    show(document)
    if settings.output is not None:
        write(document, settings.output)
    return document


def read_runs(settings: CompareSettings) -> tuple[list[RunResult], tuple[LeftOut, ...]]:
    """The runs that `settings` name, and what the folders named held beside them.

    Raises:
        RunError: `a` or `b` is no finished run, or fewer than two are found.
    """
    if settings.a is not None and settings.b is not None:
        pair = [read_named_run(path) for path in (settings.a, settings.b)]
        if pair[0].name == pair[1].name:
            pair = [replace(run, name=str(run.path)) for run in pair]
        return pair, ()
    found = collect(settings.runs)
    if len(found.runs) + bool(settings.ensemble) < 2:
        others = "".join(f"\n  {left.where}: {left.reason}" for left in found.left_out)
        raise RunError(
            f"runs={', '.join(map(str, settings.runs))}: a single finished run; two or more are needed{others}"
        )
    return list(found.runs), found.left_out


def compared(
    runs: Sequence[RunResult], members: Sequence[RunResult], part: str, settings: CompareSettings
) -> dict[str, Any]:
    """The content of comparison.json for comparable runs, and an ensemble of `members` where there are any."""
    class_names, positive = runs[0].class_names, runs[0].positive
    tables = {run.name: run.predicted(part) for run in runs}
    about = {run.name: about_run(run) for run in runs}
    if members:
        name = f"ensemble of {len(members)}"
        tables[name] = ensemble_table(
            [Member(run.name, run.predicted(VALIDATION), run.predicted(part)) for run in members],
            class_names,
            name,
        )
        about[name] = {"stamps": joined_stamps(members), "members": [str(run.path) for run in members]}
    found = comparison.compare(aligned(tables, class_names, positive), settings.metric, settings.level)
    document = {"part": part, "notes": notes(runs, members, part)} | comparison_document(found)
    for row in document["runs"]:
        row |= about[row["name"]]
    document["stamps"] = list(dict.fromkeys(stamp for row in about.values() for stamp in row["stamps"]))
    document["seeds"] = _seeds(runs, found)
    return document


def chosen_part(runs: Sequence[RunResult], part: str) -> str:
    """The part to compare on: with `auto` test where every run has opened it, else val.

    Raises:
        RunError: a run has no predictions of it.
    """
    if part == "auto":
        everywhere = [p for p in (TEST, VALIDATION) if all(p in run.predicted_parts for run in runs)]
        part = everywhere[0] if everywhere else TEST
    for run in runs:
        if part not in run.predicted_parts:
            raise RunError(
                f"{run.path} has no predictions of part {part}, it has "
                f"{', '.join(run.predicted_parts) if run.predicted_parts else 'none at all'}. Only `evaluate` opens "
                "the test part "
                f"(python -m leukemia_lab.evaluate run={run.path}); a cross-validation's val cells are of "
                "several models"
            )
    return part


def notes(runs: Sequence[RunResult], members: Sequence[RunResult], part: str) -> list[str]:
    """What a reader of the result has to know."""
    found = [FIXED_MODELS]
    if part == VALIDATION:
        found.append(SELECTION_PART)
        found += [CALIBRATED_HERE] if members else []
    if len(runs) + bool(members) > 2:
        found.append(f"{WINNERS_CURSE}, and {WHAT_WOULD_SAY}")
    if len({run.split_hashes for run in runs}) > 1:
        found.append(OTHER_SPLITS)
    if any(run.is_cross_validation for run in runs):
        found.append(POOLED)
    return found


def about_run(run: RunResult) -> dict[str, Any]:
    """What comparison.json says of a run beside its metrics."""
    return {
        "folder": str(run.path),
        "model": run.record.get("model"),
        "identity": run.record.get("identity"),
        "split_hashes": list(run.split_hashes),
        "data_fingerprint": run.record["data_fingerprint"],
        "stamps": list(run.stamps),
        "test_looks": run.record.get("test_looks", 0),
    }


def show(document: dict[str, Any]) -> None:
    """Print the comparison: a table of metrics for two runs, a leaderboard for more."""
    RESULTS.print(pair_table(document) if len(document["runs"]) == 2 else leaderboard(document))
    if document["seeds"]:
        RESULTS.print(
            seeds_table(document["seeds"], document["metric"], document["level"], document["stamps"])
        )


def write(document: dict[str, Any], output: Path) -> None:
    """Write the document and its pairs: comparison.json and .csv in a folder, or <name>.json and <name>.csv."""
    path = output if output.suffix == ".json" else output / "comparison.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        indent = 1 if len(document["pairs"]) <= READABLE_PAIRS else None
        write_atomically(path, json.dumps(document, indent=indent, allow_nan=False) + "\n")
        write_pairs_csv(document, path.with_suffix(".csv"))
    except OSError as error:
        raise RunError(f"output={output} cannot be written: {error}") from error
    RESULTS.print(f"all pairs: {path} and {path.with_suffix('.csv')}", markup=False, soft_wrap=True)


def _seeds(runs: Sequence[RunResult], found: Comparison) -> list[dict[str, Any]]:
    groups, unreadable = seed_groups(runs)
    for run in unreadable:
        CONSOLE.print(
            f"{run.path}: config.yaml cannot be read, so that no other seeds of it are sought",
            markup=False,
        )
    return [
        {
            "name": f"{runs[group[0]].name} and its like, seeds {', '.join(str(runs[k].seed) for k in group)}",
            "runs": [runs[k].name for k in group],
            "seeds": [runs[k].seed for k in group],
            "metrics": over_seeds(found.runs, group, found.level),
        }
        for group in groups
    ]
