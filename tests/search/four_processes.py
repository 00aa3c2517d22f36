"""One of several processes that work on a search: `python -m tests.search.four_processes FOLDER WORD...`.

Its runs draw no figures, which would take most of their time.
"""

import sys
from pathlib import Path

from leukemia_lab import net_runs, training
from tests.search.small_searches import run_search


def draw_nothing(*_: object) -> None:
    """In the place of what draws figures."""


if __name__ == "__main__":
    training.explain = training.log_part = net_runs._log_pictures = draw_nothing
    for end in run_search(Path(sys.argv[1]), *sys.argv[2:]):
        assert end.job.trial is not None
        print("ended", end.job.trial.number, end.status, end.error, flush=True)
