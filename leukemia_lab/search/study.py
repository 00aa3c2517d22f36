"""The jobs of a search: trials of an Optuna study, which several processes and machines may work on at once.

The study in its storage says which trials there are. In the sweep's folder each running trial is held by a lease, so
that the trial of a process that was killed goes on elsewhere, with the same number and parameters.
"""

from __future__ import annotations

import platform
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from filelock import FileLock

from leukemia_lab.errors import HeldRunError, LeukemiaLabError, error_text
from leukemia_lab.hashing import content_hash
from leukemia_lab.progress import CONSOLE
from leukemia_lab.runs import record
from leukemia_lab.runs.deaths import readmitted
from leukemia_lab.runs.lease import EXPIRED_SECONDS, Lease, holder_of, take
from leukemia_lab.schema import TrainSettings
from leukemia_lab.schema.sweep import Search
from leukemia_lab.search.definition import planned_trials, study_definition
from leukemia_lab.search.opening import open_study
from leukemia_lab.search.outcome import objective_values
from leukemia_lab.search.space import SearchSpace, suggested
from leukemia_lab.search.storage import optuna, persistently, storage_address, without_password
from leukemia_lab.sweeping.engine import Later
from leukemia_lab.sweeping.job import Job, JobEnd, TrialAddress
from leukemia_lab.targets import build

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

TRIALS = "trials"  # folder of the leases
# user attributes of a trial
FOLDER, OVERRIDES, RUN, ERROR, RETRIES = "folder", "overrides", "run", "error", "retries"
# the job of a trial's overrides; LeukemiaLabError where these are bad
JobMaker = Callable[[Sequence[str], TrialAddress], Job]


class StudySource:
    """Gives out the trials of a study until there are `search.n_trials`; a context, which lets go of its trials.

    Trials that failed count within one command. With `retry_failed` the next command tries them once more: then the
    new trial counts in the place of the old one, which it names in its attribute `retries`.
    """

    def __init__(
        self,
        search: Search,
        space: SearchSpace,
        samples: Sequence[TrainSettings],
        sweep: Path,
        make_job: JobMaker,
        *,
        retry_failed: bool,
    ) -> None:
        """`samples` are the settings of `space.samples()`, `sweep` is the sweep's folder.

        Raises:
            ConfigError: the storage cannot be used, or its study has another definition.
        """
        self._search, self._space, self._sweep, self._make_job = search, space, sweep, make_job
        self._n_trials = planned_trials(search, space)
        self._leases: dict[int, Lease] = {}
        self._held: dict[int, JobEnd] = {}
        self._definition = study_definition(search, space, samples)
        self.storage = storage_address(search.storage, sweep)
        self.name = search.study if search.study is not None else f"study-{content_hash(self._definition)}"
        with self._alone():
            self._study = open_study(search, self.name, self._definition, self.storage)
            self._folder = self._own_folder()
            if retry_failed:
                self._enqueue_failed()
        CONSOLE.print(f"study {self.name} in {without_password(self.storage)}", markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lease in self._leases.values():
            lease.release()
        self._leases.clear()

    def next(self) -> Job | Later | None:
        """A trial whose process is gone, a new one, or none; those without a usable config are told and passed over."""
        for number, end in self._held.items():
            if end.run is None or holder_of(end.run) is None:
                return self._held.pop(number).job
        while True:
            with self._alone():
                claimed = self._claimed()
            if claimed is None:
                return Later.LATER if self._held or self._others_running() else None
            job = self._job_of(*claimed)
            if job is not None:
                return job

    def ended(self, end: JobEnd) -> None:
        """Tell the study how a trial ended."""
        assert end.job.trial is not None
        number = end.job.trial.number
        if end.status == "held":
            CONSOLE.print(f"{end.error}; trial {number} waits for it", markup=False)
            self._held[number] = end
            return
        if end.status == "interrupted":  # goes on with the next command
            self._leases.pop(number).release()
            return
        if end.run is not None:
            self._note(number, RUN, str(end.run))
        if end.status == "finished":
            self._tell_finished(number, end)
        elif end.status == "pruned":
            self._tell(number, "PRUNED")
        else:
            self._tell_failed(number, str(end.error))

    def failures(self) -> list[str]:
        """The failed trials of this folder that were not tried again: their overrides, errors and run folders."""
        failed = [
            trial.user_attrs | {"trial": trial.number}
            for trial in self._counting()
            if trial.state.name == "FAIL"
        ]
        return [
            f"trial {about['trial']}: {' '.join(about.get(OVERRIDES, []))}: {about.get(ERROR)} "
            f"({about.get(RUN, 'no run folder')})"
            for about in failed
            if about.get(FOLDER) == self._folder
        ]

    def _own_folder(self) -> str:
        """A name for the sweep's folder that is the same for every machine that shares it, and for no other."""
        file = self._sweep / TRIALS / "folder.txt"
        if not file.exists():
            record.write_atomically(file, f"{platform.node()}:{self._sweep.resolve()} {uuid.uuid4().hex}")
        return file.read_text(encoding="utf-8")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the study against the other processes of this sweep's folder."""
        (self._sweep / TRIALS).mkdir(parents=True, exist_ok=True)
        with FileLock(self._sweep / TRIALS / ".lock"):
            yield

    def _trials(self) -> list[FrozenTrial]:
        """All trials, by number."""
        return persistently(lambda: self._study.get_trials(deepcopy=False))

    def _counting(self) -> list[FrozenTrial]:
        """The trials that were not tried again by a later one."""
        trials = self._trials()
        again = {trial.user_attrs.get(RETRIES) for trial in trials}
        return [trial for trial in trials if trial.number not in again]

    def _enqueue_failed(self) -> None:
        """Have failed trials tried again; those that ended their process once the others are done."""
        trials = self._counting()
        ended = len(trials) >= self._n_trials and all(trial.state.is_finished() for trial in trials)
        for trial in trials:
            run = self._sweep / Path(trial.user_attrs.get(RUN, "")).name
            if trial.state.name == "FAIL" and readmitted(run, all_ended=ended):
                self._study.enqueue_trial(trial.params, user_attrs={RETRIES: trial.number})

    def _claimed(self) -> tuple[int, dict[str, Any]] | None:
        """A trial that is now this process's, and its parameters: an abandoned one, one that waits, a new one."""
        trials = self._counting()
        for trial in trials:
            if self._runs_here(trial) and self._take(trial.number):
                if self._runs_here(now := self._trials()[trial.number]):
                    return trial.number, self._params_of(now)
                self._leases.pop(trial.number).release()  # it ended since we looked
        waiting = any(trial.state.name == "WAITING" for trial in trials)
        if not waiting and len(trials) >= self._n_trials:
            return None
        self._seed(len(self._trials()))
        asked = persistently(lambda: self._study.ask(self._space.distributions))
        self._take(asked.number)
        self._note(asked.number, FOLDER, self._folder)
        return asked.number, asked.params

    def _runs_here(self, trial: FrozenTrial) -> bool:
        """Whether a trial is running in this folder, or was killed before it could say where."""
        folder = trial.user_attrs.get(FOLDER)
        started = trial.datetime_start
        if trial.state.name != "RUNNING" or (folder is None and started is None):
            return False
        if folder is None:
            assert started is not None
            return (datetime.now() - started).total_seconds() > EXPIRED_SECONDS
        return bool(folder == self._folder)

    def _params_of(self, trial: FrozenTrial) -> dict[str, Any]:
        """The parameters of a trial that is taken over, proposed now where it was killed before they were."""
        distributions = self._space.distributions
        if trial.params.keys() >= distributions.keys():
            return trial.params
        self._seed(trial.number)
        asking = optuna().trial.Trial(self._study, trial._trial_id)
        return {key: suggested(asking, key, found) for key, found in distributions.items()}

    def _take(self, number: int) -> bool:
        if number in self._leases:
            return False
        folder = self._sweep / TRIALS / f"{content_hash({'study': self.name})}-{number}"
        folder.mkdir(exist_ok=True)
        try:
            self._leases[number] = take(folder)
        except HeldRunError:
            return False
        return True

    def _seed(self, number: int) -> None:
        """A sampler whose proposals for trial `number` depend on it and the search's seed, not on who asks when."""
        seed = int(np.random.SeedSequence([self._search.seed, number]).generate_state(1)[0])
        self._study.sampler = build(self._search.sampler, seed=seed)

    def _job_of(self, number: int, params: dict[str, Any]) -> Job | None:
        """The job of a claimed trial; None where its values cannot be used, which the study is told."""
        words = self._space.words(params)
        shown = [without_password(word) for word in words]
        self._note(number, OVERRIDES, shown)
        try:
            return self._make_job(words, TrialAddress(self.storage, self.name, number))
        except LeukemiaLabError as error:
            CONSOLE.print(f"trial {number} ({' '.join(shown)}): {error_text(error)}", markup=False)
            self._tell_failed(number, error_text(error).splitlines()[0])
            return None

    def _others_running(self) -> bool:
        """Whether trials run in other processes of this folder."""
        running = [trial for trial in self._counting() if trial.state.name == "RUNNING"]
        others = [trial for trial in running if trial.user_attrs.get(FOLDER, self._folder) == self._folder]
        return any(trial.number not in self._leases for trial in others)

    def _tell_finished(self, number: int, end: JobEnd) -> None:
        assert end.run is not None
        try:
            values = objective_values(end.run, self._search.objectives)
        except LeukemiaLabError as error:
            CONSOLE.print(f"trial {number}: {error_text(error)}", markup=False)
            self._tell_failed(number, error_text(error).splitlines()[0])
            return
        self._tell(number, "COMPLETE", values)

    def _tell_failed(self, number: int, error: str) -> None:
        self._note(number, ERROR, error)
        self._tell(number, "FAIL")

    def _tell(self, number: int, state: str, values: list[float] | None = None) -> None:
        library = optuna()
        self._study.sampler = (
            library.samplers.RandomSampler()
        )  # others may stop what is no optimisation of ours
        ended = library.trial.TrialState[state]
        persistently(lambda: self._study.tell(number, values, ended, skip_if_finished=True))
        self._leases.pop(number).release()

    def _note(self, number: int, key: str, value: Any) -> None:
        """Set a user attribute of a trial, which optuna-dashboard shows."""
        persistently(
            lambda: self._study._storage.set_trial_user_attr(self._trials()[number]._trial_id, key, value)
        )
