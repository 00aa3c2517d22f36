"""The page in a real browser: a Chromium of the system, driven by playwright."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from audit_sample import picture, sample
from page_checks import opened

from leukemia_lab.auditing.page import render_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def html() -> str:
    return render_page(sample(), picture)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [900, 400])
def test_the_page_opens_without_complaint(
    browser: Browser, html: str, tmp_path: Path, width: int, theme: str
) -> None:
    page, complaints = opened(browser, html, tmp_path, width, theme)
    assert complaints == []
    pictures = page.locator("img")
    assert pictures.count() > 50
    assert page.evaluate("[...document.images].every(img => img.alt !== '' && img.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 21, 26)"}[theme]
    page.close()


def test_a_planted_picture_from_the_network_is_noticed(browser: Browser, html: str, tmp_path: Path) -> None:
    planted = html.replace("</main>", '<img src="http://127.0.0.1:9/x.png" alt="x"></main>')
    page, complaints = opened(browser, planted, tmp_path, 900, "light")
    assert any("127.0.0.1:9" in line for line in complaints)
    page.close()


def test_the_keyboard_reaches_the_verdict_first(browser: Browser, html: str, tmp_path: Path) -> None:
    page, _ = opened(browser, html, tmp_path, 900, "light")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the verdict"
    page.keyboard.press("Enter")
    page.wait_for_function("location.hash === '#verdict'")
    page.close()


def test_the_page_prints_in_light_colours(browser: Browser, html: str, tmp_path: Path) -> None:
    page, _ = opened(browser, html, tmp_path, 900, "dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert (
        page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--paper').trim()")
        == "#ffffff"
    )
    assert not page.locator("nav").is_visible()
    page.close()
