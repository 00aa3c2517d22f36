"""Train one model: `python -m leukemia_lab.train model=vgg13 trainer.devices=1`; with -m a sweep.

Ends with validation results; the test part stays closed (leukemia_lab.evaluate opens it).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from leukemia_lab.command import DONE, SOME_FAILED, Command, Place, run_command
from leukemia_lab.multirun import Multirun
from leukemia_lab.schema import TrainCommandSettings


def job(settings: TrainCommandSettings, place: Place) -> None:
    """Train, or return the finished run of the same identity."""
    from leukemia_lab.cross_validation import (
        show,
        train,
    )  # imports torch, which --help and bad input need not wait for
    from leukemia_lab.training import RUNS_DIR, Order

    folder, _ = train(settings.as_training(), RUNS_DIR, place.folder, Order(place.overrides))
    show(folder)


def build_faults(settings: TrainCommandSettings) -> list[str]:
    """What building the pipeline, the net and the optimiser shows, and what the launcher lacks."""
    from leukemia_lab import preflight
    from leukemia_lab.sweeping.launchers import launcher_faults

    return [*launcher_faults(settings.launcher), *preflight.build_faults(settings.as_training())]


def sweep(found: Multirun[TrainCommandSettings]) -> int:
    """Train every run of a multirun; the exit status says whether all ended well."""
    from leukemia_lab.sweeping.carrying_out import carry_out

    return DONE if carry_out(found) else SOME_FAILED


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    command = Command("train", TrainCommandSettings, job, build_faults, sweep)
    return run_command(command, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
