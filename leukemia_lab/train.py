"""Train one model: `python -m leukemia_lab.train model=vgg13 trainer.devices=1`; with -m a sweep.

Ends with validation results; the test part stays closed (leukemia_lab.evaluate opens it).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from leukemia_lab.command import Command, JobResult, Place, run_command
from leukemia_lab.schema import TrainSettings


def job(settings: TrainSettings, place: Place) -> JobResult:
    """Train, or return the finished run of the same identity."""
    from leukemia_lab.cross_validation import (
        show,
        train,
    )  # imports torch, which --help and bad input need not wait for

    folder, objective = train(settings, place.parent, place.folder, place.overrides)
    if not place.in_sweep:  # a sweep ends with one table
        show(folder)
    return JobResult(folder, objective)


def build_faults(settings: TrainSettings) -> list[str]:
    """What building the pipeline, the net and the optimiser shows."""
    from leukemia_lab import preflight

    return preflight.build_faults(settings)


def sweep_identity(jobs: list[TrainSettings]) -> str:
    """The name of a sweep's folder."""
    from leukemia_lab import identity

    return identity.sweep_identity(jobs)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    command = Command("train", TrainSettings, job, build_faults, sweep_identity)
    return run_command(command, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
