"""Debian's chromium for the tests, a page of charts made by hand, and what it says.

Without chromium or playwright these tests are skipped; with NORMJAX_NEEDS_BROWSER set,
as in continuous integration, they fail instead.
"""

import contextlib
import html
import math
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from normjax.report import browser
from normjax.report.chart import (
    Axis,
    Chart,
    Charts,
    Panel,
    Point,
    Row,
    Series,
    Stroke,
    Tile,
)

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
COLOURS = """:root {
  color-scheme: light dark;
  --ink: #1b1f24; --soft: #59636e; --line: #d8dee4; --page: #ffffff; --card: #f4f6f8;
  --accent: #0b62a8; --yes: #1a7f37; --no: #b3261e;
}
@media (prefers-color-scheme: dark) { :root {
  --ink: #e6e9ec; --soft: #9aa5b1; --line: #363d45; --page: #14171a; --card: #1d2226;
  --accent: #6cb6f5; --yes: #56c271; --no: #ff8a80;
} }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 80rem; color: var(--ink);
  background: var(--page); font: 16px/1.55 system-ui, sans-serif; }
figcaption { font-weight: 600; } .note { color: var(--soft); font-size: 0.875rem; }
@media print { :root { color-scheme: light;
  --ink: #000; --soft: #444; --line: #bbb; --page: #fff; --card: #fff; } }
"""


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser of playwright; skips or fails where there is none."""
    absent = pytest.fail if os.environ.get("NORMJAX_NEEDS_BROWSER") else pytest.skip
    executable = shutil.which("chromium")
    if executable is None:
        absent("chromium is not installed")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright is not installed")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=executable, args=list(FLAGS)
        )
        yield launched
        launched.close()


def open_page(launched: Any, path: pathlib.Path, **context: Any) -> Any:
    """A tab with a file, its charts drawn; what goes wrong is in `.messages`.

    Args:
        launched: the browser.
        path: of the file.
        context: options of a context of playwright: `viewport`, `color_scheme`.
    """
    tab = launched.new_context(**context).new_page()
    tab.messages = []
    tab.on("console", lambda message: tab.messages.append(message.text))
    tab.on("pageerror", lambda error: tab.messages.append(str(error)))
    tab.on("request", lambda request: _refuse_network(tab, request.url))
    tab.goto(path.as_uri())
    tab.evaluate("normjax.drawAll()")
    return tab


def _refuse_network(tab: Any, url: str) -> None:
    if not url.startswith(("file:", "blob:", "data:")):
        tab.messages.append(f"request of {url}")


def page(charts: Charts) -> str:
    """A page with nothing but charts."""
    figures = "".join(
        f'<figure class="chart" id="chart-{x.name}" data-chart="{x.name}">'
        f'<figcaption>{html.escape(x.title)}</figcaption><div class="tools"></div>'
        f'<div class="plot"></div><p class="note">{html.escape(x.note)}</p></figure>'
        for x in charts.charts
    )
    return (
        '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>charts</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{COLOURS}{browser.styles()}</style>"
        f'<div id="legend" class="legend"></div>{figures}'
        '<script type="application/json" id="chart-data">'
        f"{browser.chart_data(charts)}</script><script>{browser.scripts()}</script>"
    )


def charts(*, arms: int = 4, seeds: int = 3, epochs: int = 20) -> Charts:
    """A chart of each kind, and one of a grid of rates on logarithmic axes."""
    keys = [f"arm{i}" for i in range(arms)]
    strokes = {
        key: Stroke(f"third moment, penalty {i}", i % 7, i // 7 if arms > 7 else i % 6)
        for i, key in enumerate(keys)
    }
    made = [
        differences(keys, seeds),
        curves(keys, seeds, epochs),
        grid(keys),
        matrix(keys),
        costs(keys),
    ]
    return Charts(strokes, made, "optimizer")


def curves(keys: list[str], seeds: int, epochs: int, name: str = "train_loss") -> Chart:
    """Losses that fall, one of them to exactly zero, in two panels."""
    x = np.arange(1.0, epochs + 1)
    values = {
        key: np.exp(-x / (4 + i)) + 0.02 * np.cos(x * np.arange(1, seeds + 1)[:, None])
        for i, key in enumerate(keys)
    }
    values[keys[0]][:, -3:] = 0.0
    values[keys[-1]][:, 5] = math.nan
    series = [
        Series(
            key,
            f"{key} in words",
            x,
            all_seeds.mean(0),
            all_seeds.mean(0) - 0.05,
            all_seeds.mean(0) + 0.05,
            list(range(seeds)),
            all_seeds,
            marked=[epochs - 1] if key == keys[1] else (),
        )
        for key, all_seeds in values.items()
    ]
    panels = [Panel("no penalty", series), Panel("penalty l2, norm batch", series[:2])]
    y = Axis("train loss (nats)", may_switch=True)
    note = "Lines are means over seeds, bands 95% intervals of the mean."
    title = "Train loss against the epoch"
    return Chart(
        name, "lines", title, Axis("epoch"), y, panels, 2, note, True, group="curves"
    )


def grid(keys: list[str]) -> Chart:
    """Accuracy against a grid of rates; the best of each arm is marked."""
    rates = np.array([0.003, 0.01, 0.03, 0.1, 0.3])
    series = [
        Series(key, key, rates, y, y - 0.02, y + 0.02, marked=[int(np.argmax(y))])
        for i, key in enumerate(keys)
        for y in [0.9 - 0.05 * np.log10(rates / (0.02 * (i + 1))) ** 2]
    ]
    x = Axis("learning rate", logarithmic=True, may_switch=True, ticks=tuple(rates))
    y = Axis("test accuracy")
    note = "Bars are 95% intervals, rings the rate that was chosen."
    title = "Accuracy against the learning rate"
    return Chart("rates", "lines", title, x, y, [Panel("", series)], note=note)


def differences(keys: list[str], seeds: int) -> Chart:
    """Differences to a baseline, seed by seed, with verdicts."""
    kinds = ("holds", "fails", "undecided", "")
    rows = []
    for i, key in enumerate(keys):
        values = 0.5 * i - 0.7 + 0.3 * np.cos(np.arange(seeds) + i)
        mean = values.mean()
        low, high = mean - 0.3, mean + 0.3
        text = f"{mean:+.2f} [{low:.2f}, {high:.2f}]".replace("-", "\N{MINUS SIGN}")
        label = f"corrected third moment, penalty {i}, batch size 128, and Adam"
        row = Row(key, label, mean, low, high, list(range(seeds)), values, text)
        rows.append(row._replace(kind=kinds[i % 4]))
    x = Axis("difference in test accuracy (points)", reference=0.0)
    note = "Dots are seeds: a seed of an arm minus the same seed of Adam."
    title = "Test accuracy minus that of Adam"
    panels = [Panel("", rows)]
    return Chart("differences", "rows", title, x, Axis(""), panels, note=note)


def matrix(keys: list[str]) -> Chart:
    """The share of seeds in which one arm beats another."""
    tiles = [
        Tile(a, b, value, text, f"{b} beats {a} in {text} of the pairs", marked)
        for i, a in enumerate(keys)
        for j, b in enumerate(keys)
        for value in [math.nan if i == j else 0.5 + 0.5 * math.tanh((i - j) / 2)]
        for text in ["" if i == j else f"{value:.2f}"]
        for marked in [value > 0.8]
    ]
    x, y = Axis("beats this", names=keys), Axis("this arm", names=keys)
    title = "Probability that one arm beats another"
    note = "Frames are those that hold after Holm's correction."
    panels = [Panel("", tiles)]
    return Chart("beats", "tiles", title, x, y, panels, note=note, centre=0.5)


def costs(keys: list[str]) -> Chart:
    """Accuracy against seconds, some arms close to each other."""
    points = [
        Point(key, f"third moment, penalty {i}", x, y, x / 1.2, 1.2 * x, y - 1, y + 1)
        for i, key in enumerate(keys)
        for x, y in [(2.0 + i // 2, 90 + 2 * (i % 3))]
    ]
    x = Axis("seconds per network", may_switch=True)
    y = Axis("test accuracy (%)")
    note = "Crosses are 95% intervals."
    panels = [Panel("", points)]
    return Chart("costs", "points", "Cost and accuracy", x, y, panels, note=note)
