"""A paper's table beside ours, or a question of many runs: `python -m leukemia_lab.study study=vgg13_paper`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from leukemia_lab.command import DONE, SOME_FAILED, guarded
from leukemia_lab.errors import ConfigError
from leukemia_lab.studies.words import BUDGET, parsed

STUDY, FOLDER, DRY = "study", "study.folder", "study.dry"
USAGE = """Train all runs of a study, evaluate them, write its table: claims, ours, intervals, differences.

  python -m leukemia_lab.study study=vgg13_paper study.budget=smoke
  python -m leukemia_lab.study study=leakage_price data=cnmc data.root=/data/C-NMC study.budget=full
  python -m leukemia_lab.study study=/path/my_study.yaml launcher=joblib launcher.n_jobs=2

Keys:

  study          {studies};
                 or the path of a YAML of your own
  study.budget   smoke (tries that it works, the figures mean nothing) | cpu (minutes on two cores; the default) |
                 full (as the papers have it: a GPU, ImageNet weights)
  study.folder   where to put it; runs/study-<name>-<hash> unless given
  study.dry      true: check all runs, list them with their words, and begin none

Every key of leukemia_lab.train may follow and overrules the study's (data=, launcher=, trainer., sweep.);
--config-dir DIR finds YAMLs of your own. The same command again goes on where it was cut off, and opens no test part
twice. It writes table.md, table.csv, study.json and report.html into the study's folder.
"""


def carry_out(argv: Sequence[str]) -> int:
    """Train, evaluate, analyse, show and write, or list the runs; the exit status says whether all ended well."""
    words = parsed(argv, (STUDY, BUDGET, FOLDER, DRY))
    if STUDY not in words.own:
        raise ConfigError(
            "study: not set; give study=vgg13_paper, or study=/path/my_study.yaml (--help lists more)"
        )
    dry = words.own.get(DRY, "false")
    if dry not in ("true", "false"):
        raise ConfigError(f"{DRY}: {dry!r} cannot be used; allowed: true, false")
    budget, folder = words.budget, words.own.get(FOLDER)
    from leukemia_lab.progress import RESULTS
    from leukemia_lab.studies.carrying_out import carry_out_study, planned_lines, prepared  # imports torch
    from leukemia_lab.studies.writing import show

    study = prepared(words.own[STUDY], budget, None if folder is None else Path(folder), words)
    if dry == "true":
        RESULTS.print("\n".join(planned_lines(study)), markup=False, soft_wrap=True)
        return DONE
    findings = carry_out_study(study, ["python", "-m", "leukemia_lab.study", *argv])
    show(findings, study.folder)
    return SOME_FAILED if findings.failures else DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if any(word in ("--help", "-h") for word in words):
        from leukemia_lab.studies.definition import shipped_studies

        print(USAGE.format(studies=" | ".join(shipped_studies())))
        return DONE
    return guarded(lambda: carry_out(words))


if __name__ == "__main__":
    sys.exit(main())
