"""Labels beside the points of a still figure: none on another, or on a point."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from normjax.report.chart import Point

SIZE = 7.5  # of the letters, in points
DISTANCES = (5, 8, 12, 17, 23, 30, 38, 47, 57, 68)  # of a label from its point, points
ANGLES = tuple(i * math.pi / 8 for i in range(16))
NEAR = 8.0  # a label farther from its point has a line to it
SYMBOL = 4.0  # half the size of a point's symbol
CROSSING = 6.0  # points of distance that a line across a symbol is as bad as
STRUCK = 40.0  # points of distance that a label across an interval is as bad as


class Marks(NamedTuple):
    """What stands in the frame, in points from the lower left corner of the figure."""

    symbols: list[Bbox]
    bars: list[Bbox]
    labels: list[Bbox]
    lines: list[Bbox]  # pieces of lines to labels


class Place(NamedTuple):
    """Where a label stands, in points from the lower left corner of the figure."""

    box: Bbox
    line: Sequence[Bbox]  # pieces of the line to its point; none if it is near


def add_labels(ax: Axes, points: Sequence[Point]) -> list[str]:
    """Writes the labels of points whose axes are laid out.

    Returns:
        The labels for which there is no room; they are not written.
    """
    figure = ax.figure
    unit = 72 / figure.dpi  # points, of a pixel
    frame = Bbox(ax.get_window_extent().get_points() * unit)
    spots = [_spot(ax, point.x, point.y) * unit for point in points]
    bars = [Bbox(x * unit).padded(0.5) for point in points for x in _bars(ax, point)]
    symbols = [Bbox([spot - SYMBOL, spot + SYMBOL]) for spot in spots]
    there = Marks(symbols, bars, [], [])
    lost = []
    for point, spot in zip(points, spots):
        text = ax.annotate(
            point.label, (point.x, point.y), (0, 0), textcoords="offset points"
        )
        text.set(fontsize=SIZE, ha="left", va="bottom", in_layout=False)
        size = np.array(text.get_window_extent().size) * unit
        place = _place(spot, size, there, frame)
        if place is None:
            text.remove()
            lost.append(point.label)
            continue
        text.xyann = tuple(place.box.min - spot)
        there.labels.append(place.box)
        there.lines.extend(place.line)
        if place.line:
            to = ax.transData.inverted().transform(_end(spot, place.box) / unit)
            ends = [point.x, to[0]], [point.y, to[1]]
            (line,) = ax.plot(*ends, lw=0.6, zorder=2, scalex=False, scaley=False)
            line.set_color("#888888")
    return lost


def _place(
    spot: np.ndarray, size: np.ndarray, there: Marks, frame: Bbox
) -> Place | None:
    """The best free place: near, and crossing little; None if there is none.

    A line to a label crosses no other label, and symbols only if there is need.
    """
    hard = [*there.symbols, *there.labels, *there.lines]
    found = []
    for distance, box in _boxes(spot, size):
        inside = frame.x0 <= box.x0 and box.x1 <= frame.x1
        inside = inside and frame.y0 <= box.y0 and box.y1 <= frame.y1
        if not inside or box.count_overlaps(hard):
            continue
        line = _line(spot, box)
        if any(piece.count_overlaps(there.labels) for piece in line):
            continue
        cost = distance + STRUCK * box.padded(1).count_overlaps(there.bars)
        crossed = sum(bool(symbol.count_overlaps(line)) for symbol in there.symbols)
        found.append((cost + CROSSING * crossed, Place(box, line)))
    return min(found, key=lambda each: each[0])[1] if found else None


def _boxes(spot: np.ndarray, size: np.ndarray) -> Iterator[tuple[float, Bbox]]:
    for distance, angle in itertools.product(DISTANCES, ANGLES):
        way = np.array([math.cos(angle), math.sin(angle)])
        corner = spot + distance * way - size * (1 - way) / 2
        yield distance, Bbox([corner, corner + size])


def _line(spot: np.ndarray, box: Bbox) -> list[Bbox]:
    """Pieces of the line from a point to a box that is not near."""
    way = _end(spot, box) - spot
    length = float(np.hypot(*way))
    if length < NEAR:
        return []
    places = np.arange(SYMBOL + 1.5, length - 0.5, 1.5)
    return [Bbox([x - 0.4, x + 0.4]) for x in spot + np.outer(places, way / length)]


def _end(spot: np.ndarray, box: Bbox) -> np.ndarray:
    return np.clip(spot, box.min, box.max)


def _spot(ax: Axes, x: float, y: float) -> np.ndarray:
    return np.asarray(ax.transData.transform((x, y)))


def _bars(ax: Axes, point: Point) -> list[np.ndarray]:
    """The corners of the two intervals of a point, where they are known."""
    x = [v if math.isfinite(v) else point.x for v in (point.x_low, point.x_high)]
    y = [v if math.isfinite(v) else point.y for v in (point.y_low, point.y_high)]
    return [
        np.array([_spot(ax, x[0], point.y), _spot(ax, x[1], point.y)]),
        np.array([_spot(ax, point.x, y[0]), _spot(ax, point.x, y[1])]),
    ]
