"""`evaluate` of a sweep: one run is chosen on validation cells, and its test part opened once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from leukemia_lab import cross_evaluation
from leukemia_lab.choosing import Choice, choose_run
from leukemia_lab.errors import RunError
from leukemia_lab.estimators.checkpoints import OBJECTIVE
from leukemia_lab.evaluating import TEST, evaluated_stamps
from leukemia_lab.evaluation.result_lines import choice_line, show_metrics
from leukemia_lab.evaluation.tables import estimate
from leukemia_lab.progress import CONSOLE, RESULTS
from leukemia_lab.runs.record import RunFolder
from leukemia_lab.schema import EvaluateSettings

MOST_NAMED = 20  # configurations without a result that are named with their reasons


def evaluate_sweep(settings: EvaluateSettings) -> Path:
    """Choose a run of `settings.sweep` and evaluate it, once; returns its folder.

    A chosen run whose test part has been evaluated is shown as it is, and nothing is opened. The looks at the test
    part by other runs of the sweep count in its stamp.

    Raises:
        RunError: as `choose_run` and `cross_evaluation.evaluate` do, or it was evaluated with another `test_time`.
    """
    assert settings.sweep is not None
    choice = choose_run(settings.sweep, settings.choose)
    _announce(choice)
    folder = RunFolder.existing(choice.run.path)
    seen = TEST in choice.run.metrics
    if seen:
        _require_same_way(settings, folder)
    _record(choice, folder, seen)
    if seen:
        document = _stamped(folder)
        show_metrics(document, ["val", TEST])
        RESULTS.print(
            f"{folder.path} has been evaluated before: nothing was opened, this is the result of then. To evaluate it "
            f"in another way: python -m leukemia_lab.evaluate run={folder.path}, which counts as another look",
            markup=False,
            soft_wrap=True,
        )
    else:
        _warn_of_looks(choice)
        document = cross_evaluation.evaluate(settings, folder.path)
    for line in (
        choice_line(folder.record["sweep_choice"]),
        _to_quote(document, choice.run.metrics["objective"]),
    ):
        RESULTS.print(line, markup=False, soft_wrap=True)
    return folder.path


def _announce(choice: Choice) -> None:
    """Say what the choice was made from, and what had no part in it."""
    unused = ", ".join(f"{len(listed)} {status}" for status, listed in choice.unused.items() if listed)
    CONSOLE.print(
        f"sweep {choice.sweep}: {choice.n_finished} finished{f', {unused}' if unused else ''}", markup=False
    )
    missing = [*choice.unused["failed"], *choice.unused["unfinished"]]
    for left in missing[:MOST_NAMED]:
        CONSOLE.print(f"  {left.where}: {left.reason}", markup=False)
    if missing:
        CONSOLE.print(
            f"{len(missing)} configurations have no result and no part in the choice: the sweep's command goes on with "
            "them. Another choice after that would be another look at the test part",
            markup=False,
        )


def _require_same_way(settings: EvaluateSettings, folder: RunFolder) -> None:
    before = folder.record.get("test_time", "none")
    if before != settings.test_time:
        raise RunError(
            f"{folder.path}, the choice of {settings.sweep}, has been evaluated with test_time={before}: give that, or "
            f"run={folder.path} test_time={settings.test_time} for another look at its test part"
        )


def _record(choice: Choice, folder: RunFolder, seen: bool) -> None:
    """Write the choice to the run's record, where that of the look at its test part stays, whatever is asked later."""
    with folder.held():
        before = folder.record.get("sweep_choice")
        if not (seen and before is not None):
            folder.update(sweep_choice=choice.document())
        elif before["rule"] != choice.rule:
            CONSOLE.print(
                f"the test part was opened for choose={before['rule']}, and that choice stands: with the test figures "
                "known, another rule or optimism would be a choice of numbers",
                style="yellow",
                markup=False,
            )


def _stamped(folder: RunFolder) -> dict[str, Any]:
    """The run's metrics.json with the stamps that its record asks for."""
    with folder.held():
        document = folder.metrics()
        stamps = evaluated_stamps(folder)
        if document["stamps"] != stamps:
            document["stamps"] = stamps
            folder.write_metrics(document)
            folder.update(stamps=stamps)
    return document


def _warn_of_looks(choice: Choice) -> None:
    if choice.looks_of_others > 0:
        CONSOLE.print(
            f"other runs of this sweep have opened its test part {choice.looks_of_others} time(s) before: this is "
            "another look at the same cells, and counted in the stamp. To choose between such results by their test "
            "figures would make the test part a validation part",
            style="yellow",
            markup=False,
        )


def _to_quote(document: dict[str, Any], objective: float) -> str:
    part, _, metric = OBJECTIVE.partition("/")
    return (
        f"quote {TEST}/{metric} {estimate(document[TEST][metric])}, not {part}/{metric} {objective:.4f}, by which the "
        "run was chosen"
    )
