"""Panels, lines, bands and axes: how the pictures of a study look.

With `figures` the only module that imports matplotlib, and the object-oriented
interface of it alone: no pyplot, no global state. What is drawn, `figures` says.
"""

import itertools
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from normjax.report import networks as cells_
from normjax.report.networks import Cell
from normjax.statistics import Interval

COLOURS = (  # Okabe and Ito, 2008, without yellow: told apart with any colour vision
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
DASHES = ("-", "--", ":", "-.")  # the next turn of the colours
STYLE = {
    "svg.hashsalt": "normjax",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.hinting": "none",  # letters as wide in PNG as where they were laid out
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
LETTERS = 13  # of a text, to the inch
HANDLE = 8  # letters that would fit where a legend has a line
WIDE = 10.0  # the factor from which positive numbers are put on a log scale

Look = tuple[str, str]  # colour and dashes


class Layout(NamedTuple):
    """Which factor is the colour, and which panel each cell belongs to."""

    colour: str  # name of a factor, or "arm"
    factors: list[str]  # of the panels
    looks: dict[str, Look]  # by level
    panels: dict[str, list[Cell]]  # title -> cells
    num_columns: int
    level: Callable[[Cell], str]


def layout(cells: Sequence[Cell], axis: str = "") -> Layout:
    """The factor of most levels (the last such) as colour, the others as panels.

    A factor of numbers is the colour only if no other varies, and `axis`, which is
    drawn as the x axis, is neither. Where the factors that differ do not tell the
    arms apart, the arm is the colour.
    """
    names = [x for x in cells_.varying(cells, "factors") if x != axis]
    counts = {x: len(cells_.levels(cells, "factors", x)) for x in names}
    numbers = numeric(cells)
    colour, others, level = "arm", [], lambda cell: cell.arm
    if names and told_apart(cells):
        colour = max(reversed(names), key=lambda x: (x not in numbers, counts[x]))
        others = [x for x in names if x != colour]
        level = lambda cell: cell.factors[colour]
    elif axis in numbers:  # that tells the arms apart alone: one line
        level = lambda cell: ""
    panels = {}
    for cell in cells:
        title = ", ".join(_words(cell, x) for x in others)
        panels.setdefault(title, []).append(cell)
    looks = itertools.cycle((c, d) for d, c in itertools.product(DASHES, COLOURS))
    return Layout(
        colour=colour,
        factors=others,
        looks=dict(zip(dict.fromkeys(level(cell) for cell in cells), looks)),
        panels=panels,
        num_columns=min(counts[others[-1]] if others else 1, 4),
        level=level,
    )


def told_apart(cells: Sequence[Cell]) -> bool:
    """Whether no two arms have the same levels of all factors."""
    identities = {tuple(cell.factors.values()) for cell in cells}
    return len(identities) == len({cell.arm for cell in cells})


def numeric(cells: Sequence[Cell]) -> list[str]:
    """The factors of more than two levels, all of them numbers."""
    found = {x: cells_.levels(cells, "factors", x) for x in cells[0].factors}
    return [k for k, x in found.items() if len(x) > 2 and all(map(_is_number, x))]


def panels(titles: Iterable[str], num_columns: int) -> tuple[Figure, Sequence[Axes]]:
    """A figure of a panel for each title, in rows that share their y axis."""
    titles = list(titles)
    num_columns = min(num_columns, len(titles))
    num_rows = -(-len(titles) // num_columns)
    width = 5.0 if num_columns == 1 else 2.9
    figure = Figure(
        figsize=(width * num_columns, 0.4 + 2.5 * num_rows), layout="constrained"
    )
    grid = figure.subplots(num_rows, num_columns, squeeze=False, sharey="row")
    for ax in grid.flat[len(titles) :]:
        ax.remove()
    for ax, title in zip(grid.flat, titles):
        ax.set_title(textwrap.fill(title, int(LETTERS * width - 7)), loc="left")
    return figure, list(grid.flat[: len(titles)])


def band(
    ax: Axes, x: np.ndarray, y: Interval, look: Look, label: str, marker: str = ""
) -> None:
    """An interval [points] as a line with a band around it; one point has a marker."""
    colour, dashes = look
    marker = marker or ("o" if len(x) == 1 else "")
    ax.fill_between(x, y.low, y.high, color=colour, alpha=0.18, lw=0)
    ax.plot(x, y.estimate, dashes, color=colour, label=label, marker=marker, ms=3.5)


def depths(names: Sequence[str]) -> dict[str, tuple[Look, str]]:
    """Name of a layer -> its look and its label in the legend.

    Dashes tell kinds of layer apart and the shade the place among its kind: the first
    is dark. Of more than eight layers of a kind, some are labelled.
    """
    kinds: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda x: [int(i) for i in re.findall(r"\d+", x)]):
        kinds.setdefault(re.split(r"_?\d", name)[0], []).append(name)
    by_size = sorted(kinds, key=lambda kind: (-len(kinds[kind]), kind))
    found = {}
    for kind, dashes in zip(by_size, itertools.cycle(DASHES)):
        last = len(kinds[kind]) - 1
        for i, name in enumerate(kinds[kind]):
            shade = matplotlib.colormaps["viridis"](0.85 * i / max(1, last))
            look = matplotlib.colors.to_hex(shade), dashes
            found[name] = look, "" if i % (1 + last // 8) else name
    return found


def log_y(axes: Sequence[Axes], least: float = WIDE) -> None:
    """A log scale if no line is negative and the lines span more than a factor."""
    values = [np.asarray(line.get_ydata()) for ax in axes for line in ax.lines]
    values = np.concatenate([x[np.isfinite(x) & (x != 0)] for x in values])
    low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
    if low > 0 and high > least * low:  # neither if every network diverged at once
        for ax in axes:
            ax.set_yscale("log")
            if high < 100 * low:  # few powers of ten, or none, are in sight
                ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
                ax.yaxis.set_major_formatter("{x:g}")
                ax.yaxis.set_minor_formatter("{x:g}")


def log_x(axes: Sequence[Axes], values: Sequence[float]) -> None:
    """A log scale for positive settings that span more than a factor of ten."""
    if min(values) > 0 and max(values) > WIDE * min(values):
        for ax in axes:
            ax.set_xscale("log")


def ticks_at(axes: Sequence[Axes], words: Sequence[str]) -> None:
    """Ticks at numbers, as they are written, on a log scale if they are positive."""
    words = sorted(words, key=float)
    for ax in axes:
        if float(words[0]) > 0:
            ax.set_xscale("log", base=2)
        ax.set_xticks([float(x) for x in words], words)


def finished(
    figure: Figure, axes: Sequence[Axes], order: Iterable[str], x: str, y: str
) -> Figure:
    """With the names of the axes, and a legend above if it has more than one entry."""
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(y, fontsize=9)
    found = {}
    for ax in axes:
        found |= {label: h for h, label in zip(*ax.get_legend_handles_labels())}
        if not any(np.isfinite(line.get_ydata()).any() for line in ax.lines):
            ax.text(0.5, 0.5, "no finite value", transform=ax.transAxes, ha="center")
            ax.set_xticks([])
    if len(found) > 1:
        letters = int(LETTERS * figure.get_figwidth())  # that fit in a line
        names = [x for x in order if x in found]
        labels = [textwrap.fill(name, letters - HANDLE) for name in names]
        longest = max(len(x) for label in labels for x in label.splitlines())
        columns = min(len(names), letters // (longest + HANDLE))
        lines = max(x.count("\n") + 1 for x in labels) * -(-len(names) // columns)
        figure.set_figheight(figure.get_figheight() + 0.17 * lines)
        handles = [found[name] for name in names]
        figure.legend(handles, labels, loc="outside upper center", ncols=columns)
    return figure


def _words(cell: Cell, factor: str) -> str:
    level = cell.factors[factor]
    return f"{factor.replace('_', ' ')} {level}" if _is_number(level) else level


def _is_number(word: str) -> bool:
    try:
        return bool(np.isfinite(float(word)))
    except ValueError:
        return False
