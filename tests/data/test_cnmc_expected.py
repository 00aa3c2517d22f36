"""The published numbers agree with each other and with the manifest; a missing or renamed cell is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from leukemia_lab.data.cnmc_expected import (
    EXPECTED_CELLS,
    EXPECTED_FILE_BYTES,
    EXPECTED_SIDE_PX,
    EXPECTED_SUBJECTS,
    count_parts,
    differences,
)


def published_table() -> pd.DataFrame:
    """One row a cell, as many cells and subjects as published, shuffled."""
    parts = [
        pd.DataFrame(
            {
                "label": label,
                "subject": [f"{part}-{label}-{i % EXPECTED_SUBJECTS[part, label]}" for i in range(n_cells)],
                "official_part": "prelim" if part == "prelim" else "train",
                "official_fold": pd.array(
                    [None if part == "prelim" else int(part[-1])] * n_cells, dtype="Int64"
                ),
            }
        )
        for (part, label), n_cells in EXPECTED_CELLS.items()
    ]
    return pd.concat(parts).sample(frac=1, random_state=0, ignore_index=True)


def test_the_published_numbers_add_up() -> None:
    def total(numbers: dict[tuple[str, str], int], label: str) -> int:
        return sum(n for (part, name), n in numbers.items() if part != "prelim" and name == label)

    assert (total(EXPECTED_CELLS, "ALL"), total(EXPECTED_CELLS, "HEM")) == (7272, 3389)
    assert total(EXPECTED_SUBJECTS, "ALL") + total(EXPECTED_SUBJECTS, "HEM") == 73
    assert EXPECTED_CELLS["prelim", "ALL"] + EXPECTED_CELLS["prelim", "HEM"] == 1867


def test_a_whole_tree_has_no_difference_and_every_planted_one_is_named() -> None:
    table = published_table()
    assert differences(count_parts(table)) == []
    fold_1_hem = (table["official_fold"] == 1).fillna(False) & (table["label"] == "HEM")
    assert differences(count_parts(table.drop(index=np.flatnonzero(fold_1_hem)[:5]))) == [
        "fold_1 HEM: 1158 cells, 1163 expected"
    ]
    without = table[~fold_1_hem]
    assert differences(count_parts(without)) == [
        "fold_1 HEM: 0 cells, 1163 expected",
        "fold_1 HEM: 0 subjects, 3 expected",
    ]
    renamed = table.assign(subject=table["subject"].replace("prelim-ALL-3", "prelim-ALL-4"))
    assert differences(count_parts(renamed)) == ["prelim ALL: 12 subjects, 13 expected"]


def test_the_manifests_of_the_real_files_have_the_published_numbers(shared_data: Path) -> None:
    folder = shared_data / "cnmc_meta"
    train = pd.read_csv(folder / "train_manifest.csv")
    prelim = pd.read_csv(folder / "prelim_manifest.csv").assign(fold="prelim")
    rows = pd.concat([train, prelim])
    by_part = rows.groupby(["fold", rows["label"].str.upper()])
    assert by_part.size().to_dict() == EXPECTED_CELLS
    assert by_part["subject"].nunique().to_dict() == EXPECTED_SUBJECTS
    assert set(train["bytes"]) == {EXPECTED_FILE_BYTES["train"]}
    assert set(prelim["bytes"]) == {EXPECTED_FILE_BYTES["prelim"]}


def test_the_bytes_of_a_file_follow_from_its_side() -> None:
    """A 24-bit BMP: 14 bytes, a header of 40 (124 in the preliminary part), rows padded to four bytes."""
    for part, n_bytes in EXPECTED_FILE_BYTES.items():
        side = EXPECTED_SIDE_PX[part]
        assert n_bytes == 14 + (124 if part == "prelim" else 40) + side * (-(-3 * side // 4) * 4)
