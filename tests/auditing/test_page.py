from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from audit_sample import pair, picture, places, sample, without
from hypothesis import given, settings
from hypothesis import strategies as st
from page_checks import Outline, addresses, barriers, contrast

import leukemia_lab.pages
from leukemia_lab.auditing.page import MAX_PAIRS, PICTURE_PX, render_page

HOSTILE = "<script>alert(\"1\")</script> & 'x' \u202e \udcff.bmp"


def no_picture(cell_id: str) -> None:
    return None


def noise(cell_id: str) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(sum(map(ord, cell_id)))
    return rng.integers(0, 256, (PICTURE_PX, PICTURE_PX, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def page() -> str:
    return render_page(sample(), picture)


def test_the_page_is_one_file_without_script_or_address(page: str) -> None:
    assert addresses(page) == []
    assert not {"script", "iframe", "object"} & {tag for tag, _ in Outline(page).tags}
    planted = page.replace("</main>", '<img src="https://a.test/x.png" alt="x"></main>')
    assert addresses(planted) == ["https://a.test/x.png"]


def test_the_page_has_no_barriers(page: str) -> None:
    assert barriers(page) == []
    assert barriers(page.replace("<caption", "<p", 1)) != []
    assert barriers(page.replace("<h3", "<h5", 1)) != []
    assert "a picture without alt" in barriers(re.sub(r' alt="[^"]*"', "", page))


def test_the_page_says_what_the_document_holds(page: str) -> None:
    text = Outline(page).text
    for said in (
        "SYNTHETIC",
        "2026-11-22 05:00 UTC",
        "12,527 (8,490 ALL, 4,037 HEM)",
        "To do 3 groups of subject names share cells, as names of one patient would; 2 cross the official folds",
        "To do 1 file cannot be used",
        "To do 1 pair of copies joins training and test",
        "51, 75, 78 (across fold)",
        "0.810 (0.750–0.870)",
        "constant",
        "< 1e-300",
        "not known",
        "subject 21",
        "touches the border",
        "and 2 more in audit.json",
        "python -m leukemia_lab.audit data=cnmc data.root=/data/C-NMC",
    ):
        assert said in text, said


def test_a_count_off_what_is_expected_is_marked(page: str) -> None:
    assert '<td class="number off">2,396</td>' in page
    assert page.count("number off") == 1


def test_the_worst_pairs_are_shown_and_the_rest_is_counted(page: str) -> None:
    figures = re.findall(r"<figcaption>(.*?)</figcaption>", page)[:MAX_PAIRS]
    assert [caption.partition("crosses ")[2] for caption in figures[:3]] == [
        "subject, part",
        "class",
        "subject, fold",
    ]
    assert f"{193 - MAX_PAIRS} pairs more are not shown; all are in audit.json." in page
    outline = Outline(page)
    unreadable = outline.text.count("This picture cannot be read.")
    assert 0 < unreadable < 2 * MAX_PAIRS
    assert len(outline.all("img")) + unreadable == 2 * MAX_PAIRS


def test_a_cell_is_asked_for_once() -> None:
    asked: list[str] = []

    def remember(cell_id: str) -> npt.NDArray[np.uint8]:
        asked.append(cell_id)
        return np.zeros((8, 6, 3), np.uint8)

    document = sample() | {"pairs": [pair(1, "near", 0.0, [])] * 3}
    assert render_page(document, remember).count("<img") == 6
    assert sorted(asked) == sorted({document["pairs"][0]["a"], document["pairs"][0]["b"]})


def test_the_largest_page_is_small() -> None:
    many = sample()
    many["pairs"] = [pair(k, "near", 0.0, ["subject"]) for k in range(20_000)]
    many["groups"] = [[f"H{k}", f"H{k + 1}"] for k in range(2_000)]
    many["twins"] *= 500
    many["faults"] = [many["faults"][0] | {"file": f"{k}.bmp"} for k in range(20_000)]
    many["ignored"] *= 10_000
    many["notes"] *= 3_000
    many["expected"]["differences"] *= 3_000
    assert len(render_page(many, noise).encode()) < 5_000_000


def hostile(value: Any) -> Any:
    """The document with every string spoilt but the two that must be read: the date and the borders."""
    if isinstance(value, dict):
        return {
            key: inner if key in ("made", "crosses", "reason") else hostile(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [hostile(inner) for inner in value]
    return HOSTILE if isinstance(value, str) else value


def test_names_are_escaped_and_can_be_written() -> None:
    document = hostile(sample())
    document["confounds"]["class"][HOSTILE] = document["confounds"]["class"]["size"]
    document["ignored"][0]["reason"] = HOSTILE
    html = render_page(document, picture)
    assert "<script" not in html
    assert barriers(html) == []
    shown = Outline(html.encode("utf-8").decode()).text
    assert "<script>alert(\"1\")</script> & 'x' \\u202e \\udcff.bmp" in shown


def test_an_empty_document_says_that_nothing_was_looked_at() -> None:
    for document in ({}, {"pairs": None}, dict.fromkeys(sample())):
        html = render_page(document, no_picture)
        assert barriers(html) == []
        text = Outline(html).text
        assert "This audit did not look at faults." in text
        assert "This audit did not look at copies." in text
        assert "No cell is a copy" not in text


def test_clean_data_is_called_clean() -> None:
    clean = sample() | {"pairs": [], "pair_counts": {}, "faults": [], "fault_counts": {}, "groups": []}
    clean |= {"twins": [], "ignored": [], "notes": []}
    clean["files"]["unusable"] = 0
    text = Outline(render_page(clean, no_picture)).text
    for said in (
        "No file has a fault.",
        "No cell is a copy of another.",
        "No two subject names share cells.",
    ):
        assert said in text


SMALL = sample() | {
    "pairs": sample()["pairs"][88:92] + sample()["pairs"][-3:],
    "faults": sample()["faults"][:3],
}
SPOILING = st.lists(
    st.tuples(st.sampled_from(places(SMALL)), st.sampled_from(["removed", "null", "empty"])),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(SPOILING)
def test_any_part_may_be_missing(spoiling: list[tuple[tuple[str | int, ...], str]]) -> None:
    document = SMALL
    for path, how in spoiling:
        if path in places(document):
            document = without(document, path, how)
    html = render_page(document, no_picture)
    assert barriers(html) == []
    assert "None" not in Outline(html).text.replace("None.", "")


def test_a_plot_of_poor_features_keeps_its_dots_inside() -> None:
    document = sample()
    document["confounds"]["class"]["size"]["auroc"] = {"value": 0.05, "low": 0.0, "high": 0.2}
    html = render_page(document, no_picture)
    xs = [float(x) for x in re.findall(r'c?x[12]?="([\d.-]+)"', html)]
    assert len(xs) > 20
    assert min(xs) >= 0
    assert max(xs) <= 430


def test_text_stands_out_in_both_themes() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    css = Path(leukemia_lab.pages.__file__).with_name("base.css").read_text(encoding="utf-8")
    blocks = [block for block in re.findall(r":root[^{]* \{(.*?)\}", css, re.DOTALL) if "--paper" in block]
    light, dark, chosen = (dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in blocks)
    assert chosen == dark
    for theme in (light, dark):
        for text in ("ink", "quiet", "link", "act", "know", "fine"):
            for ground in ("paper", "card"):
                assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
        assert contrast(theme["mark"], theme["paper"]) >= 3
