"""Are the numbers of a published table possible? `python -m leukemia_lab.check_claims table.csv`."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from hydra._internal.utils import get_args

from leukemia_lab.command import Command, Place, report_error, run_command
from leukemia_lab.config import faults_error
from leukemia_lab.overrides import options_first
from leukemia_lab.schema import CheckClaimsSettings
from leukemia_lab.wording import in_quotes


def job(settings: CheckClaimsSettings, place: Place) -> None:
    """Read the table, check it, show and write what came of it."""
    from leukemia_lab.claims.check import check_claims
    from leukemia_lab.claims.reading import read_claims
    from leukemia_lab.claims.tables import reason_lines, shown_claims, write_claims
    from leukemia_lab.progress import RESULTS

    read = read_claims(settings.table)
    check = check_claims(read.claims, settings.positive_share, settings.n_cells)
    RESULTS.print(shown_claims(check))
    lines = reason_lines(check) + [f"not checked: column {heading}" for heading in read.not_checked]
    RESULTS.print("\n".join(lines), markup=False, soft_wrap=True)
    if settings.output is not None:
        write_claims(check, settings.output)
        RESULTS.print(f"written: {settings.output}", markup=False, soft_wrap=True)


def build_faults(settings: CheckClaimsSettings) -> list[str]:
    """What can be said of the keys before the table is read."""
    output = settings.output
    if output is None:
        return []
    if output.suffix not in (".csv", ".json") or output.is_dir():
        return [f"output={output} is no file's name that ends in .csv or .json: output=claims.csv"]
    if output.resolve() == settings.table.resolve():
        return [
            f"output={output} is the table itself, which would be lost: give another name, output=claims.csv"
        ]
    return []


def with_key(argv: Sequence[str]) -> list[str]:
    """The words with a first one that has no `=`, a path, as `table='…'`."""
    if not argv or "=" in argv[0] or argv[0].startswith("-"):
        return list(argv)
    return [f"table={in_quotes(argv[0])}", *argv[1:]]


def misread_faults(argv: Sequence[str]) -> list[str]:
    """What is wrong with the words in a way that Hydra would explain as several values or as no override."""
    overrides = get_args(options_first(argv)).overrides
    tables = [word for word in overrides if "=" not in word or word.startswith("table=")]
    faults = []
    if len(tables) > 1:
        shown = " and ".join(word.removeprefix("table=") for word in tables)
        faults.append(f"{shown}: one table at a time; a path with spaces goes into quotes")
    for word in overrides:
        key, _, number = word.partition("=")
        if key in ("n_cells", "positive_share") and re.fullmatch(r"\d+(,\d+)+", number):
            advice, mark = ("leave the comma out", "") if key == "n_cells" else ("write a point", ".")
            faults.append(f"{word}: {advice}, {key}={number.replace(',', mark)}")
    return faults


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    faults = misread_faults(words)
    if faults:
        return report_error(faults_error(faults))
    return run_command(Command("check_claims", CheckClaimsSettings, job, build_faults), with_key(words))


if __name__ == "__main__":
    sys.exit(main())
