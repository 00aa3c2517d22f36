"""metadata.csv: one row a cell, which says its class, subject, source and official part."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from leukemia_lab.data.label_tables import BadRow, Columns, Labels, read_labels
from leukemia_lab.errors import ConfigError

METADATA_NAME = "metadata.csv"
_COLUMNS = Columns(
    spellings={
        "cell": ("cell", "cell_id", "file", "path"),
        "class": ("class", "label"),
        "subject": ("subject",),
        "source": ("source",),
        "image": ("image",),
        "official_fold": ("official_fold",),
        "official_part": ("official_part",),
    },
    required=("cell", "class"),
)
_OFFICIAL_PARTS = ("train", "prelim")


@dataclass(frozen=True)
class MetadataRow:
    """What a row says of a cell; None where a value is empty. `extra`, the other columns, is not compared."""

    label: str
    subject: str | None  # upper case
    source: str | None
    image: int | None
    official_fold: int | None
    official_part: str | None
    extra: Mapping[str, str] = field(compare=False)


def find_metadata(root: Path, given: Literal["auto"] | Path | None) -> Path | None:
    """The metadata file of a tree: `auto` takes <root>/metadata.csv where there is one.

    Raises:
        ConfigError: a path, relative to `root` or absolute, that is no file.
    """
    if given is None:
        return None
    path = root / METADATA_NAME if given == "auto" else root / given
    if path.is_file():
        return path
    if given == "auto":
        return None
    raise ConfigError(
        f"data.metadata={given}: there is no file {path}. Give a CSV's path relative to data.root, "
        f"an absolute one, auto (<data.root>/{METADATA_NAME} where there is one) or null."
    )


def read_metadata(path: Path, shown: str) -> Labels[MetadataRow]:
    """Read a metadata file, by path relative to the root with `/`; faults call it `shown`."""
    return read_labels({shown: path}, _COLUMNS, _parse_row)


def _parse_row(values: dict[str, str]) -> tuple[str, MetadataRow] | BadRow:
    given = values["cell"]
    if not given:
        return BadRow(None, "unreadable row", "cell is empty")
    name = posixpath.normpath(given.replace("\\", "/"))
    if name.startswith("/") or re.match("[A-Za-z]:/", name) or name.split("/")[0] == "..":
        return BadRow(None, "outside the root", f"cell is {given!r}, expected a path below data.root")
    if not values["class"]:
        return BadRow(name, "no class", "class is empty")
    for column in ("official_fold", "image"):
        if values[column] and not _is_whole(values[column]):
            return BadRow(name, "unreadable row", f"{column} is {values[column]!r}, expected a whole number")
    if values["official_part"] not in ("", *_OFFICIAL_PARTS):
        allowed = " or ".join(_OFFICIAL_PARTS)
        return BadRow(
            name, "unreadable row", f"official_part is {values['official_part']!r}, expected {allowed}"
        )
    return name, _row(values)


def _row(values: dict[str, str]) -> MetadataRow:
    text = {column: value if value else None for column, value in values.items()}
    subject = text["subject"]
    return MetadataRow(
        label=values["class"],
        subject=None if subject is None else subject.upper(),
        source=text["source"],
        image=_whole(text["image"]),
        official_fold=_whole(text["official_fold"]),
        official_part=text["official_part"],
        extra={column: value for column, value in values.items() if column not in _COLUMNS.spellings},
    )


def _is_whole(value: str) -> bool:
    """Pandas writes the whole numbers of a column with gaps as 3.0."""
    return re.fullmatch(r"[0-9]{1,9}(\.0)?", value) is not None


def _whole(value: str | None) -> int | None:
    return None if value is None else int(value.removesuffix(".0"))
