from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from audit_sample import pair, picture, places, sample, without
from hypothesis import given, settings
from hypothesis import strategies as st

import leukemia_lab.auditing.page
from leukemia_lab.auditing.page import MAX_PAIRS, PICTURE_PX, render_page

VOID = {"meta", "link", "img", "br", "wbr", "line", "circle"}
HOSTILE = "<script>alert(\"1\")</script> & 'x' \u202e \udcff.bmp"


class Outline(HTMLParser):
    """Tags with their attributes in order, the text, and what is wrong with the nesting."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.pieces: list[str] = []
        self.feed(html)
        self.close()
        self.faults += [f"<{tag}> never closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.pieces.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.pieces))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def barriers(html: str) -> list[str]:
    """What a screen reader or a validator would stumble over."""
    outline = Outline(html)
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    named = [
        attributes[key] for _, attributes in outline.tags for key in ("aria-labelledby",) if key in attributes
    ]
    anchors = [str(a["href"])[1:] for a in outline.all("a")]
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch(r"h[1-6]", tag)]
    faults = list(outline.faults)
    faults += [f"id {name} is there twice" for name in set(ids) if ids.count(name) > 1]
    faults += [f"nothing has the id {name}" for name in (*named, *anchors) if name not in ids]
    faults += ["a picture without alt" for img in outline.all("img") if not img.get("alt")]
    faults += ["a header cell without scope" for th in outline.all("th") if "scope" not in th]
    faults += ["a table without caption"] * (len(outline.all("table")) - len(outline.all("caption")))
    faults += [f"h{b} after h{a}" for a, b in pairwise(levels) if b > a + 1]
    faults += [] if levels.count(1) == 1 and levels[0] == 1 else ["not one h1 at the top"]
    return faults


def addresses(html: str) -> list[str]:
    """All that a browser could fetch: attributes that name a resource, and url() or @import in styles."""
    attributes = [a for _, given in Outline(html).tags for a in given.items()]
    resources = ("src", "href", "srcset", "data", "action", "poster", "xlink:href")
    found = [str(value) for key, value in attributes if key in resources]
    return [at for at in (*found, *re.findall(r"url\(|@import", html)) if not at.startswith(("#", "data:"))]


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


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb` (WCAG 2.2)."""
    levels = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(a: str, b: str) -> float:
    darker, lighter = sorted((luminance(a), luminance(b)))
    return (lighter + 0.05) / (darker + 0.05)


def test_text_stands_out_in_both_themes() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    css = Path(leukemia_lab.auditing.page.__file__).with_name("audit.css").read_text(encoding="utf-8")
    blocks = [block for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL) if "--paper" in block]
    themes = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in blocks]
    assert len(themes) == 2
    for theme in themes:
        for text in ("ink", "quiet", "link", "act", "know", "fine"):
            for ground in ("paper", "card"):
                assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
        assert contrast(theme["mark"], theme["paper"]) >= 3
