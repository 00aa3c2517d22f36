"""CSV text as a table of text, refused where a row was not cut into columns as its writer meant."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte-order mark; raises OSError, or ValueError."""
    return path.read_bytes().decode("utf-8-sig")


def text_table(text: str) -> pd.DataFrame:
    """The rows of a CSV as text, under the names of its header in lower case; blank lines do not count.

    Raises:
        ValueError: there is no header, a name stands in it twice, or a row has more or fewer values than it.
    """
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    except csv.Error as error:
        raise ValueError(str(error)) from error
    if not rows:
        raise ValueError("it is empty")
    header = [name.strip().lower() for name in rows[0]]
    twice = [name for name in header if name and header.count(name) > 1]
    if twice:
        raise ValueError(f"it has {header.count(twice[0])} columns {twice[0]}")
    odd = next((row for row in rows if len(row) != len(header)), None)
    if odd is not None:
        raise ValueError(
            f"{len(odd)} values for {len(header)} columns in the row of {odd[0]}; a value with a comma needs quotes"
        )
    return pd.DataFrame(rows[1:], columns=header, dtype=object)
