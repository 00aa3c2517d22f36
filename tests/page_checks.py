"""What a page must not do wrong, as a parser and a browser see it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

VOID = {"meta", "link", "img", "br", "wbr", "line", "circle", "path", "rect", "use"}


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


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb` (WCAG 2.2)."""
    levels = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(a: str, b: str) -> float:
    darker, lighter = sorted((luminance(a), luminance(b)))
    return (lighter + 0.05) / (darker + 0.05)


def opened(browser: Browser, html: str, folder: Path, width: int, theme: str) -> tuple[Page, list[str]]:
    """The page as a file on disk, and what the browser complained of or tried to fetch."""
    file = folder / "page.html"
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
