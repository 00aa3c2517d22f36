"""A PostgreSQL of a test's own, on a free port of the loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = "searcher"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def postgres_bin() -> Path | None:
    """The folder of initdb and pg_ctl: on the PATH, or where Debian puts the newest."""
    on_path = shutil.which("initdb")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return Path(on_path).parent if on_path is not None else found[-1].parent if found else None


@contextmanager
def running_postgres() -> Iterator[str]:
    """Start a server with its files in a folder of their own; yields the URL of its database, and stops it."""
    programs = postgres_bin()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: no initdb on the PATH or in /usr/lib/postgresql/*/bin")
    as_owner: list[str] = []
    folder = Path(
        tempfile.mkdtemp(prefix="leukemia-lab-postgres-")
    )  # pytest's folders are closed to other users
    if os.getuid() == 0:  # which PostgreSQL refuses
        if (
            shutil.which("runuser") is None
            or subprocess.run(["id", "postgres"], capture_output=True).returncode
        ):
            pytest.skip("PostgreSQL does not run as root, and there is no runuser or no user postgres")
        as_owner = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
    port, data = free_port(), folder / "data"

    def call(*words: str, check: bool = True) -> None:
        subprocess.run([*as_owner, *words], check=check, cwd=folder, stdout=subprocess.DEVNULL, timeout=120)

    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
    try:
        call(str(programs / "initdb"), "-D", str(data), "-U", USER, "-A", "trust", "-N")
        call(
            str(programs / "pg_ctl"), "-D", str(data), "-l", str(folder / "log"), "-o", options, "-w", "start"
        )
        yield f"postgresql+psycopg2://{USER}:unused@127.0.0.1:{port}/postgres"
    finally:  # also where it did not come up in time
        call(str(programs / "pg_ctl"), "-D", str(data), "-m", "immediate", "-w", "stop", check=False)
        shutil.rmtree(folder)
