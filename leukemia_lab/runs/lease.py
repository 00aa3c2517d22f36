"""Who works on a run: a lease with a heartbeat, for run folders that one machine has or several share (NFS too).

`.lease/<n>.json` names the n-th process that took the run; the highest n counts. To take a run that nobody holds is to
create the next number, which the file system grants to one. A number is never given anew while a higher one is there,
so that who acts on an old view notices afterwards. Ages are differences of times that the file server gave, so the
clocks of the machines may differ.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from leukemia_lab.atomic import replacing
from leukemia_lab.errors import HeldRunError, LostRunError

FOLDER = ".lease"
HEARTBEAT_SECONDS = 15.0
EXPIRED_SECONDS = 120.0  # several heartbeats, and the 60 s that an NFS client may believe old times of a file
STATE, STARTED = 0, 19  # in /proc/<pid>/stat behind the name: proc(5), fields 3 and 22
ENDED = ("Z", "X")  # states of a process that only waits for its parent to notice


@dataclass(frozen=True)
class Holder:
    """Who holds a run, since when (ISO 8601 by its own clock), and the seconds since its last sign of life.

    `host`, `pid` and `since` are None of a process that has not yet written them.
    """

    host: str | None
    pid: int | None
    since: str | None
    silent_seconds: float

    def __str__(self) -> str:
        who = "a new one" if self.host is None else f"process {self.pid} on {self.host}, since {self.since}"
        return f"{who}, last sign of life {self.silent_seconds:.0f} s ago"


@dataclass(frozen=True)
class Claim:
    """That a process took a run, by which others that work for it can look whether it still has it."""

    file: Path
    token: str

    def stands(self) -> bool:
        """Whether nobody has taken the run since."""
        return _read(self.file).get("token") == self.token and _highest(self.file.parent) == _number(
            self.file
        )

    def check(self) -> None:
        """Raise LostRunError where another process has the run now."""
        if not self.stands():
            raise self.lost()

    def lost(self) -> LostRunError:
        """The error of who works on although another process has the run."""
        return LostRunError(
            f"{self.file.parent.parent}: another process took this run over, as this one gave no sign of life "
            f"for {EXPIRED_SECONDS:.0f} s or the folder was removed. Nothing more is written here; the same "
            "command shows what came of the run, or resumes it"
        )


class Lease:
    """The right of this process to write to a run folder, until `release`; a thread renews it.

    A forked child has the object but not the right. Use `take` to get one. `after_death` says whether the process
    that had it before ended without releasing it.
    """

    def __init__(self, file: Path, content: dict[str, Any], *, after_death: bool) -> None:
        self.lost = False  # whether another process was seen to have taken over
        self.after_death = after_death
        self.claim = Claim(file, content["token"])
        self._file, self._content = file, content
        self._over = threading.Event()
        threading.Thread(target=self._renew, name=f"lease of {file.parent.parent}", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def check(self) -> None:
        """Look whether the lease is still this process's; LostRunError where it is not."""
        if not self._is_mine():
            raise self.claim.lost()

    def release(self) -> None:
        """Let others have the run."""
        self._over.set()
        with contextlib.suppress(OSError):  # the disk is full or away: the lease ends with this process
            if self._is_mine():
                with replacing(self._file) as partial:
                    partial.write_text(json.dumps(self._content | {"released": True}), encoding="utf-8")

    def _is_mine(self) -> bool:
        if self._content["pid"] != os.getpid():
            return False
        if not self.lost:
            self.lost = not self.claim.stands()
        return not self.lost

    def _renew(self) -> None:
        while not self._over.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):  # the file server is away: again next time
                if not self._is_mine():
                    return
                os.utime(self._file)  # without a time: the file server's


def take(folder: Path) -> Lease:
    """Take the run at `folder`, which exists; HeldRunError where a process that lives holds it."""
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    highest = _highest(place)
    holder = _holder(place / f"{highest}.json")
    if holder is not None:
        raise _held(folder, holder)
    before = _read(place / f"{highest}.json")
    file, content = place / f"{highest + 1}.json", _about_this_process()
    try:
        # not a link to a file that is written before: some file systems have none, and a torn file is judged by age
        opened = file.open("x", encoding="utf-8")
    except FileExistsError:
        raise _held(folder, _holder(file)) from None
    try:
        with opened:
            opened.write(json.dumps(content))
    except OSError:  # the disk is full: others need not wait until this file is old
        file.unlink(missing_ok=True)
        raise
    if (highest := _highest(place)) != _number(file):  # others took it and left it since we looked
        file.unlink(missing_ok=True)
        raise _held(folder, _holder(place / f"{highest}.json"))
    for number in range(1, highest):
        (place / f"{number}.json").unlink(missing_ok=True)
    return Lease(file, content, after_death=bool(before) and not before.get("released"))


def holder_of(folder: Path) -> Holder | None:
    """Who holds the run at `folder` and lives, as far as can be seen from here; None where nobody does."""
    place = folder / FOLDER
    return _holder(place / f"{_highest(place)}.json")


def _held(folder: Path, holder: Holder | None) -> HeldRunError:
    who = "it took the run just now" if holder is None else str(holder)
    return HeldRunError(
        f"{folder}: another process is at work on this run ({who}); wait for it, or stop it. A process on another "
        f"machine counts as gone {EXPIRED_SECONDS:.0f} s after its last sign of life"
    )


def _number(file: Path) -> int:
    return int(file.stem)


def _highest(place: Path) -> int:
    """The number that counts; 0 where there is none. One small listing, which file systems give in one piece."""
    try:
        files = [file for file in place.iterdir() if file.suffix == ".json" and file.stem.isdecimal()]
    except FileNotFoundError:
        return 0
    return max(map(_number, files), default=0)


def _read(file: Path) -> dict[str, Any]:
    """What a lease says; nothing where it is removed, or torn."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _holder(file: Path) -> Holder | None:
    """Who holds a run by this file, if anyone."""
    content = _read(file)
    try:
        renewed = file.stat().st_mtime
    except FileNotFoundError:
        return None
    if content.get("released"):
        return None
    alive = _is_alive(content)
    silent = max(0.0, _server_time(file.parent) - renewed)
    if alive is False or (alive is None and silent > EXPIRED_SECONDS):
        return None
    return Holder(content.get("host"), content.get("pid"), content.get("taken"), silent)


def _server_time(place: Path) -> float:
    """The time by the clock that dates the files of this folder; this machine's where we may not write to it."""
    try:
        with tempfile.TemporaryFile(dir=place) as probe:
            return os.fstat(probe.fileno()).st_mtime
    except OSError:
        return time.time()


def _about_this_process() -> dict[str, Any]:
    stat = _process_stat(os.getpid())
    return {
        "host": platform.node(),
        "machine": _machine(),
        "pid": os.getpid(),
        "started": None if stat is None else stat[STARTED],
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "token": uuid.uuid4().hex,
    }


def _machine() -> str:
    """What tells where process numbers are comparable: this boot and container, else the network card."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux; a card that cannot be read counts as a new one each time, which is safe
        return f"{uuid.getnode():012x}"


def _is_alive(content: dict[str, Any]) -> bool | None:
    """Whether the process that a lease names lives; None where only its heartbeat can tell."""
    here = (content.get("host"), content.get("machine")) == (platform.node(), _machine())
    if not here or os.name == "nt":  # there os.kill would end the process
        return None
    try:
        os.kill(content["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # there, and another user's
        pass
    stat = _process_stat(content["pid"])
    if stat is None or content["started"] is None:
        return None
    return stat[STATE] not in ENDED and stat[STARTED] == content["started"]


def _process_stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat behind the process's name; None where they cannot be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
