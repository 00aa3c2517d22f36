"""Evaluate a finished run on its test part: `python -m leukemia_lab.evaluate run=runs/<name>`; counted."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from leukemia_lab.command import Command, JobResult, Place, run_command
from leukemia_lab.schema import EvaluateSettings


def job(settings: EvaluateSettings, place: Place) -> JobResult:
    """Open the test part."""
    from leukemia_lab.cross_evaluation import evaluate

    evaluate(settings)
    return JobResult(settings.run, None)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    command = Command("evaluate", EvaluateSettings, job, lambda _: [], None)
    return run_command(command, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
