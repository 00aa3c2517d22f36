"""The user's own file of twins: what it may hold, and what is said of anything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from leukemia_lab.data.known_twins import NO_KNOWN_TWINS, KnownTwins, read_known_twins
from leukemia_lab.errors import DataError


def read(tmp_path: Path, text: str) -> KnownTwins:
    path = tmp_path / "twins.yaml"
    path.write_text(text, encoding="utf-8")
    return read_known_twins(path)


def test_lists_of_names(tmp_path: Path) -> None:
    found = read(tmp_path, "merge: [[20, 21], [h10, H3, 'H4']]\napart:\n  - [17, 18]\n")
    assert found.merge == (("20", "21"), ("H10", "H3", "H4"))
    assert found.apart == (("17", "18"),)
    assert found.file == tmp_path / "twins.yaml"
    assert found.merged_pairs() == [("20", "21"), ("H3", "H10"), ("H3", "H4")]
    assert found.keeps_apart("18", "17")
    assert not found.keeps_apart("17", "20")


def test_names_are_the_text_that_they_are(tmp_path: Path) -> None:
    """YAML would read numbers, truth values and times of the day out of them."""
    names = ("010", "1_2", "NO", "1:20", "1E3", "2019-01-02", "0X10")
    assert read(tmp_path, f"merge: [[{', '.join(names)}]]").merge == (names,)


@pytest.mark.parametrize("text", ["{}", "merge: []", "merge:\napart:\n", "merge: []\napart: []"])
def test_a_file_may_name_none(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text)
    assert (found.merge, found.apart) == (NO_KNOWN_TWINS.merge, NO_KNOWN_TWINS.apart) == ((), ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no lists under merge or apart"),
        ("- [1, 2]", "holds no lists under merge or apart"),
        ("merged: [[1, 2]]", "unknown key 'merged'"),
        ("merge: [[1]]", "merge must be a list of lists of two or more names"),
        ("merge: [1, 2]", "merge must be a list of lists"),
        ("apart: 5", "apart must be a list of lists"),
        ("apart: [[1, [2]]]", "apart holds something that is no name"),
        ("apart: [[1, '']]", "apart holds something that is no name"),
        ("merge: [[1, 2]", "cannot be read"),
        (
            "merge: !!python/object/apply:os.getcwd [1]",
            "merge must be a list of lists",
        ),  # and nothing is called
    ],
)
def test_anything_else_is_an_error_that_shows_the_form(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, text)
    assert "twins.yaml" in str(caught.value)
    assert "merge: [[20, 21]] and apart: [[17, 18]]" in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.twins_file=.*absent.yaml cannot be read"):
        read_known_twins(tmp_path / "absent.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00merge")
    with pytest.raises(DataError, match="cannot be read"):
        read_known_twins(tmp_path / "bytes.yaml")
