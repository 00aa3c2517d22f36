"""A study from its name to its files: planned and checked, trained, evaluated, analysed, written."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from leukemia_lab.config import faults_error
from leukemia_lab.errors import ConfigError, RunError
from leukemia_lab.preflight import build_faults
from leukemia_lab.results.findings import Findings, read_findings
from leukemia_lab.runs.record import made_folder
from leukemia_lab.schema.study import Budget
from leukemia_lab.studies.definition import Study, read_study
from leukemia_lab.studies.kinds import findings_of
from leukemia_lab.studies.plan import PlannedRun, plan
from leukemia_lab.studies.results import StudyResults
from leukemia_lab.studies.words import Words
from leukemia_lab.studies.work import do_runs, study_folder
from leukemia_lab.studies.writing import write
from leukemia_lab.sweeping.launchers import launcher_faults


@dataclass(frozen=True)
class PreparedStudy:
    """A study that can be begun: all of its runs are composed, checked and tried."""

    study: Study
    budget: Budget
    planned: tuple[PlannedRun, ...]
    folder: Path
    given: tuple[str, ...]


def prepared(name: str, budget: Budget, folder: Path | None, words: Words) -> PreparedStudy:
    """The study `name` at `budget` with the user's `words`, in `folder` or one of its own.

    Raises:
        ConfigError: it, or any of its runs, cannot be begun; names all faults.
    """
    study = read_study(name)
    planned = plan(study, budget, words.overrides, words.config_dir)
    faults = launcher_faults(planned[0].settings.launcher)
    for run in planned:
        found = build_faults(run.settings.as_training())
        faults += [f"{study.name}, {run.row.name}: {fault}" for fault in found]
    if faults:
        raise faults_error(faults)
    chosen = study_folder(study, planned, folder)
    _refuse_another(study, chosen)
    return PreparedStudy(study, budget, tuple(planned), chosen, words.overrides)


def _refuse_another(study: Study, folder: Path) -> None:
    """Raise ConfigError where `folder` holds the findings of a study of another name, which would be replaced."""
    with suppress(RunError):  # there are none, or none that can be read
        held = read_findings(folder).name
        if held != study.name:
            raise ConfigError(
                f"study.folder={folder} holds the study {held}, whose tables would be lost: give {study.name} another "
                "folder"
            )


def planned_lines(prepared: PreparedStudy) -> list[str]:
    """Each run by row and arm with the words that it is trained with, their number, and the study's folder."""
    runs = [f"{run.name}: {shlex.join(run.words)}" for run in prepared.planned]
    return [*runs, f"planned runs: {len(runs)}, none begun; the study's folder: {prepared.folder}"]


def carry_out_study(prepared: PreparedStudy, command: Sequence[str]) -> Findings:
    """Train and evaluate what is not yet, and write everything; `command` is what the user typed."""
    folder = made_folder(prepared.folder, "study.folder")
    runs = do_runs(prepared.study, prepared.planned, folder)
    results = StudyResults(prepared.study, prepared.budget, tuple(runs), prepared.given)
    findings = findings_of(results)
    write(findings, results, folder, command)
    return findings
