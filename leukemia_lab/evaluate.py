"""Open the test part, counted: `python -m leukemia_lab.evaluate run=runs/<name>`, or `sweep=…` for the best of many."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from leukemia_lab.command import Command, Place, run_command
from leukemia_lab.schema import EvaluateSettings


def job(settings: EvaluateSettings, place: Place) -> None:
    """Open the test part of the run, or of the one that the sweep's validation results choose."""
    if settings.run is None:
        from leukemia_lab.sweep_evaluation import evaluate_sweep

        evaluate_sweep(settings)
        return
    from leukemia_lab.cross_evaluation import evaluate

    evaluate(settings, settings.run)


def build_faults(settings: EvaluateSettings) -> list[str]:
    """What can be said of the keys before a run is read."""
    if settings.run is None and settings.sweep is None:
        return ["run: not set; give run=runs/<name>, or sweep=runs/sweep-… for the best of a sweep"]
    if settings.run is not None and settings.sweep is not None:
        return ["run and sweep: give one run, or a sweep to choose one from, not both"]
    if settings.run is not None and settings.choose != "best":
        return [
            f"choose={settings.choose}: there is nothing to choose with run=…; give sweep=…, or leave it out"
        ]
    return []


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    command = Command("evaluate", EvaluateSettings, job, build_faults)
    return run_command(command, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
