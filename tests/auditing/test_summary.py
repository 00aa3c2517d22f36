from __future__ import annotations

import io
from typing import Any

import pytest
from audit_sample import places, sample, without
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from leukemia_lab.auditing.summary import MAX_ROWS, summary
from leukemia_lab.auditing.verdict import verdict


def rendered(document: dict[str, Any], width: int = 100) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(summary(document))
    return out.getvalue()


@pytest.mark.parametrize("width", [100, 140])
def test_the_summary_fits_and_nothing_is_cut(width: int) -> None:
    text = rendered(sample(), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    assert "0.810 (0.750–0.870)" in text
    assert "C-NMC" in text


def test_stamps_and_verdict_stand_before_the_tables() -> None:
    text = rendered(sample(), 400)
    assert text.startswith("Audit of cnmc [SYNTHETIC]\n")
    at = [text.index(finding.text) for finding in verdict(sample())]
    assert at == sorted(at)
    assert at[-1] < text.index("Inventory")


def test_long_tables_end_with_how_much_is_left_out() -> None:
    document = sample()
    document["twins"] *= 10
    text = rendered(document)
    assert f"{60 - MAX_ROWS} rows more in audit.html" in text
    assert text.count("merged by the user") == len(range(3, MAX_ROWS, 6))


def test_names_are_neither_markup_nor_terminal_codes() -> None:
    document = sample()
    document["faults"][0] |= {"file": "[bold]x[/bold]\x1b[31m\udcff.bmp"}
    document["stamps"] = ["[/red]"]
    text = rendered(document, 200)
    text.encode("utf-8")
    assert "[bold]x[/bold]\\x1b[31m\\udcff.bmp" in text
    assert "[[/red]]" in text


def test_an_empty_document_has_no_tables() -> None:
    assert len(rendered({}, 200).splitlines()) == 4


SMALL = sample() | {
    "pairs": sample()["pairs"][88:92] + sample()["pairs"][-3:],
    "faults": sample()["faults"][:3],
}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(places(SMALL)), st.sampled_from(["removed", "null", "empty"])),
        min_size=1,
        max_size=6,
    )
)
def test_any_part_may_be_missing(spoiling: list[tuple[tuple[str | int, ...], str]]) -> None:
    document = SMALL
    for path, how in spoiling:
        if path in places(document):
            document = without(document, path, how)
    assert "None" not in rendered(document)
