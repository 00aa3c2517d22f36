"""All shipped studies and one page of their results: `python -m leukemia_lab.reproduce`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from leukemia_lab.command import DONE, SOME_FAILED, guarded
from leukemia_lab.errors import ConfigError
from leukemia_lab.studies.words import BUDGET, parsed

STUDIES, OUTPUT, CHECK = "studies", "output", "check"
USAGE = """Carry out all shipped studies and write one page of their results, with figures.

  python -m leukemia_lab.reproduce                                  # synthetic data, minutes on two cores
  python -m leukemia_lab.reproduce data=cnmc data.root=/data/C-NMC study.budget=full

Keys:

  study.budget   smoke (tries that it works, the figures mean nothing) | cpu (the default) | full (a GPU)
  studies        {studies}; all unless given: studies=vgg13_paper,challenge
  output         folder of results.md and of its figures; results unless given
  check          true: leave the page as it is and compare it with what the studies give; exit status 1 where they
                 differ

Every key of leukemia_lab.train may follow (data=, launcher=, trainer.). The same command again goes on where it was cut
off.
"""


def carry_out(argv: Sequence[str]) -> int:
    """Carry out the studies one after the other; the exit status says whether all runs ended well."""
    words = parsed(argv, (BUDGET, STUDIES, OUTPUT, CHECK))
    check = words.own.get(CHECK, "false")
    if check not in ("true", "false"):
        raise ConfigError(f"check: {check!r} cannot be used; allowed: true, false")
    budget = words.budget
    from leukemia_lab.studies.results_page import reproduce  # imports torch

    names = words.own.get(STUDIES)
    chosen = None if names is None else [name for name in names.strip("[]").split(",") if name]
    output = Path(words.own.get(OUTPUT, "results"))
    well = reproduce(chosen, budget, output, words, check_only=check == "true")
    return DONE if well else SOME_FAILED


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if any(word in ("--help", "-h") for word in words):
        from leukemia_lab.studies.definition import REPRODUCED

        print(USAGE.format(studies=",".join(REPRODUCED)))
        return DONE
    return guarded(lambda: carry_out(words))


if __name__ == "__main__":
    sys.exit(main())
