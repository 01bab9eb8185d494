"""The marks of a still figure: lines in bands, rows of dots, tiles, and points.

Matplotlib is used through its object-oriented interface alone: no global state.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import CenteredNorm, Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from normjax.report.chart import Point, Row, Series, Stroke, Tile
from normjax.report.still_axes import wrapped
from normjax.report.still_sizes import row_lines

INK = "#1a1a1a"
COLOURS = (  # Okabe and Ito, 2008, with a dark red in place of yellow: any two differ
    "#0072B2",  # by 10 of CIEDE2000 or more, to the colour-blind too
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    INK,
    "#882255",
)
DASHES: tuple[Any, ...] = (  # lengths of strokes and gaps, in widths of the line
    "-",
    (0, (4.5, 1.5)),
    (0, (1.1, 1.1)),
    (0, (6, 1.4, 1.2, 1.4)),
    (0, (8, 2)),
    (0, (3, 1.2, 1.2, 1.2, 1.2, 1.2)),
)
SYMBOLS = ("o", "s", "^", "D", "v", "P", "X")
GRID = 12  # a line of at most so many points has a symbol at each
VERDICTS = {  # marker, whether it is filled, width of the interval
    "": ("o", True, 1.8),
    "holds": ("o", True, 2.6),
    "fails": ("X", True, 2.6),
    "undecided": ("o", False, 1.2),
}
SEQUENTIAL, DIVERGING = "cividis", "PuOr_r"  # told apart by the colour-blind too


class MarkStyle(NamedTuple):
    """How matplotlib draws a stroke."""

    colour: Any
    dash: Any
    symbol: str


def mark_style(stroke: Stroke | None) -> MarkStyle:
    """The style of a stroke; without one, that of text."""
    if stroke is None:
        return MarkStyle(INK, DASHES[0], SYMBOLS[0])
    return MarkStyle(
        COLOURS[stroke.colour % len(COLOURS)],
        DASHES[stroke.dash % len(DASHES)],
        SYMBOLS[stroke.dash % len(SYMBOLS)],
    )


def handle(style: MarkStyle, marks: Sequence[Series | Point]) -> Line2D:
    """What stands beside the label of some marks in the legend."""
    pairs = [
        _dash_and_symbol(x, style) if isinstance(x, Series) else ("none", style.symbol)
        for x in marks
    ]
    dash = style.dash if any(dash != "none" for dash, _ in pairs) else "none"
    symbol = style.symbol if any(symbol != "none" for _, symbol in pairs) else "none"
    return Line2D([], [], color=style.colour, ls=dash, marker=symbol, ms=4, lw=1.5)


def _dash_and_symbol(series: Series, style: MarkStyle) -> tuple[Any, str]:
    """A long line has no symbols, and points that are not joined have no line."""
    joined = series.joined and len(series.x) > 1
    symbol = "none" if joined and len(series.x) > GRID else style.symbol
    return style.dash if joined else "none", symbol


def verdict_handle(kind: str) -> Line2D:
    """What stands beside the name of a verdict in the legend."""
    marker, filled, width = VERDICTS[kind]
    return Line2D([], [], color=INK, lw=width, **_estimate(marker, INK, filled))


def unnamed_style(position: int, number: int) -> MarkStyle:
    """The style of one of some lines that have no stroke: from dark to light."""
    if number == 1:
        return mark_style(None)
    shade = matplotlib.colormaps["viridis"](0.85 * position / (number - 1))
    dash = DASHES[position % len(DASHES)] if number <= len(DASHES) else DASHES[0]
    return MarkStyle(shade, dash, SYMBOLS[position % len(SYMBOLS)])


def draw_series(ax: Axes, series: Series, style: MarkStyle) -> None:
    """A line in its band, or points with bars; a ring around what is marked."""
    x, y = (np.asarray(v, np.float64) for v in (series.x, series.y))
    joined = series.joined and len(x) > 1
    if series.low is not None and series.high is not None:
        low, high = (np.asarray(v, np.float64) for v in (series.low, series.high))
        if joined:
            ax.fill_between(x, low, high, color=style.colour, alpha=0.16, lw=0)
        else:
            ax.vlines(x, low, high, color=style.colour, lw=1.4)
            ax.plot(np.tile(x, 2), np.concatenate([low, high]), ls="none")  # its extent
    elif series.values is not None and joined:
        ax.plot(x, np.transpose(series.values), color=style.colour, lw=0.5, alpha=0.35)
    dash, symbol = _dash_and_symbol(series, style)
    ax.plot(x, y, ls=dash, color=style.colour, marker=symbol, ms=3.5, zorder=2.5)
    marked = list(series.marked)
    ring = {"marker": "o", "ms": 9, "mfc": "none", "mec": style.colour, "ls": "none"}
    if marked:
        ax.plot(x[marked], y[marked], **ring, zorder=3)  # type: ignore[arg-type]


def draw_context(ax: Axes, lines: Sequence[Series]) -> None:
    """Lines of other panels, faint behind those of this one."""
    for line in lines:
        if line.joined:
            ax.plot(line.x, line.y, color="#c4c4c4", lw=0.6, zorder=1.6)


def draw_rows(ax: Axes, rows: Sequence[Row], strokes: Mapping[str, Stroke]) -> None:
    """Rows from the top, in lines of text; dots of the seeds above their interval."""
    ends = np.cumsum([0.0] + [row_lines(row.label) for row in rows])
    middles = (ends[1:] + ends[:-1]) / 2
    for row, middle in zip(rows, middles):
        own = mark_style(strokes.get(row.key))
        below = middle
        if row.values is not None:
            dots = np.asarray(row.values, np.float64)
            place, below = np.full(len(dots), middle - 0.42), middle + 0.3
            ax.plot(dots, place, "o", color=own.colour, ms=3.4, mew=0, alpha=0.5)
        marker, filled, width = VERDICTS.get(row.kind, VERDICTS[""])
        ax.plot([row.low, row.high], [below] * 2, "-", color=own.colour, lw=width)
        ax.plot([row.estimate], [below], **_estimate(marker, own.colour, filled))
        if row.text:
            side = ax.get_yaxis_transform()
            ax.text(1.02, middle, row.text, transform=side, va="center", fontsize=8)
    ax.set_yticks(middles, [wrapped(row.label) for row in rows])
    ax.set_ylim(ends[-1], 0)
    ax.tick_params(axis="y", length=0)


def _estimate(marker: str, colour: Any, filled: bool) -> dict[str, Any]:
    """A marker with a light edge if it is filled, so that it stands out of its bar."""
    face, edge = (colour, "white") if filled else ("white", colour)
    size, width = (7.0, 0.8) if filled else (5.5, 1.4)
    return {"marker": marker, "ms": size, "mfc": face, "mec": edge, "mew": width}


def tile_colours(tiles: Sequence[Tile], centre: float | None) -> tuple[Normalize, Any]:
    """From values to colours: light to dark, or two ways from a centre."""
    values = np.array([tile.value for tile in tiles], np.float64)
    values = values[np.isfinite(values)]
    if centre is not None:
        half = float(np.abs(values - centre).max(initial=0)) or 1.0
        return CenteredNorm(centre, half), matplotlib.colormaps[DIVERGING]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    return Normalize(low, high if high > low else low + 1), (
        matplotlib.colormaps[SEQUENTIAL]
    )


def draw_tiles(
    ax: Axes,
    tiles: Sequence[Tile],
    names: tuple[Sequence[str], Sequence[str]],
    norm: Normalize,
    colours: Any,
) -> Any:
    """Tiles with their texts at the positions of their names; returns the mesh."""
    columns, rows = ({name: i for i, name in enumerate(each)} for each in names)
    grid = np.full((len(rows), len(columns)), np.nan)
    for tile in tiles:
        grid[rows[tile.y], columns[tile.x]] = tile.value
    edges = [np.arange(len(each) + 1) - 0.5 for each in names]
    masked = np.ma.masked_invalid(grid)
    mesh = ax.pcolormesh(*edges, masked, norm=norm, cmap=colours, ec="white", lw=0.8)
    for tile in tiles:
        x, y = columns[tile.x], rows[tile.y]
        dark = np.isfinite(tile.value) and is_dark(colours(float(norm(tile.value))))
        style = {"ha": "center", "va": "center", "fontsize": 7.5}
        ax.text(x, y, tile.text, color="white" if dark else "black", **style)  # type: ignore[arg-type]
    frames = [
        Rectangle((columns[tile.x] - 0.46, rows[tile.y] - 0.46), 0.92, 0.92)
        for tile in tiles
        if tile.marked
    ]
    for colour, width in (("white", 2.8), (INK, 1.3)):
        edge = {"fc": "none", "ec": colour, "lw": width, "zorder": 3}
        ax.add_collection(PatchCollection(frames, **edge))  # type: ignore[arg-type]
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return mesh


def is_dark(colour: Sequence[float]) -> bool:
    """Whether white is more legible than black on a colour (WCAG 2.2)."""
    parts = [
        x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in colour
    ]
    red, green, blue = parts[:3]
    return bool(0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.179)


def draw_point(ax: Axes, point: Point, style: MarkStyle) -> None:
    """A point with thin intervals in both directions."""
    thin = {"color": style.colour, "lw": 1.0, "alpha": 0.6}
    for x, y in (
        ([point.x_low, point.x_high], [point.y] * 2),
        ([point.x] * 2, [point.y_low, point.y_high]),
    ):
        ax.plot(x, y, "-", **thin)  # type: ignore[arg-type]
    mark = {"color": style.colour, "ms": 6, "mec": "white", "zorder": 3}
    ax.plot([point.x], [point.y], style.symbol, **mark)  # type: ignore[arg-type]
