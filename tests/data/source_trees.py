"""Trees that are given to a command as the sources of one data set, and copies between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

CLASSES = ("ALL", "HEM")
PATTERN = "/(?P<subject>[^_/]+)_"


def given(sources: dict[str, Path]) -> list[str]:
    nodes = [
        f"{name}: {{layout: folder, root: {root}"
        + (", subject_pattern: '" + PATTERN + "'}" if name != "b" else "}")
        for name, root in sources.items()
    ]
    return ["data=combined", f"data.trees={{{', '.join(nodes)}}}", "data.positive_class=ALL"]


def copy_cells(sources: dict[str, Path], origin: tuple[str, str], target: tuple[str, str], n: int) -> None:
    """Give subject `target` of one source n cells of `origin`, re-saved with two grey levels more."""
    from PIL import Image

    for i in range(n):
        with Image.open(sources[origin[0]] / f"{origin[1]}_{i}.png") as image:
            cell = np.asarray(image)
        brighter = np.where(cell.any(axis=2, keepdims=True), cell + 2, 0).astype(np.uint8)
        Image.fromarray(brighter).save(sources[target[0]] / f"{target[1]}_{i}.png")
