"""Reads the plots back: elements, classes and the points of their paths."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from leukemia_lab.plots.gallery import Plot

STEP = re.compile(r"([Mlhvaz])|(-?(?:\d+\.?\d*|\.\d+))")


def tree(plot: Plot) -> ElementTree.Element:
    return ElementTree.fromstring(plot.svg)


def texts(plot: Plot) -> list[str]:
    return [element.text or "" for element in tree(plot).iter("text")]


def paths(plot: Plot, names: str) -> list[list[npt.NDArray[np.float64]]]:
    """Every path of these classes as its pieces, each [points, 2] in units of the drawing."""
    return [points(path.attrib["d"]) for path in tree(plot).iter("path") if path.get("class") == names]


def points(data: str) -> list[npt.NDArray[np.float64]]:
    """Pieces of path data; of an arc its end alone."""
    pieces: list[list[tuple[float, float]]] = []
    at, command, numbers = (0.0, 0.0), "", []
    needed = {"M": 2, "l": 2, "h": 1, "v": 1, "a": 7, "z": 0}
    assert STEP.sub("", data).strip() == ""
    for letter, value in STEP.findall(data):
        if letter:
            assert numbers == []
            command = letter
            continue
        numbers.append(float(value))
        if len(numbers) < needed[command]:
            continue
        x, y = at
        at = {
            "M": lambda n: (n[0], n[1]),
            "l": lambda n, x=x, y=y: (x + n[0], y + n[1]),
            "h": lambda n, x=x, y=y: (x + n[0], y),
            "v": lambda n, x=x, y=y: (x, y + n[0]),
            "a": lambda n, x=x, y=y: (x + n[5], y + n[6]),
        }[command](numbers)
        if command == "M":
            pieces.append([])
        pieces[-1].append(at)
        numbers = []
    return [np.array(piece) for piece in pieces]
