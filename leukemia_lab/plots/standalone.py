"""A drawing as a file of its own, for pages that have no style sheet of the plots."""

from __future__ import annotations

import re

from leukemia_lab.plots.svg import Plot, stylesheet

SCALE = 1.25  # px a unit of the drawing, as in plots.css


def standalone(plot: Plot) -> str:
    """The text of an .svg file that shows `plot` in the light colours on white.

    A file cannot know whether the page around it is dark, so that it brings its own paper; colours stand as values,
    because not every program reads custom properties.
    """
    css = stylesheet()
    light = dict(re.findall(r"--([\w-]+): (#\w+)", css[: css.index("}")]))
    rules = re.sub(
        r"var\(--([\w-]+)\)", lambda found: light.get(found[1], found[0]), css[css.index(".plot {") :]
    )
    [(width, height)] = re.findall(r'viewBox="0 0 (\d+) (\d+)"', plot.svg)
    size = f'width="{SCALE * int(width):g}" height="{SCALE * int(height):g}"'
    head, body = plot.svg.split("</title>", 1)
    start = head.replace("<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" {size} ', 1)
    own = f".plot {{ width: {SCALE * int(width):g}px; height: {SCALE * int(height):g}px }}"
    paper = f'<path class="fpaper" d="M0 0h{width}v{height}h-{width}z"/>'
    return f"{start}</title><style>{rules}{own}</style>{paper}{body}\n"
