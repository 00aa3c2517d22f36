"""The report in a real browser: a Chromium of the system, driven by playwright."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from page_checks import contrast, opened
from run_folders import cells, make_run, sweep

from leukemia_lab import report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# Colour of each element with text of its own, and of the ground that it stands on.
COLOURS = """() => {
  const ground = (at) => {
    for (; at; at = at.parentElement) {
      const found = getComputedStyle(at).backgroundColor;
      if (found !== "rgba(0, 0, 0, 0)") return found;
    }
    return "rgb(255, 255, 255)";
  };
  const own = (at) => [...at.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  const seen = new Set();
  for (const at of document.querySelectorAll("body *")) {
    if (!own(at) || !at.checkVisibility() || at.closest("svg")) continue;
    seen.add(getComputedStyle(at).color + " on " + ground(at));
  }
  return [...seen];
}"""


# What each drawing says to a screen reader.
SAID = """() => [...document.querySelectorAll("svg[role=img]")].map(
  (at) => at.querySelector("#" + at.getAttribute("aria-labelledby"))?.textContent.trim()
)"""


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    sweep(
        folder / "runs", 8, stamps=["SYNTHETIC", "TEST SEEN 2 TIMES"], explained=4
    )  # and an ensemble, below
    make_run(folder / "runs" / "leaky", split=cells(seed=5), stamps=["LEAKY"], quality=9)
    members = ",".join(str(folder / "runs" / name) for name in ("simple_cnn-4", "alexnet-5"))
    assert report.main([f"runs={folder / 'runs'}", f"ensemble=[{members}]", f"output={folder}"]) == 0
    return (folder / "report.html").read_text(encoding="utf-8")


def column(page: Page, at: int) -> list[str]:
    rows = "[...document.querySelector('table.sortable').tBodies[0].rows]"
    found: list[str] = page.evaluate(f"at => {rows}.map(row => row.cells[at].dataset.value)", at)
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_opens_without_complaint(
    browser: Browser, html: str, tmp_path: Path, width: int, theme: str
) -> None:
    page, complaints = opened(browser, html, tmp_path, width, theme)
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    page.wait_for_function("[...document.images].every(img => img.complete)")
    assert complaints == []
    assert page.locator("img").count() == 8 * 4 * 3
    assert page.evaluate("[...document.images].every(img => img.alt !== '' && img.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    drawings = page.evaluate(SAID)
    assert len(drawings) >= 8 * 8 + 4  # of each run, and forest, differences, seeds and split
    assert all(drawings)
    assert page.locator("svg:not([role=img])").count() == 0
    links = page.evaluate("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
    assert len(links) > 20
    assert (
        page.evaluate("hrefs => hrefs.filter(href => !document.getElementById(href.slice(1)))", links) == []
    )
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out(browser: Browser, html: str, tmp_path: Path, theme: str) -> None:
    page, _ = opened(browser, html, tmp_path, 1200, theme)
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    pairs = page.evaluate(COLOURS)
    assert len(pairs) > 5
    for pair in pairs:
        text, ground = (hexadecimal(colour) for colour in pair.split(" on "))
        assert contrast(text, ground) >= 4.5, pair
    page.close()


def hexadecimal(colour: str) -> str:
    """`#rrggbb` of `rgb(r, g, b)`."""
    return "#" + "".join(f"{int(level):02x}" for level in re.findall(r"\d+", colour)[:3])


def test_the_leaderboard_sorts_on_click(browser: Browser, html: str, tmp_path: Path) -> None:
    page, complaints = opened(browser, html, tmp_path, 1200, "light")
    head = page.locator("table.sortable").first.locator("thead th")
    names = [name.strip() for name in head.all_inner_texts()]
    at = names.index("ECE")
    before = column(page, at)
    assert before != sorted(before, key=float)
    head.nth(at).locator("button").click()
    assert column(page, at) == sorted(before, key=float)
    assert head.nth(at).get_attribute("aria-sort") == "ascending"
    head.nth(at).locator("button").click()
    assert column(page, at) == sorted(before, key=float, reverse=True)
    assert head.nth(at).get_attribute("aria-sort") == "descending"
    assert page.locator("table.sortable").first.locator("[aria-sort]").count() == 1
    value = names.index("test AUROC")
    head.nth(value).locator("button").click()  # the greater the better: the greatest first
    assert column(page, value) == sorted(column(page, value), key=float, reverse=True)
    assert complaints == []
    page.close()


def test_every_column_sorts_on_click_and_turns_on_the_next(
    browser: Browser, html: str, tmp_path: Path
) -> None:
    page, complaints = opened(browser, html, tmp_path, 1200, "light")
    head = page.locator("table.sortable").first.locator("thead th")
    for at in range(1, head.count()):
        orders = []
        for _ in range(2):
            head.nth(at).locator("button").click()
            known = [value for value in column(page, at) if value != ""]
            orders.append([value if at == 1 else float(value) for value in known])
            assert head.nth(at).get_attribute("aria-sort") in ("ascending", "descending")
        assert sorted(orders[0]) in (orders[0], orders[0][::-1]), at
        assert orders[1] == orders[0][::-1] or len(set(orders[0])) < len(orders[0]), at
        assert sorted(orders[1]) in (orders[1], orders[1][::-1]), at
    assert complaints == []
    page.close()


def test_the_page_shows_comparisons_seeds_and_the_ensemble(
    browser: Browser, html: str, tmp_path: Path
) -> None:
    page, _ = opened(browser, html, tmp_path, 1200, "light")
    pairs = page.locator("details", has=page.locator("summary", has_text="36 pairs")).first
    pairs.locator("summary").click()
    assert pairs.locator("tbody tr").count() == 36
    seeds = page.locator("table", has=page.locator("caption", has_text="differ only in the seed"))
    assert seeds.locator("tbody th").all_inner_texts() == [
        "alexnet optim.lr=0.002",
        "simple_cnn optim.lr=0.002",
        "alexnet optim.lr=0.001",
        "simple_cnn optim.lr=0.001",
    ]
    page.locator("table.sortable").first.get_by_role("link", name="ensemble of 2").click()
    section = page.locator("details.run", has=page.locator("h3", has_text="ensemble of 2"))
    assert section.locator("dd").first.inner_text().startswith("the mean calibrated probabilities of 2 runs")
    assert section.locator(".plots figure").count() >= 5
    page.close()


def test_the_leaderboard_sorts_by_keyboard_and_keeps_missing_values_last(
    browser: Browser, html: str, tmp_path: Path
) -> None:
    planted = re.sub(
        r'<td class="number" data-value="[\d.e-]+">', '<td class="number" data-value="">', html, count=1
    )
    page, _ = opened(browser, planted, tmp_path, 1200, "light")
    button = page.locator("table.sortable").first.locator("thead th button").first
    button.focus()
    for _ in range(2):
        page.keyboard.press("Enter")
        ranks = column(page, 0)
        assert ranks[-1] == ""
        assert "" not in ranks[:-1]
    assert [int(rank) for rank in ranks[:-1]] == list(range(2, 10))
    page.close()


def test_a_link_from_the_leaderboard_opens_the_run(browser: Browser, html: str, tmp_path: Path) -> None:
    page, _ = opened(browser, html, tmp_path, 1200, "light")
    link = page.locator("table.sortable tbody a").nth(3)
    target = page.locator(str(link.get_attribute("href")))
    assert target.get_attribute("open") is None
    link.click()
    page.wait_for_function("anchor => document.querySelector(anchor).open", arg=link.get_attribute("href"))
    page.close()


def test_the_theme_can_be_chosen(browser: Browser, html: str, tmp_path: Path) -> None:
    page, _ = opened(browser, html, tmp_path, 1200, "light")
    paper = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    page.get_by_role("button", name="Dark theme").click()
    assert page.evaluate(paper) == "rgb(17, 21, 26)"
    page.get_by_role("button", name="Light theme").click()
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    page.close()


def test_the_keyboard_reaches_the_summary_first(browser: Browser, html: str, tmp_path: Path) -> None:
    page, _ = opened(browser, html, tmp_path, 900, "light")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the summary"
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.close()


def test_the_page_is_complete_without_script(browser: Browser, html: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    page = browser.new_page(java_script_enabled=False)
    page.goto((tmp_path / "page.html").as_uri())
    assert page.locator("table.sortable").first.locator("tbody tr").count() == 9
    assert page.locator("button:visible").count() == 0
    page.close()


def test_the_page_prints_whole_and_in_light_colours(browser: Browser, html: str, tmp_path: Path) -> None:
    page, _ = opened(browser, html, tmp_path, 720, "dark")
    page.get_by_role("button", name="Light theme").click()
    page.get_by_role("button", name="Dark theme").click()
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("details:not([open])").count() == 0
    assert not page.locator("nav").is_visible()
    cut = "[...document.querySelectorAll('.scroll')].filter(at => at.scrollWidth > at.clientWidth + 1).length"
    assert page.evaluate(cut) == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 5
    page.close()


def test_a_planted_picture_from_the_network_is_noticed(browser: Browser, html: str, tmp_path: Path) -> None:
    planted = html.replace("</main>", '<img src="http://127.0.0.1:9/x.png" alt="x"></main>')
    page, complaints = opened(browser, planted, tmp_path, 900, "light")
    assert any("127.0.0.1:9" in line for line in complaints)
    page.close()
