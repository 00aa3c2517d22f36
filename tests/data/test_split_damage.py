"""Split files damaged at random: refused, or read as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from split_samples import HOLDOUT, cells_table, index_of, loaded, own_file, own_rows

from leukemia_lab.data.split_files import load_manifest, write_split
from leukemia_lab.data.splits import make_split
from leukemia_lab.errors import SplitError


def _damage(data: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes flipped, cut out, put in twice, or all from some place on."""
    damaged = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        start = int(rng.integers(len(damaged) + 1))
        end = start + int(rng.integers(1, 30))
        match rng.integers(5):
            case 0:
                damaged[start:end] = rng.integers(0, 256, len(damaged[start:end]), dtype=np.uint8).tobytes()
            case 1:
                del damaged[start:end]
            case 2:
                damaged[start:start] = damaged[start:end]
            case 3 if start < len(damaged):
                damaged[start] ^= 1 << int(rng.integers(8))
            case 4 if rng.random() < 0.2:
                del damaged[start:]
    return bytes(damaged)


@pytest.mark.parametrize("kind", ["csv", "own.csv", "parquet"])
def test_damage_at_random_is_refused_or_harmless(kind: str, tmp_path: Path) -> None:
    """What still loads has every cell in the part that it was in, or is one's own, which no hash guards."""
    split = make_split(cells_table(), HOLDOUT)
    path = tmp_path / f"split.{kind}"
    if kind == "own.csv":
        own_file(path, own_rows())
    else:
        write_split(split, path)
    whole = path.read_bytes()
    index = index_of(cells_table())
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        path.write_bytes(_damage(whole, rng))
        try:
            found: Any = load_manifest(path, index, leaky=False, ignore_twins=False)
        except SplitError:
            refused += 1
            continue
        if found.protocol != {"name": "manifest"}:
            assert found.hash == split.hash
        assert set(found.table["part"]) == {"train", "val", "test"}
        assert set(found.table["cell_id"]) <= set(index.table["cell_id"])
    assert refused > 350


def test_what_holds_no_cells_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    for text, message in (
        ("", "cannot be read as a split: it is empty"),
        ("\n\n", "cannot be read as a split: it is empty"),
        ("cell_id,part\n", "there are no cells in the split"),
        ("cell_id,part,part\na,train,val\n", "it has 2 columns part"),
        ("PK\x03\x04 \x00\x00", "lacks the columns cell_id, part"),
    ):
        path.write_text(text)
        with pytest.raises(SplitError, match=message):
            loaded(path)
    path.write_bytes("cell_id,part\nä,train".encode("latin-1"))
    with pytest.raises(SplitError, match="cannot be read as a split: 'utf-8' codec"):
        loaded(path)


def test_a_parquet_of_numbers_is_no_split(tmp_path: Path) -> None:
    path = tmp_path / "own.parquet"
    pd.DataFrame({"cell_id": [1, 2], "part": ["train", "val"]}).to_parquet(path)
    with pytest.raises(SplitError, match=r"own\.parquet: cell_id must be text, not 1"):
        loaded(path)


@pytest.mark.parametrize("written", [True, False])
def test_text_that_is_no_utf_8_is_refused(written: bool, tmp_path: Path) -> None:
    path = tmp_path / "split.parquet"
    write_split(make_split(cells_table(), HOLDOUT), path)
    rows = pq.read_table(path)
    pq.write_table(rows if written else rows.replace_schema_metadata(), path, compression="none")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"S3", b"S\xff"))
    assert path.read_bytes() != whole
    with pytest.raises(SplitError, match=r"split\.parquet cannot be read as a split"):
        loaded(path)
