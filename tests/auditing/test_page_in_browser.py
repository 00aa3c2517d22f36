"""The page in a real browser: a Chromium of the system, driven by playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from audit_sample import picture, sample

from leukemia_lab.auditing.page import render_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next((found for name in NAMES if (found := shutil.which(name)) is not None), None)
    if chromium is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the path")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def html() -> str:
    return render_page(sample(), picture)


def opened(browser: Browser, html: str, folder: Path, width: int, theme: str) -> tuple[Page, list[str]]:
    """The page as a file on disk, and what the browser complained of or tried to fetch."""
    file = folder / "audit.html"
    file.write_text(html, encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    page.set_default_timeout(20_000)
    seen: list[str] = []
    page.on("console", lambda message: seen.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    page.on("request", lambda request: seen.append(f"request: {request.url}"))
    page.goto(file.as_uri())
    own = f"request: {file.as_uri()}"
    return page, [line for line in seen if line != own and not line.startswith("request: data:")]


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
