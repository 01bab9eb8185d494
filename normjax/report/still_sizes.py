"""How large a still figure is, so that everything in it can be read."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from normjax.report.chart import Chart
from normjax.report.still_axes import LETTER, letters_in, lie, widest, wrapped

LINE = 0.145  # inches that a line of a name takes
SHORT = 0.55  # inches: names below tiles that are shorter lie, and the tiles are wide
WIDTH, NARROW = 5.2, 2.9  # inches of a panel alone, and of one of several columns

Plot = tuple[float, float]  # the width and the height inside of a panel's axes


class Sizes(NamedTuple):
    """Inches, of what is below the title and the legend."""

    columns: int  # of panels
    width: float  # of a column of panels
    heights: Sequence[float]  # of the axes in each row of panels
    above: float  # each row of panels, for titles
    below: float  # the last row of panels, for names that stand
    plot: Plot


def sizes_of(chart: Chart) -> Sizes:
    """The size of a chart: rows and tiles grow with their number and their names."""
    columns = max(1, min(chart.columns, len(chart.panels)))
    rows = -(-len(chart.panels) // columns)
    below = 0.0
    titles = [panel.title for panel in chart.panels if panel.title]
    if chart.kind == "rows":
        width, heights, plot = _of_rows(chart, columns, rows)
    elif chart.kind == "tiles":
        width, heights, plot = _of_tiles(chart, columns, rows)
        names = [wrapped(name) for name in chart.x.names]
        turned = not lie(names, plot[0])
        below = widest(names) if turned else LINE * _lines(names)
    else:
        width = WIDTH if columns == 1 else NARROW
        heights = [2.7 if columns == rows == 1 else 1.85] * rows
        if chart.kind == "points":  # room for labels
            most = max((len(panel.marks) for panel in chart.panels), default=0)
            heights = [max(heights[0], 0.17 * most)] * rows
        plot = width - 0.6, heights[0]
    between = 0.35 if chart.kind in ("lines", "points") else 0.15
    above = between + LINE * _lines([panel_title(x, plot) for x in titles])
    return Sizes(columns, width, heights, above, below, plot)


def panel_title(title: str, plot: Plot) -> str:
    """The title of a panel in lines that are as wide as its axes."""
    return wrapped(title, letters_in(1.1 * plot[0]))


def _of_rows(chart: Chart, columns: int, rows: int) -> tuple[float, list[float], Plot]:
    marks: list[list[Any]] = [list(panel.marks) for panel in chart.panels]
    tall = [LINE * sum(row_lines(mark.label) for mark in each) for each in marks]
    heights = [max(tall[i * columns : (i + 1) * columns]) for i in range(rows)]
    names = [wrapped(mark.label) for each in marks for mark in each]
    texts = [mark.text for each in marks for mark in each]
    plot = 3.4 if columns == 1 else 2.4
    width = widest(names) + plot + widest(texts) + 0.2
    return width, heights, (plot, heights[0])


def _of_tiles(chart: Chart, columns: int, rows: int) -> tuple[float, list[float], Plot]:
    marks: list[Any] = [mark for panel in chart.panels for mark in panel.marks]
    below, beside = (list(map(wrapped, axis.names)) for axis in (chart.x, chart.y))
    tile = max(0.32, 0.9 * widest(mark.text for mark in marks) + 0.1)
    if widest(below) < SHORT:
        tile = max(tile, widest(below) + LETTER)
    plot = (
        max(1.6, tile * len(below)),
        sum(max(0.32, LINE * (1 + name.count("\n"))) for name in beside),
    )
    width = plot[0] + widest(beside) + (0.9 if columns == 1 else 0.5)
    return width, [plot[1]] * rows, plot


def row_lines(label: str) -> float:
    """How many lines high the row of that label is: two, or those of its name."""
    return max(2.0, wrapped(label).count("\n") + 1.4)


def _lines(names: Sequence[str]) -> int:
    return max((name.count("\n") + 1 for name in names), default=0)
