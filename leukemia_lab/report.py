"""What did the runs show? `python -m leukemia_lab.report runs=runs/`: report.html, report.md."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from leukemia_lab.command import Command, Place, run_command
from leukemia_lab.errors import ConfigError
from leukemia_lab.runs.record import made_folder
from leukemia_lab.schema import ReportSettings

REPORTS = Path("reports")
PAGE, TEXT, TABLE = "report.html", "report.md", "leaderboard.csv"


def job(settings: ReportSettings, place: Place) -> None:
    """Collect the runs, write the report of them, show its cautions and leaders."""
    from leukemia_lab import __version__
    from leukemia_lab.config import standard_evaluation
    from leukemia_lab.progress import RESULTS
    from leukemia_lab.reporting.ensemble import ensemble
    from leukemia_lab.reporting.leaderboard import leaderboards, write_leaderboards
    from leukemia_lab.reporting.page import make_report, render_markdown, render_page
    from leukemia_lab.reporting.terminal import shown
    from leukemia_lab.results.collect import collect, read_named_run
    from leukemia_lab.results.findings import findings_in
    from leukemia_lab.runs.record import now, write_atomically
    from leukemia_lab.sweeping.watching import watch

    if settings.watch:
        watch(_one_sweep(settings))
        return
    collected = collect(settings.runs)
    if settings.ensemble:
        added = ensemble(list(map(read_named_run, settings.ensemble)), standard_evaluation())
        collected = replace(collected, runs=(*collected.runs, added))
    boards = leaderboards(collected.runs, settings.part, settings.metric)
    folder = _folder(settings)
    command = shlex.join(["python", "-m", "leukemia_lab.report", *sys.argv[1:]])
    studies, unread = findings_in(settings.runs)
    collected = replace(collected, left_out=(*collected.left_out, *unread))
    report = make_report(collected, boards, made=now(), command=command, version=__version__, studies=studies)
    write_atomically(folder / PAGE, render_page(report))
    write_atomically(folder / TEXT, render_markdown(report))
    write_leaderboards(boards, folder / TABLE)
    RESULTS.print(shown(collected, boards))
    RESULTS.print(
        f"all of it: {folder / PAGE}, {folder / TEXT}, {folder / TABLE}", markup=False, soft_wrap=True
    )


def _one_sweep(settings: ReportSettings) -> Path:
    if len(settings.runs) != 1:
        raise ConfigError(f"watch=true looks on one sweep, given are {len(settings.runs)} paths in runs")
    return settings.runs[0]


def _folder(settings: ReportSettings) -> Path:
    from leukemia_lab.hashing import content_hash

    folder = settings.output
    if folder is None:
        names = [str(path.resolve()) for path in settings.runs]
        name = settings.runs[0].resolve().name if settings.runs[0].is_dir() else "runs"
        folder = REPORTS / f"{name}-{content_hash({'runs': sorted(names)})[:8]}"
    return made_folder(folder, "output")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    command = Command("report", ReportSettings, job, lambda _: [])
    return run_command(command, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
