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
from hydra._internal.utils import get_args
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pydantic import BaseModel

from leukemia_lab.config import Composer, checked, conf_dir, faults_error
from leukemia_lab.errors import ConfigError, InterruptedRunError, LeukemiaLabError, error_text
from leukemia_lab.multirun import Multirun, is_multirun, multirun, run_words, single_run
from leukemia_lab.overrides import options_first
from leukemia_lab.progress import CONSOLE

Settings = TypeVar("Settings", bound=BaseModel)
DONE, SOME_FAILED, BAD_INPUT = 0, 1, 2


@dataclass(frozen=True)
class Place:
    """Where a job puts its run folder: exactly at `folder`, or under runs/ by the run's own name.

    `overrides` are the words of the command line that this job's config comes from; None where none was given.
    """

    folder: Path | None
    overrides: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Command(Generic[Settings]):
    """A command: its primary config, its settings' schema, what one job does.

    `build_faults` finds what only building shows; `sweep` carries out a multirun and returns the exit status, and is
    None where the command takes one run at a time.
    """

    name: str
    settings: type[Settings]
    job: Callable[[Settings, Place], None]
    build_faults: Callable[[Settings], list[str]]
    sweep: Callable[[Multirun[Settings]], int] | None = None


def run_command(command: Command[Any], argv: Sequence[str]) -> int:
    """Run `command` with the overrides and Hydra options in `argv`; returns the exit status."""
    return guarded(lambda: _run(command, options_first(argv)))


def guarded(work: Callable[[], int]) -> int:
    """The exit status of `work`; its errors are printed as a user should see them, SIGTERM ends it as Ctrl-C does."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network at import
    try:
        with terminable():
            return work()
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


def _run(command: Command[Any], argv: list[str]) -> int:
    args = get_args(argv)
    if args.help or args.hydra_help or args.shell_completion or args.info is not None:
        return _enter_hydra(command, argv, _no_job)
    if args.config_name is not None or args.config_path is not None:
        raise ConfigError(
            "--config-name and --config-path are not taken: put your own YAML under --config-dir"
        )
    composer = Composer(command.name, command.settings, args.config_dir)
    if is_multirun(composer, args.overrides, args.multirun):
        return _sweep(command, composer, argv)
    settings = single_run(composer, args.overrides)
    if args.cfg is not None:
        return _enter_hydra(command, argv, _no_job)
    _require_buildable(command, [settings])
    return _single(command, argv)


def _sweep(command: Command[Any], composer: Composer[Any], argv: Sequence[str]) -> int:
    """Carry out a multirun without Hydra, which would compose each job anew wherever it runs."""
    args = get_args(argv)
    if command.sweep is None:
        raise ConfigError(f"{command.name} takes one run at a time: leave -m out")
    found = multirun(composer, args.overrides, args.config_dir)
    if args.cfg is not None:
        return _enter_hydra(command, argv, _no_job)
    _require_buildable(command, [settings for _, settings in found.jobs])
    return command.sweep(found)


def _require_buildable(command: Command[Any], jobs: Sequence[Any]) -> None:
    faults = [fault for job in jobs for fault in command.build_faults(job)]
    if faults:
        raise faults_error(faults)


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
        words = run_words(HydraConfig.get().overrides.task, get_args(argv).config_dir)
        try:
            command.job(checked(command.settings, config), Place(None if given == Path() else given, words))
            statuses.append(DONE)
        except KeyboardInterrupt:
            statuses.append(report_error(InterruptedRunError("Interrupted. The same command resumes.")))
        except Exception as error:
            statuses.append(report_error(error))

    left = _enter_hydra(command, argv, task)
    return statuses[0] if statuses else left
