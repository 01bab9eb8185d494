"""What a page carries for the browser: scripts, styles and the data of its charts.

The page needs no network: D3 and Observable Plot are part of it, as published, with
their licences beside them in `assets/`.
"""

import json
import pathlib
import re

from normjax.report.chart import Charts, as_json

ASSETS = pathlib.Path(__file__).parent / "assets"
LIBRARIES = ("d3.min.js", "plot.umd.min.js")
OURS = (  # in the order in which they need each other
    "base.js",
    "strokes.js",
    "axes.js",
    "labels.js",
    "lines.js",
    "rows.js",
    "tiles.js",
    "points.js",
    "reading.js",
    "saving.js",
    "tools.js",
    "charts.js",
)


def scripts() -> str:
    """The text of one `<script>` that draws the charts of a page.

    It reads the JSON of the element `chart-data` and fills `#legend` and each
    `figure.chart`. No end tag of a script occurs in it.
    """
    parts = [(ASSETS / name).read_text("utf-8") for name in (*LIBRARIES, *OURS)]
    return re.sub(r"<(?=/script|!--)", r"\\x3c", ";\n".join(parts), flags=re.IGNORECASE)


def styles() -> str:
    """The text of one `<style>` for the charts of a page."""
    return (ASSETS / "charts.css").read_text("utf-8")


def chart_data(charts: Charts) -> str:
    """The charts as the text of a `<script type="application/json">`.

    Every `<` is written as an escape, so no text of a chart can end the element.
    """
    text = json.dumps(as_json(charts), ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
