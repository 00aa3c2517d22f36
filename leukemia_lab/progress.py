"""Progress of long work: a Rich bar on a terminal, plain lines elsewhere, always with a rate and an end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

CONSOLE = Console(stderr=True, soft_wrap=True, highlight=False)  # progress, notes, errors
PLAIN_WIDTH = 140  # columns of a table that goes to a file or a pipe
PLAIN_LINE_SECONDS = 10.0


def _results() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


RESULTS = _results()  # what a command is asked for, on standard output


def rate_text(count: float, seconds: float, unit: str) -> str:
    """`count` units in `seconds` as a readable rate, e.g. `342 cells/s`."""
    return f"{count / max(seconds, 1e-9):,.0f} {unit}/s"


@contextmanager
def progress(description: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Yield `advance(n)`; shows `description`, `n/total`, the rate in `unit`/s and the time left."""
    started = time.monotonic()
    done = 0
    if CONSOLE.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=CONSOLE, transient=True) as bar:
            task = bar.add_task(description, total=total, rate="")

            def advance(n: int) -> None:
                nonlocal done
                done += n
                bar.update(task, advance=n, rate=rate_text(done, time.monotonic() - started, unit))

            yield advance
    else:
        last_line = started

        def advance(n: int) -> None:
            nonlocal done, last_line
            done += n
            now = time.monotonic()
            if now - last_line >= PLAIN_LINE_SECONDS and done < total:
                last_line = now
                left = (total - done) * (now - started) / done
                rate = rate_text(done, now - started, unit)
                CONSOLE.print(f"{description}: {done}/{total}, {rate}, {left:.0f} s left")

        yield advance
    seconds = time.monotonic() - started
    CONSOLE.print(f"{description}: {done} {unit} in {seconds:.1f} s ({rate_text(done, seconds, unit)})")
