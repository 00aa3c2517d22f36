"""The exported features: one row a cell, in a parquet file that plain pandas opens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from leukemia_lab.atomic import replacing
from leukemia_lab.errors import RunError

FORMAT_VERSION = 1
METADATA_KEY = b"leukemia_lab.features"
CELLS = pa.schema(
    [(name, pa.string()) for name in ("cell_id", "subject", "group", "part")]
    + [("fold", pa.int64()), ("label", pa.string())]
)
Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FeatureSource:
    """What the features were made of and by; a weights entry is None where no net made them."""

    source: str
    pipeline_hash: str
    data_fingerprint: str
    split_hash: str
    weights_source: str | None
    weights_hash: str | None
    stamps: tuple[str, ...]


@dataclass(frozen=True)
class FeatureTable:
    """`cells` has one row a row of `features` [n, d]; `names` has one name a column of it."""

    cells: pd.DataFrame
    features: Features
    names: tuple[str, ...]
    source: FeatureSource


def numbered_names(n_features: int) -> tuple[str, ...]:
    """`feature_0000`… for features that have no names of their own."""
    return tuple(f"feature_{number:04d}" for number in range(n_features))


def write_features(
    path: Path, cells: pd.DataFrame, features: Features, names: Sequence[str], source: FeatureSource
) -> None:
    """Write `cell_id, subject, group, part, fold, label`, then one float32 column for each of `names`.

    `cells` has the columns of a split, one row a row of `features` [n, d]. `source` and the format's version go
    into the schema metadata. The file appears whole or not at all. Raises RunError where shapes or names do
    not fit.
    """
    if features.shape != (len(cells), len(names)) or len({*names, *CELLS.names}) < len(names) + len(CELLS):
        raise RunError(
            f"features of shape {features.shape} do not fit {len(cells)} cells and {len(names)} names, which "
            f"must differ from each other and from {', '.join(CELLS.names)}."
        )
    about = {"format_version": FORMAT_VERSION, **asdict(source)}
    of_cells = pa.Table.from_pandas(cells[CELLS.names], schema=CELLS, preserve_index=False)
    columns = np.ascontiguousarray(features.T, dtype=np.float32)
    table = pa.Table.from_arrays(
        [*of_cells.columns, *map(pa.array, columns)],
        names=[*CELLS.names, *names],
        metadata={METADATA_KEY: json.dumps(about)},
    )
    with replacing(path) as partial:  # numbers neither repeat nor compress: trying costs half the time
        pq.write_table(table, partial, use_dictionary=CELLS.names, write_statistics=False, compression="none")


def read_features(path: Path) -> FeatureTable:
    """Read what `write_features` wrote; raises RunError where there is none, or none of this version."""
    try:
        table = pq.read_table(path, partitioning=None)
        about = json.loads(table.schema.metadata[METADATA_KEY])
        version = about.pop("format_version")
    except FileNotFoundError:
        raise RunError(f"there are no features at {path}. Export them with export_features.") from None
    except (pa.ArrowInvalid, OSError, KeyError, TypeError) as fault:
        raise RunError(
            f"{path} is not a file of features written by leukemia_lab, or is damaged ({fault!r}). Export it again."
        ) from fault
    if version != FORMAT_VERSION:
        raise RunError(
            f"{path} has format version {version}; this leukemia_lab reads {FORMAT_VERSION}. Export it again."
        )
    names = tuple(table.column_names[len(CELLS) :])
    features = np.empty((len(table), len(names)), dtype=np.float32)
    for number, name in enumerate(names):
        features[:, number] = table[name].to_numpy()
    cells = table.select(CELLS.names).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    return FeatureTable(cells, features, names, FeatureSource(**about | {"stamps": tuple(about["stamps"])}))
