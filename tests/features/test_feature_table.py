from __future__ import annotations

import dataclasses
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest

from leukemia_lab.errors import RunError
from leukemia_lab.features import table
from leukemia_lab.features.table import FeatureSource, numbered_names, read_features, write_features

SOURCE = FeatureSource("vgg16", "pipeline", "data", "split", None, None, ("LEAKY",))
FEATURES = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


def cells() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label": ["ALL", "HEM"] * 3,
            "cell_id": [f"{i}.bmp" for i in range(6)],
            "subject": ["1", "H3", None, "1", "H3", None],
            "group": list("abcabc"),
            "part": ["train"] * 4 + ["val", "test"],
            "fold": pd.array([0, 1, 2, 0, 1, pd.NA], dtype="Int64"),
            "width": 450,
        },
        index=range(50, 56),
    )


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "features.parquet"
    source = dataclasses.replace(SOURCE, weights_source="torchvision", weights_hash="abc")
    write_features(path, cells(), FEATURES, numbered_names(3), source)
    back = read_features(path)
    np.testing.assert_array_equal(back.features, FEATURES)
    assert back.features.dtype == np.float32
    assert back.names == ("feature_0000", "feature_0001", "feature_0002")
    assert back.source == source
    expected = cells()[["cell_id", "subject", "group", "part", "fold", "label"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(back.cells, expected, check_dtype=False)
    assert [file.name for file in tmp_path.iterdir()] == ["features.parquet"]


def test_plain_pandas_opens_it(tmp_path: Path) -> None:
    write_features(tmp_path / "f.parquet", cells(), FEATURES, ("area_px", "red_mean", "red_sd"), SOURCE)
    frame = pd.read_parquet(tmp_path / "f.parquet")
    assert list(frame) == [
        *("cell_id", "subject", "group", "part", "fold", "label"),
        *("area_px", "red_mean", "red_sd"),
    ]
    assert (frame.dtypes.iloc[6:] == np.float32).all()
    np.testing.assert_array_equal(frame["red_sd"], FEATURES[:, 2])


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "b"), ("a", "b", "label")])
def test_names_that_do_not_fit_are_refused(names: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"shape \(6, 3\) do not fit 6 cells and \d names"):
        write_features(tmp_path / "f.parquet", cells(), FEATURES, names, SOURCE)
    assert not list(tmp_path.iterdir())


def test_an_absent_foreign_damaged_or_other_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    with pytest.raises(RunError, match=r"there are no features at .*f\.parquet"):
        read_features(path)
    cells().to_parquet(path)
    with pytest.raises(RunError, match="is not a file of features written by leukemia_lab"):
        read_features(path)
    write_features(path, cells(), FEATURES, numbered_names(3), SOURCE)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RunError, match="or is damaged"):
        read_features(path)
    with mock.patch.object(table, "FORMAT_VERSION", 2):
        write_features(path, cells(), FEATURES, numbered_names(3), SOURCE)
    with pytest.raises(RunError, match="format version 2; this leukemia_lab reads 1"):
        read_features(path)
