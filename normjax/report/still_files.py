"""The still figures beside a page: drawn once, and again only where a chart changed."""

import hashlib
import io
import re
from pathlib import Path

import markupsafe
import matplotlib

from normjax import files
from normjax.errors import InputError
from normjax.report import stale_files, stills
from normjax.report.chart import Chart, Charts, as_json

DRAWN = ".drawn.json"  # chart -> digest of what was drawn, and how


def update(charts: Charts, folder: Path) -> None:
    """Draws the charts whose files are missing or show something else.

    Files of a chart that there is no more are removed, unless somebody changed them.

    Raises:
        InputError: if the folder cannot be made or written.
    """
    files.folder(folder)
    there = current(charts, folder)
    stale = [chart for chart in charts.charts if chart.name not in there]
    stills.write(charts._replace(charts=stale), folder)
    written = [f"{x.name}.{end}" for x in stale for end in stills.METADATA]
    kept = [f"{name}.{end}" for name in there for end in stills.METADATA]
    stale_files.remove_stale(folder, written, kept)
    digests = {chart.name: _digest(chart, charts) for chart in charts.charts}
    files.write_json(folder / DRAWN, digests)


def current(charts: Charts, folder: Path) -> set[str]:
    """The names of the charts whose files show what they show now."""
    try:
        known = files.read_json(folder / DRAWN)
    except InputError:  # there is none, or it is damaged
        return set()
    return {
        chart.name
        for chart in charts.charts
        if known.get(chart.name) == _digest(chart, charts)
        and all((folder / f"{chart.name}.{x}").exists() for x in stills.METADATA)
    }


def svg(chart: Chart, charts: Charts) -> str:
    """A chart as the text of an SVG file."""
    content = io.StringIO()
    with matplotlib.rc_context(stills.STYLE):
        figure = stills.draw(chart, charts.strokes)
        figure.savefig(content, format="svg", metadata=stills.METADATA["svg"])
    return content.getvalue()


def inline(text: str, title: str) -> markupsafe.Markup:
    """The text of an SVG file as an element of a page, with ids of its own."""
    text = text[text.index("<svg") :]
    text = re.sub(r'(\bid="|href="#|url\(#)', r"\g<1>still-", text)
    label = markupsafe.escape(title)
    return markupsafe.Markup(
        text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    )


def _digest(chart: Chart, charts: Charts) -> str:
    """Of the chart, and of what draws it."""
    shown = as_json(charts._replace(charts=[chart]))
    return files.text_digest({"chart": shown, "drawn by": _sources()})


def _sources() -> str:
    """A digest of the modules that draw, and the version of what they use."""
    folder = Path(stills.__file__).parent
    sources = b"".join(x.read_bytes() for x in sorted(folder.glob("still*.py")))
    return hashlib.sha256(sources).hexdigest() + matplotlib.__version__
