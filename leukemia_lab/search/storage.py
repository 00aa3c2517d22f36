"""Optuna and its storages: a journal file, or a database by URL; connections that survive short failures."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from leukemia_lab.errors import ConfigError, InterruptedRunError, LeukemiaLabError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

Result = TypeVar("Result")
PAUSES_SECONDS = (0.5, 2.0, 5.0)  # between the attempts to reach a storage
JOURNAL = "study.log"  # the storage of a sweep that was given none
DATABASE_WAIT_SECONDS = 60  # for SQLite's one writer


def optuna() -> ModuleType:
    """The library, its own messages silenced; ConfigError where it is not installed."""
    try:
        import optuna as library
    except ImportError as error:
        raise ConfigError(
            f"search needs Optuna, which cannot be imported ({error}): pip install 'leukemia-lab[search]'"
        ) from error
    library.logging.set_verbosity(library.logging.ERROR)
    warnings.filterwarnings("ignore", category=library.exceptions.ExperimentalWarning)
    return library


def storage_address(given: str | None, sweep: Path) -> str:
    """`search.storage` as any process can use it: paths absolute, null the journal file in the sweep's folder."""
    if given is None:
        return str((sweep / JOURNAL).resolve())
    sqlite = re.fullmatch(r"(sqlite(?:\+\w+)?:///)(?!/)(.+)", given)
    if sqlite is not None:
        return sqlite[1] + str(Path(sqlite[2]).resolve())
    return given if "://" in given else str(Path(given).expanduser().resolve())


def without_password(address: str) -> str:
    """`address` as it may be shown and written down."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", address)


def open_storage(address: str) -> BaseStorage:
    """The storage at `address`, made where it is new.

    Raises:
        ConfigError: it cannot be opened, or a package that it needs is missing.
    """
    storages = optuna().storages
    try:
        if "://" not in address:
            Path(address).parent.mkdir(parents=True, exist_ok=True)
            journal = optuna().storages.journal
            in_file: BaseStorage = storages.JournalStorage(journal.JournalFileBackend(address))
            return in_file
        connect = {"timeout": DATABASE_WAIT_SECONDS} if address.startswith("sqlite") else {}
        arguments = {"pool_pre_ping": True, "connect_args": connect}
        in_database: BaseStorage = storages.RDBStorage(address, engine_kwargs=arguments)
        return in_database
    except Exception as error:  # SQLAlchemy, its drivers and the file system each have their own
        raise ConfigError(
            f"search.storage={without_password(address)} cannot be opened: {type(error).__name__}: "
            f"{_first_line(error)}. Give a path ending in .log, or a URL such as sqlite:///study.db or "
            "postgresql://user@host/name"
        ) from error


def persistently(work: Callable[[], Result]) -> Result:
    """The result of `work`, tried again after pauses where it raises: a database may be away for a moment.

    Raises:
        InterruptedRunError: the last attempt failed too.
    """
    for pause in PAUSES_SECONDS:
        try:
            return work()
        except Exception:
            time.sleep(pause)
    try:
        return work()
    except LeukemiaLabError:
        raise
    except Exception as error:  # SQLAlchemy, its drivers and the file system each have their own
        raise InterruptedRunError(
            f"no use of the study ({type(error).__name__}: {_first_line(error)}). When its storage is there again, "
            "the same command goes on"
        ) from error


def _first_line(error: Exception) -> str:
    lines = without_password(str(error)).strip().splitlines()
    return lines[0] if lines else "no reason given"
