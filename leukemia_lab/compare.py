"""Which of these runs is better, and is that more than chance? `python -m leukemia_lab.compare a=runs/x b=runs/y`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from leukemia_lab.command import Command, Place, run_command
from leukemia_lab.schema import CompareSettings


def job(settings: CompareSettings, place: Place) -> None:
    """Compare the runs; nothing of them changes, and no test part is opened."""
    from leukemia_lab.comparing import compare

    compare(settings)


def build_faults(settings: CompareSettings) -> list[str]:
    """What can be said of the keys before a run is read."""
    pair = [path for path in (settings.a, settings.b) if path is not None]
    faults = []
    if pair and settings.runs:
        faults.append("a, b and runs: give two runs as a=… b=…, or more of them as runs=…, not both")
    elif len(pair) == 1:
        faults.append("a and b: one of them is missing; give both, or runs=… for more than two")
    elif len(pair) == 2 and pair[0].resolve() == pair[1].resolve():
        faults.append(f"a and b are the same folder, {pair[0]}: give two runs")
    elif not pair and not settings.runs:
        faults.append(
            "nothing to compare: give a=runs/x b=runs/y, or runs=runs/sweep-… for all runs in a folder"
        )
    if len(settings.ensemble) == 1:
        faults.append(f"ensemble={settings.ensemble[0]}: name two runs or more, ensemble=[runs/x,runs/y]")
    output = settings.output
    if output is not None and output.is_file() and output.suffix != ".json":
        faults.append(f"output={output} is a file: give a folder, or a name that ends in .json")
    return faults


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    command = Command("compare", CompareSettings, job, build_faults)
    return run_command(command, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
