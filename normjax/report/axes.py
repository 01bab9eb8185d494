"""Panels, lines, bands and axes: how the figures of a study look.

Matplotlib is used through its object-oriented interface alone: no global state.
"""

import itertools
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from normjax import statistics
from normjax.report import networks
from normjax.report.networks import Cell
from normjax.statistics import Interval
from normjax.study.columns import Level

# Okabe and Ito, 2008, without yellow: distinct to the colour-blind too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")  # for lines beyond the number of colours
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "normjax",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.hinting": "none",  # letters are as wide in the PNG as in the layout
    "axes.titlesize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
}
LETTERS = 13  # per inch of text
HANDLE = 8  # the width of a line in a legend, in letters
WIDE = 10.0  # positive numbers that span more than this factor get a log scale

Stroke = tuple[str, str]  # colour and dashes


class Layout(NamedTuple):
    """Which factor the colours stand for, and which panel each cell belongs to."""

    colour: str  # name of a factor, or "arm"
    factors: list[str]  # that the panels stand for
    strokes: dict[str, Stroke]  # by level
    panels: dict[str, list[Cell]]  # title -> cells
    num_columns: int
    level: Callable[[Cell], str]


class Layer(NamedTuple):
    """A layer of a network: `conv_1_0` is a `conv` at the position (1, 0)."""

    name: str
    kind: str
    position: tuple[int, ...]


def layout(cells: Sequence[Cell], axis: str = "") -> Layout:
    """Gives colours to the (last) factor with the most levels, panels to the others.

    Colours stand for a factor of numbers only if no other factor varies. The factor
    `axis` gets neither: it is the x axis. Where two arms have the same levels of all
    factors, the colours stand for the arms.
    """
    names = [x for x in networks.varying_names(cells, "factors") if x != axis]
    counts = {x: len(networks.levels(cells, "factors", x)) for x in names}
    numbers = numeric_factors(cells)
    colour, others = "arm", list[str]()
    level: Callable[[Cell], str] = lambda cell: cell.arm
    if names and factors_identify_arms(cells):
        colour = max(reversed(names), key=lambda x: (x not in numbers, counts[x]))
        others = [x for x in names if x != colour]
        level = lambda cell: str(cell.factors[colour])
    elif axis in numbers:  # no other factor varies: one line
        level = lambda cell: ""
    panels: dict[str, list[Cell]] = {}
    for cell in cells:
        title = ", ".join(_title(x, cell.factors[x]) for x in others)
        panels.setdefault(title, []).append(cell)
    strokes = itertools.cycle((c, d) for d, c in itertools.product(DASHES, COLOURS))
    return Layout(
        colour=colour,
        factors=others,
        strokes=dict(zip(dict.fromkeys(level(cell) for cell in cells), strokes)),
        panels=panels,
        num_columns=min(counts[others[-1]] if others else 1, 4),
        level=level,
    )


def factors_identify_arms(cells: Sequence[Cell]) -> bool:
    """Whether no two arms have the same levels of all factors."""
    identities = {tuple(cell.factors.values()) for cell in cells}
    return len(identities) == len({cell.arm for cell in cells})


def numeric_factors(cells: Sequence[Cell]) -> list[str]:
    """The factors that have more than two levels, all of them numbers."""
    factors = {x: networks.levels(cells, "factors", x) for x in cells[0].factors}
    numbers = {k: x for k, x in factors.items() if str not in map(type, x)}
    return [name for name, levels in numbers.items() if len(levels) > 2]


def make_panels(titles: Iterable[str], num_columns: int) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each title; the panels of a row share their y axis."""
    titles = list(titles)
    num_columns = min(num_columns, len(titles))
    num_rows = -(-len(titles) // num_columns)
    width = 5.0 if num_columns == 1 else 2.9
    size = width * num_columns, 0.4 + 2.5 * num_rows
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(num_rows, num_columns, squeeze=False, sharey="row")
    for ax in grid.flat[len(titles) :]:
        ax.remove()
    for ax, title in zip(grid.flat, titles):
        ax.set_title(textwrap.fill(title, int(LETTERS * width - 7)), loc="left")
    return figure, list(grid.flat[: len(titles)])


def draw_band(
    ax: Axes, x: np.ndarray, y: Interval, stroke: Stroke, label: str, marker: str = ""
) -> None:
    """Draws intervals [points] as a line in a band; a single point gets a marker."""
    colour, dashes = stroke
    marker = marker or ("o" if len(x) == 1 else "")
    ax.fill_between(x, y.low, y.high, color=colour, alpha=0.18, lw=0)
    ax.plot(x, y.estimate, dashes, color=colour, label=label, marker=marker, ms=3.5)


def draw_epochs(ax: Axes, values: np.ndarray, stroke: Stroke, label: str) -> None:
    """Draws the mean of [seeds, epochs] over seeds; ticks are whole numbers."""
    epochs = np.arange(1, values.shape[1] + 1)
    draw_band(ax, epochs, statistics.mean_interval(values), stroke, label)
    ax.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]


def read_layer(name: str) -> Layer:
    """Reads the name of a layer: a record has nothing else to tell layers by.

    The kind ends at the first number; the position is all numbers.
    """
    place = tuple(int(number) for number in re.findall(r"\d+", name))
    return Layer(name, re.split(r"_?\d", name)[0], place)


def layer_strokes(layers: Sequence[Layer]) -> dict[str, tuple[Stroke, str]]:
    """Name of a layer -> its stroke and its label in the legend.

    Dashes stand for the kind of a layer, the shade for its position among its kind:
    the first is dark. If a kind has more than eight layers, only some have a label.
    """
    kinds: dict[str, list[str]] = {}
    for layer in sorted(layers, key=lambda layer: layer.position):
        kinds.setdefault(layer.kind, []).append(layer.name)
    by_size = sorted(kinds, key=lambda kind: (-len(kinds[kind]), kind))
    strokes = {}
    for kind, dashes in zip(by_size, itertools.cycle(DASHES)):
        last = len(kinds[kind]) - 1
        for i, name in enumerate(kinds[kind]):
            shade = matplotlib.colormaps["viridis"](0.85 * i / max(1, last))
            stroke = matplotlib.colors.to_hex(shade), dashes
            strokes[name] = stroke, "" if i % (1 + last // 8) else name
    return strokes


def use_log_y(axes: Sequence[Axes], least: float = WIDE) -> None:
    """Sets a log scale if no line is negative and together they span over `least`."""
    lines = [np.asarray(line.get_ydata()) for ax in axes for line in ax.lines]
    values = np.concatenate([y[np.isfinite(y) & (y != 0)] for y in lines])
    low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
    if low > 0 and high > least * low:  # not so if every network diverged
        for ax in axes:
            ax.set_yscale("log")
            if high < 100 * low:  # too few powers of ten for ticks of their own
                ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
                ax.yaxis.set_major_formatter("{x:g}")
                ax.yaxis.set_minor_formatter("{x:g}")


def use_log_x(axes: Sequence[Axes], values: Sequence[float]) -> None:
    """Sets a log scale for positive settings that span more than a factor of ten."""
    if min(values) > 0 and max(values) > WIDE * min(values):
        for ax in axes:
            ax.set_xscale("log")


def set_ticks(axes: Sequence[Axes], levels: Sequence[int | float]) -> None:
    """Sets ticks at the levels, on a log scale if all are positive."""
    levels = sorted(levels)
    for ax in axes:
        if levels[0] > 0:
            ax.set_xscale("log", base=2)
        ax.set_xticks(levels, [f"{level:g}" for level in levels])


def add_labels(
    figure: Figure, axes: Sequence[Axes], order: Iterable[str], x: str, y: str
) -> Figure:
    """Names the axes, and adds a legend above if it has more than one entry."""
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(y, fontsize=9)
    handles: dict[str, Artist] = {}
    for ax in axes:
        handles |= {label: h for h, label in zip(*ax.get_legend_handles_labels())}
        if not any(np.isfinite(line.get_ydata()).any() for line in ax.lines):
            ax.text(0.5, 0.5, "no finite value", transform=ax.transAxes, ha="center")
            ax.set_xticks([])
    if len(handles) > 1:
        letters = int(LETTERS * figure.get_figwidth())  # that fit in a line
        names = [x for x in order if x in handles]
        labels = [textwrap.fill(name, letters - HANDLE) for name in names]
        longest = max(len(x) for label in labels for x in label.splitlines())
        columns = min(len(names), letters // (longest + HANDLE))
        lines = max(x.count("\n") + 1 for x in labels) * -(-len(names) // columns)
        figure.set_figheight(figure.get_figheight() + 0.17 * lines)
        entries = [handles[name] for name in names]
        figure.legend(entries, labels, loc="outside upper center", ncols=columns)
    return figure


def _title(factor: str, level: Level) -> str:
    return level if isinstance(level, str) else f"{factor.replace('_', ' ')} {level}"
