"""`audit.html`: the audit document with pictures, one file that needs no network, script or font."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from jinja2 import Environment
from PIL import Image

from leukemia_lab.auditing.document import checked, completed
from leukemia_lab.auditing.overview import (
    BORDERS,
    copy_counts,
    faults_by_kind,
    group_borders,
    ignored_by_reason,
    kind_name,
    why_unmeasured,
    worst_first,
)
from leukemia_lab.auditing.verdict import CHANCE_AUROC, CHECKS, verdict
from leukemia_lab.pages.environment import page_environment

Picture = Callable[[str], npt.NDArray[np.uint8] | None]

PICTURE_PX = 160
JPEG_QUALITY = 80
MAX_PAIRS = 60  # at most 120 pictures, which are at most about 3 MB even of pure noise
MAX_NAMES = 10
MAX_ROWS = 200
PLOT_LEFT, PLOT_RIGHT, PLOT_TOP, PLOT_ROW, PLOT_FOOT = (
    84.0,
    410.0,
    14.0,
    26.0,
    24.0,
)  # user units of the drawing


class Shown(NamedTuple):
    """A pair of copies with its two pictures as data URIs, None where a file cannot be read."""

    pair: Mapping[str, Any]
    pictures: tuple[str | None, str | None]


class Dot(NamedTuple):
    """A feature's AUROC as a place in the drawing, and its interval's two ends, None where there is none."""

    name: str
    x: float
    y: float
    interval: tuple[float, float] | None


class Plot(NamedTuple):
    """A dot plot: dots, ticks as (position, number), the position of chance, the drawing's height."""

    dots: list[Dot]
    ticks: list[tuple[float, float]]
    chance: float
    height: float


def render_page(document: Mapping[str, Any], picture: Picture) -> str:
    """The page of an audit document, which may lack any of its parts.

    Args:
        document: what `audit.json` holds.
        picture: gives a cell's image by cell id, uint8 [H, W, 3], RGB; None where it cannot be read. It is
            asked for the cells of the pairs shown, at most MAX_PAIRS, once a cell.
    """
    full = completed(document)
    pairs = worst_first(full["pairs"])
    data_uri = lru_cache(maxsize=None)(lambda cell_id: _data_uri(picture, cell_id))
    return (
        _environment()
        .get_template("audit.html.j2")
        .render(
            document=full,
            checked={key for key in CHECKS if checked(document, key)},
            findings=verdict(document),
            made=_date(full["made"]),
            faults=faults_by_kind(full),
            ignored=ignored_by_reason(full),
            copies=copy_counts(full),
            copy_columns=["kind", "#pairs", *(f"#{border}" for border in BORDERS), "#none"],
            shown=[Shown(pair, (data_uri(pair["a"]), data_uri(pair["b"]))) for pair in pairs[:MAX_PAIRS]],
            groups=[(group, group_borders(group, full["twins"])) for group in full["groups"][:MAX_ROWS]],
            unmeasured=_unmeasured(full["confounds"]),
            remarks=_remarks(full["confounds"]),
            plot=_plot(full["confounds"]["class"]),
            max_names=MAX_NAMES,
            max_rows=MAX_ROWS,
            picture_px=PICTURE_PX,
        )
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = page_environment("auditing")
    environment.filters["kind_name"] = kind_name
    return environment


def _unmeasured(confounds: Mapping[str, Any]) -> dict[str, str | None]:
    """Why a table of confounds has no value at all; None where it has."""
    return {
        "class": why_unmeasured((row["auroc"] for row in confounds["class"].values()), "value"),
        "subject": why_unmeasured(confounds["subject"].values(), "balanced_accuracy"),
        "icc": why_unmeasured((row for own in confounds["icc"].values() for row in own.values()), "icc"),
    }


def _remarks(confounds: Mapping[str, Any]) -> dict[str, list[str]]:
    """The column of remarks of each table of confounds, where there is any."""
    rows = {
        "class": [row[metric] for row in confounds["class"].values() for metric in row],
        "subject": confounds["subject"].values(),
        "icc": [row for own in confounds["icc"].values() for row in own.values()],
    }
    return {
        table: ["remark"] if any(row["reason"] is not None for row in own) else []
        for table, own in rows.items()
    }


def _data_uri(picture: Picture, cell_id: str | None) -> str | None:
    pixels = None if cell_id is None else picture(cell_id)
    if pixels is None:
        return None
    image = Image.fromarray(pixels)
    image.thumbnail((PICTURE_PX, PICTURE_PX), Image.Resampling.BOX)
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode('ascii')}"


def _date(made: str | None) -> str | None:
    return None if made is None else f"{datetime.fromisoformat(made):%Y-%m-%d %H:%M %Z}".strip()


def _plot(features: Mapping[str, Any]) -> Plot | None:
    known = {name: row["auroc"] for name, row in features.items() if row["auroc"]["value"] is not None}
    if not known:
        return None
    least = min(at for row in known.values() for at in (row["value"], row["low"]) if at is not None)
    first_tick = int(10 * min(0.4, least))  # in tenths

    def across(auroc: float) -> float:
        share = (auroc - first_tick / 10) / (1 - first_tick / 10)
        return round(PLOT_LEFT + share * (PLOT_RIGHT - PLOT_LEFT), 1)

    dots = []
    for row, (name, auroc) in enumerate(known.items()):
        low, high = auroc["low"], auroc["high"]
        interval = None if low is None or high is None else (across(low), across(high))
        dots.append(Dot(name, across(auroc["value"]), PLOT_TOP + PLOT_ROW * row, interval))
    ticks = [(across(tenth / 10), tenth / 10) for tenth in range(first_tick, 11)]
    return Plot(dots, ticks, across(CHANCE_AUROC), PLOT_TOP + PLOT_ROW * len(known) + PLOT_FOOT)
