"""What `train -m` does with its checked jobs: give them out, keep the table true, say how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from leukemia_lab.config import faults_error
from leukemia_lab.estimators.checkpoints import OBJECTIVE
from leukemia_lab.evaluation.tables import SweepRow, sweep_table
from leukemia_lab.hashing import content_hash
from leukemia_lab.identity import job_identity, sweep_identity
from leukemia_lab.multirun import Multirun
from leukemia_lab.preflight import build_faults
from leukemia_lab.progress import CONSOLE, RESULTS
from leukemia_lab.runs.deaths import readmitted
from leukemia_lab.runs.record import RECORD, read_json
from leukemia_lab.schema import EvaluateSettings, TrainCommandSettings
from leukemia_lab.schema.sweep import NoSearch
from leukemia_lab.search.definition import study_definition
from leukemia_lab.search.study import StudySource
from leukemia_lab.sweeping.engine import JobList, run_jobs
from leukemia_lab.sweeping.job import Job, JobEnd, TrialAddress
from leukemia_lab.sweeping.job_files import JOBS, plan_jobs
from leukemia_lab.sweeping.launchers import make_launcher
from leukemia_lab.sweeping.table import ENDED_WELL, TABLE, counts_text, rows_by_job, sweep_rows, write_table
from leukemia_lab.training import RUNS_DIR


def carry_out(
    sweep: Multirun[TrainCommandSettings],
    *,
    shown: bool = True,
    heard: Callable[[JobEnd], None] = lambda _: None,
    evaluations: Mapping[str, EvaluateSettings] | None = None,
) -> bool:
    """Train the jobs of `sweep`; returns whether all of its runs have ended well.

    `heard` hears of each end. The table is `shown` at the end. `evaluations`, by the keys of jobs, have these open
    their test parts too, where they are trained.

    Raises:
        ConfigError: the storage of a search cannot be used.
    """
    settings = sweep.jobs[0][1]
    folder = _folder(sweep)

    def noted(end: JobEnd) -> None:
        heard(end)
        _rewritten(folder)
        if end.status in ("failed", "pruned"):
            CONSOLE.print(f"{end.status}: {' '.join(end.job.overrides)}: {_explanation(end)}", markup=False)

    source = _source(sweep, folder, {} if evaluations is None else evaluations)
    with source if isinstance(source, StudySource) else nullcontext():
        try:
            _rewritten(folder)  # waiting jobs too, before the first has ended
            stop = settings.sweep.on_error == "stop"
            at_once = isinstance(source, JobList) and not stop
            launcher = make_launcher(settings.launcher, folder, all_at_once=at_once)
            run_jobs(source, launcher, stop_on_error=stop, noted=noted)
        finally:
            rows = _rewritten(folder)
            if shown:
                _show(rows, folder)
        return _all_well(sweep, source, folder, rows)


def _show(rows: Sequence[SweepRow], folder: Path) -> None:
    if rows:
        RESULTS.print(sweep_table(rows))
    RESULTS.print(f"{counts_text(rows)}; table: {folder / TABLE}", markup=False, soft_wrap=True)
    finished = [(row["objective"], row["run"]) for row in rows if row["status"] == "finished"]
    ranked = sorted((value, run) for value, run in finished if value is not None)
    if ranked and len(rows) > 1:
        value, run = ranked[-1]
        RESULTS.print(
            f"best by validation: {run} ({OBJECTIVE} {value:.4f}, flattered by the choice); "
            f"python -m leukemia_lab.evaluate sweep={folder} opens its test part, once",
            markup=False,
            soft_wrap=True,
        )


def _rewritten(folder: Path) -> list[SweepRow]:
    """The rows of the table, which is written; a full disk ends no sweep, as the rows come from the runs."""
    try:
        return write_table(folder)
    except OSError as error:
        CONSOLE.print(f"{folder / TABLE} cannot be written: {error}", markup=False)
        return sweep_rows(folder)


def _all_well(
    sweep: Multirun[TrainCommandSettings],
    source: JobList | StudySource,
    folder: Path,
    rows: Sequence[SweepRow],
) -> bool:
    """Whether the runs of this command have ended well, whoever else's are in its folder; names those that failed."""
    if isinstance(source, StudySource):
        own, failed = rows, source.failures()  # a trial can fail whose run is finished: by its objectives
    else:
        keys = {job_identity(settings.as_training()) for _, settings in sweep.jobs}
        own = [row for row in rows if row["job"] in keys]
        failed = [_failure(row, folder) for row in own if row["status"] == "failed"]
    for line in failed:
        RESULTS.print(f"failed: {line}", markup=False, soft_wrap=True)
    return not failed and all(row["status"] in ENDED_WELL for row in own)


def _failure(row: SweepRow, folder: Path) -> str:
    where = folder / row["run"] / RECORD if row["run"] else folder / JOBS
    return f"{' '.join(row['overrides'])}: {row['error']} ({where})"


def _explanation(end: JobEnd) -> str:
    if end.status == "pruned":
        return f"others were better after as many epochs (objective {end.objective:.4f})"
    return str(end.error)


def _folder(sweep: Multirun[TrainCommandSettings]) -> Path:
    """Where the runs go: `hydra.sweep.dir`, or a folder named by what the sweep is."""
    runs = [settings.as_training() for _, settings in sweep.jobs]
    search = sweep.jobs[0][1].search
    if sweep.folder is not None:
        return sweep.folder
    if sweep.space is None or isinstance(search, NoSearch):
        return RUNS_DIR / f"sweep-{sweep_identity(runs)}"
    return RUNS_DIR / f"search-{content_hash(study_definition(search, sweep.space, runs))}"


def _source(
    sweep: Multirun[TrainCommandSettings], folder: Path, evaluations: Mapping[str, EvaluateSettings]
) -> JobList | StudySource:
    node = sweep.jobs[0][1]
    if sweep.space is None or isinstance(node.search, NoSearch):
        jobs = _jobs(sweep, folder.resolve(), evaluations)
        CONSOLE.print(f"sweep of {len(jobs)} runs in {folder}", markup=False)
        return JobList(_in_order(jobs, folder, retry_failed=node.sweep.retry_failed))

    def make_job(words: Sequence[str], trial: TrialAddress) -> Job:
        assert sweep.job_of is not None  # it is a search
        found, settings = sweep.job_of(words)
        faults = build_faults(settings.as_training())
        if faults:
            raise faults_error(faults)
        job = Job(folder.resolve(), trial.number, found, settings.as_training(), trial)
        plan_jobs([job])
        return job

    CONSOLE.print(f"search in {folder}", markup=False)
    samples = [settings.as_training() for _, settings in sweep.jobs]
    retry = node.sweep.retry_failed
    return StudySource(node.search, sweep.space, samples, folder, make_job, retry_failed=retry)


def _jobs(
    sweep: Multirun[TrainCommandSettings], folder: Path, evaluations: Mapping[str, EvaluateSettings]
) -> list[Job]:
    """Each job once: KNN has no learning rate that a sweep over them could change."""
    jobs: dict[str, Job] = {}
    for words, settings in sweep.jobs:
        job = Job(folder, len(jobs), words, settings.as_training())
        jobs.setdefault(job.key, replace(job, evaluation=evaluations.get(job.key)))
    plan_jobs(list(jobs.values()))
    return list(jobs.values())


def _in_order(jobs: Sequence[Job], folder: Path, *, retry_failed: bool) -> list[Job]:
    """The jobs to do, those whose process died last: they may end this one too, and the others should be done first."""
    rows = rows_by_job(folder)
    ended = all(rows[job.key]["status"] in (*ENDED_WELL, "failed") for job in jobs)

    def is_wanted(job: Job) -> bool:
        if rows[job.key]["status"] != "failed" or job.settings.force:
            return True
        return retry_failed and readmitted(folder / rows[job.key]["run"], all_ended=ended)

    wanted = [job for job in jobs if is_wanted(job)]
    return sorted(wanted, key=lambda job: _process_died(rows[job.key], folder))


def _process_died(row: SweepRow, folder: Path) -> bool:
    """Whether a run that nobody holds is still recorded as running; one that was stopped says so."""
    return row["status"] == "interrupted" and read_json(folder / row["run"] / RECORD)["status"] == "running"
