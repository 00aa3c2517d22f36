"""The wrapper around Hydra's entry that every command shares.

It checks the command line before any job starts (each override singly, then each job of a sweep as a whole), words
Hydra's errors as ours, and ends with the exit status of the contract: 0 done, 1 some jobs failed, 2 bad input,
3 interrupted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel

from leukemia_lab.config import Composer, checked, conf_dir, faults_error
from leukemia_lab.errors import ConfigError, InterruptedRunError, LeukemiaLabError
from leukemia_lab.overrides import all_swept, options_first, single_overrides
from leukemia_lab.progress import CONSOLE
from leukemia_lab.runs.record import made_folder
from leukemia_lab.sweeps import record_job, report_sweep

Settings = TypeVar("Settings", bound=BaseModel)
RUNS_DIR = Path("runs")
DONE, SOME_FAILED, BAD_INPUT = 0, 1, 2


@dataclass(frozen=True)
class Place:
    """Where a job puts its run folder: exactly at `folder`, or under `parent` by the run's own name.

    `overrides` are the words of the command line that this job's config comes from, one value each; None where
    no command line was given.
    """

    parent: Path
    folder: Path | None
    in_sweep: bool
    overrides: tuple[str, ...] | None = None


@dataclass(frozen=True)
class JobResult:
    """What a job returns: its run folder and the objective that a search maximises."""

    folder: Path
    objective: float | None


@dataclass(frozen=True)
class Command(Generic[Settings]):
    """A command: its primary config, its settings' schema, what one job does.

    `build_faults` finds what only building shows; `sweep_identity` names a sweep's folder by its jobs, and is None
    where the command takes one run at a time.
    """

    name: str
    settings: type[Settings]
    job: Callable[[Settings, Place], JobResult]
    build_faults: Callable[[Settings], list[str]]
    sweep_identity: Callable[[list[Settings]], str] | None


def run_command(command: Command[Any], argv: Sequence[str]) -> int:
    """Run `command` with the overrides and Hydra options in `argv`; returns the exit status."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network at import
    try:
        with terminable():
            return _run(command, options_first(argv))
    except KeyboardInterrupt:
        return report_error(InterruptedRunError("Interrupted. The same command resumes."))
    except BrokenPipeError:  # the reader of a pipe, `| head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        return report_error(error)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM, which batch systems send, end the command as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def report_error(error: Exception) -> int:
    """Print `error` as a user should see it; returns the exit status."""
    if os.environ.get("LEUKEMIA_LAB_DEBUG") == "1":
        traceback.print_exception(error)
    CONSOLE.print(error_text(error), style="bold red", markup=False)
    return error.exit_status if isinstance(error, LeukemiaLabError) else SOME_FAILED


def error_text(error: Exception) -> str:
    """`SplitError: …` for our own errors; an unexpected one says so and how to see its traceback."""
    name = type(error).__name__
    if isinstance(error, InterruptedRunError):
        return f"\n{error}"
    if isinstance(error, LeukemiaLabError):
        return f"{name}: {error}"
    return f"Unexpected {name}: {error}\nThis is a fault of leukemia_lab. LEUKEMIA_LAB_DEBUG=1 shows the traceback."


def _run(command: Command[Any], argv: list[str]) -> int:
    args = get_args(argv)
    if args.help or args.hydra_help or args.shell_completion or args.info is not None:
        return _enter_hydra(command, argv, _no_job)
    if args.config_name is not None or args.config_path is not None:
        raise ConfigError(
            "--config-name and --config-path are not taken: put your own YAML under --config-dir"
        )
    composer = Composer(command.name, command.settings, args.config_dir)
    configs = _job_configs(composer, args.overrides, args.multirun)
    faults = [fault for config in configs for fault in composer.settings_faults(config)]
    if faults:
        raise faults_error(faults)
    if args.cfg is not None:
        return _enter_hydra(command, argv, _no_job)
    jobs = [checked(command.settings, config) for config in configs]
    faults = [fault for job in jobs for fault in command.build_faults(job)]
    if faults:
        raise faults_error(faults)
    _make_folder(configs[0], args.multirun)
    if args.multirun:
        return _sweep(command, argv, jobs, Path(configs[0].hydra.sweep.dir))
    return _single(command, argv)


def _job_words(config_dir: str | None) -> tuple[str, ...]:
    """What to type for the job that Hydra runs now: its overrides, and the user's own folder of configs."""
    own_configs = () if config_dir is None else (f"--config-dir={config_dir}",)
    return (*own_configs, *HydraConfig.get().overrides.task)


def _make_folder(config: DictConfig, multirun: bool) -> None:
    """Make the folder that the user gave, before Hydra does and fails in its own words."""
    node, key = (config.hydra.sweep, "hydra.sweep.dir") if multirun else (config.hydra.run, "hydra.run.dir")
    made_folder(Path(node.dir), key)


def _job_configs(composer: Composer, overrides: Sequence[str], multirun: bool) -> list[DictConfig]:
    """The config of each job; ConfigError with the faults of all overrides where one cannot be composed."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        sweeps = [override for override in parsed if override.is_sweep_override()]
        if sweeps and not multirun:
            names = ", ".join(str(override.input_line) for override in sweeps)
            raise ConfigError(f"{names}: several values make a sweep: add -m, or give one value")
        return [composer.compose(job) for job in BasicSweeper.split_arguments(parsed, None)[0]]
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        singles = single_overrides(overrides)
        faults = composer.override_faults(singles)
        usable = [text for text in singles if not composer.override_faults([text])]
        # the faults of the single overrides say enough where what is left cannot be composed either
        with contextlib.suppress(HydraException, OmegaConfBaseException):
            faults += composer.settings_faults(composer.compose(usable))
        raise faults_error(faults if faults else [str(error).strip()]) from error


def _enter_hydra(command: Command[Any], argv: Sequence[str], task: Callable[[DictConfig], Any]) -> int:
    """Give the command line to Hydra; its own sys.exit becomes our status."""
    sys.argv = [f"leukemia-lab {command.name}", *argv]
    try:
        hydra.main(config_path=str(conf_dir()), config_name=command.name, version_base="1.3")(task)()
    except SystemExit as leaving:
        return BAD_INPUT if leaving.code not in (0, None) else DONE
    return DONE


def _no_job(_: DictConfig) -> None:
    raise LeukemiaLabError("this call was to print only")


def _single(command: Command[Any], argv: Sequence[str]) -> int:
    statuses: list[int] = []

    def task(config: DictConfig) -> None:
        given = Path(HydraConfig.get().run.dir)
        words = _job_words(get_args(argv).config_dir)
        place = Place(RUNS_DIR, None if given == Path() else given, in_sweep=False, overrides=words)
        try:
            command.job(checked(command.settings, config), place)
            statuses.append(DONE)
        except KeyboardInterrupt:
            statuses.append(report_error(InterruptedRunError("Interrupted. The same command resumes.")))
        except Exception as error:
            statuses.append(report_error(error))

    left = _enter_hydra(command, argv, task)
    return statuses[0] if statuses else left


def _sweep(command: Command[Any], argv: list[str], jobs: list[Any], folder: Path) -> int:
    if command.sweep_identity is None:
        raise ConfigError(f"{command.name} takes one run at a time: leave -m out")
    if folder == Path():
        folder = RUNS_DIR / f"sweep-{command.sweep_identity(jobs)}"
        argv = [*argv, f"hydra.sweep.dir={folder}"]
    n_jobs = len(jobs)
    CONSOLE.print(f"sweep of {n_jobs} runs in {folder}")
    job_files: list[Path] = []

    def task(config: DictConfig) -> float | None:
        job_overrides = list(HydraConfig.get().overrides.task)
        place = Place(folder, None, in_sweep=True, overrides=_job_words(get_args(argv).config_dir))
        CONSOLE.print(f"\nrun {len(job_files) + 1} of {n_jobs}: {' '.join(job_overrides)}", markup=False)
        result, failure = None, None
        try:
            result = command.job(checked(command.settings, config), place)
        except InterruptedRunError as error:
            raise KeyboardInterrupt from error
        except Exception as error:
            failure = error
            report_error(error)
        job_files.append(
            record_job(
                folder,
                job_overrides,
                model=str(config.model.name),
                protocol=str(config.protocol.name),
                run=None if result is None else result.folder,
                error=None if failure is None else error_text(failure).splitlines()[0],
            )
        )
        return None if result is None else result.objective

    status = _enter_hydra(command, all_swept(argv), task)
    all_done = report_sweep(folder, job_files)
    return status if status != DONE else (DONE if all_done else SOME_FAILED)
