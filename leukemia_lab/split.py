"""Draw a split and write it: `python -m leukemia_lab.split data=cnmc protocol=subject_kfold output=split.csv`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from leukemia_lab.command import Command, Place, run_command
from leukemia_lab.errors import RunError
from leukemia_lab.schema import SplitSettings

if TYPE_CHECKING:  # --help need not wait for pandas
    from leukemia_lab.data.splits import Split

SPLITS = Path("splits")


def job(settings: SplitSettings, place: Place) -> None:
    """Draw the split, or those of all folds; show the balance reached and write them.

    Raises:
        RunError: a file is there already, or cannot be written.
        SplitError: the protocol does not fit the data.
    """
    from leukemia_lab.cells import draw_folds, read_cells
    from leukemia_lab.evaluation.folds import balance_table, fold_balance, part_balance
    from leukemia_lab.progress import RESULTS

    drawn = [cells for _, cells in draw_folds(read_cells(settings), settings)]
    tables = [cells.split.table for cells in drawn]
    RESULTS.print(balance_table(part_balance(tables[0]) if len(tables) == 1 else fold_balance(tables)))
    first = drawn[0].split.hash[:12]
    path = SPLITS / f"{settings.protocol.name}-{first}.csv" if settings.output is None else settings.output
    paths = [path] if len(drawn) == 1 else [_of_fold(path, number) for number in range(len(drawn))]
    if settings.output is not None:
        _require_free(paths, settings.force)
    for cells, target in zip(drawn, paths, strict=True):
        _write(cells.split, target)
        stamps = "".join(f" [{stamp}]" for stamp in cells.stamps)
        RESULTS.print(f"split {cells.split.hash[:12]}{stamps}: {target}", markup=False, soft_wrap=True)


def build_faults(settings: SplitSettings) -> list[str]:
    """What can be said of the files before the data are read."""
    from leukemia_lab.cells import is_of_folds
    from leukemia_lab.indexing import missing_files

    output = settings.output
    faults = missing_files(settings.data, settings.protocol)
    if output is not None and output.suffix.lower() not in (".csv", ".parquet"):
        faults.append(f"output={output}: give a name that ends in .csv or .parquet")
    elif output is not None and output.exists() and not settings.force and not is_of_folds(settings.protocol):
        faults.append(_taken(output))
    return faults


def _of_fold(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-fold_{number}{path.suffix}")


def _require_free(paths: Sequence[Path], force: bool) -> None:
    for path in paths:
        if path.exists() and not force:
            raise RunError(_taken(path))


def _taken(path: Path) -> str:
    return f"{path} is there already: give another output=…, or force=true to write over it"


def _write(split: Split, path: Path) -> None:
    from leukemia_lab.data.split_files import write_split

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_split(split, path)
    except OSError as error:
        raise RunError(f"output={path} cannot be written: {error}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    command = Command("split", SplitSettings, job, build_faults)
    return run_command(command, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
