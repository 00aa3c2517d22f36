"""Carry out the runs of a study through the sweep machinery, and open their test parts once each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from leukemia_lab.config import standard_evaluation
from leukemia_lab.cross_evaluation import evaluate_folder
from leukemia_lab.errors import HeldRunError, InterruptedRunError, LostRunError, error_text
from leukemia_lab.estimators.checkpoints import LAST
from leukemia_lab.evaluating import TEST
from leukemia_lab.identity import job_identity, sweep_identity
from leukemia_lab.multirun import Multirun
from leukemia_lab.progress import CONSOLE
from leukemia_lab.results.collect import read_run
from leukemia_lab.results.run_result import RunResult
from leukemia_lab.runs.record import RunFolder
from leukemia_lab.schema import EvaluateSettings
from leukemia_lab.schema.study import StudyRow
from leukemia_lab.studies.definition import Study
from leukemia_lab.studies.plan import PlannedRun, run_name
from leukemia_lab.sweeping.carrying_out import carry_out
from leukemia_lab.sweeping.engine import POLL_SECONDS
from leukemia_lab.sweeping.job import JobEnd
from leukemia_lab.sweeping.table import rows_by_job
from leukemia_lab.training import RUNS_DIR

RUNS = "runs"  # in a study's folder: its sweep


@dataclass(frozen=True)
class StudyRun:
    """What came of a row under an arm: the finished run, or why there is none; `repeat` counts from 0."""

    row: StudyRow
    arm: str
    result: RunResult | None
    failure: str | None
    repeat: int = 0

    @property
    def name(self) -> str:
        """`run_name` of it."""
        return run_name(self.row, self.arm, self.repeat)


def study_folder(study: Study, planned: Sequence[PlannedRun], given: Path | None) -> Path:
    """Where a study goes: `given`, or a folder named by what its runs are."""
    runs = [run.settings.as_training() for run in planned]
    return RUNS_DIR / f"study-{study.name}-{sweep_identity(runs)}" if given is None else given


def do_runs(study: Study, planned: Sequence[PlannedRun], folder: Path) -> list[StudyRun]:
    """Train what is not finished yet, evaluate what has not been, and return every run of the study."""
    jobs = tuple((run.words, run.settings) for run in planned)
    evaluations = {job_identity(run.settings.as_training()): _evaluation(run) for run in planned}
    carry_out(
        Multirun(jobs, folder / RUNS, None, None),
        shown=False,
        heard=_lighten,
        evaluations=evaluations if study.node.part == TEST else None,
    )
    rows = rows_by_job(folder / RUNS)
    found = []
    for run in planned:
        row = rows[job_identity(run.settings.as_training())]
        if row["status"] == "finished":
            found.append(_evaluated(study, run, folder / RUNS / row["run"]))
        else:
            reason = row["error"] if row["error"] is not None else row["status"]
            found.append(StudyRun(run.row, run.arm, None, reason, run.repeat))
    return found


def _lighten(end: JobEnd) -> None:
    """Remove what serves resuming alone from a finished run: it takes gigabytes of nets of the VGG kind."""
    if end.status == "finished" and end.run is not None:
        with suppress(OSError):  # another process of the study was faster, or reads it
            for last in end.run.rglob(LAST):
                last.unlink()


def _evaluated(study: Study, run: PlannedRun, folder: Path) -> StudyRun:
    """The run with its test part opened, where the study is of test parts and the job has not done it.

    A fault there is the run's own.
    """
    try:
        if study.node.part == TEST:
            _open_test(run, folder)
        return StudyRun(run.row, run.arm, read_run(folder), None, run.repeat)
    except (InterruptedRunError, LostRunError, BrokenPipeError):  # the same command goes on
        raise
    except Exception as error:  # such as a GPU's memory that is full: the rest of the table stands
        return StudyRun(run.row, run.arm, None, error_text(error).splitlines()[0], run.repeat)


def _open_test(run: PlannedRun, folder: Path) -> None:
    """Evaluate the run in `folder` unless that has been done; where another process does it, wait for its results."""
    while True:
        try:
            evaluate_folder(_evaluation(run), RunFolder.existing(folder), again=False)
            return
        except LostRunError:
            raise
        except HeldRunError as held:
            CONSOLE.print(f"waiting: {held}", markup=False)
            time.sleep(POLL_SECONDS)


def _evaluation(run: PlannedRun) -> EvaluateSettings:
    return EvaluateSettings(
        run=None,
        sweep=None,
        choose="best",
        data_root=None,
        test_time=run.row.test_time,
        accelerator=run.settings.trainer.accelerator,
        batch_size=256,
        evaluation=standard_evaluation(),
    )
