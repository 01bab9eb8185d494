"""What a chart shows, as data: the page draws it with JavaScript, `stills` for papers.

A chart has no drawing in it and a renderer no arithmetic: means, intervals, shares and
texts are computed where a chart is built. So both show the same numbers, and a new
chart is one function that returns a `Chart`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

Kind = Literal["lines", "rows", "tiles", "points"]


class Stroke(NamedTuple):
    """How an arm, or the level that colours stand for, looks in every chart."""

    label: str  # what a reader calls it: `third moment`
    colour: int  # position in the palette of a renderer
    dash: int  # position in its dashes, and in its symbols


class Axis(NamedTuple):
    """An axis of numbers, or of names."""

    label: str  # with the unit
    logarithmic: bool = False  # how it is drawn at first
    may_switch: bool = False  # whether a reader may switch between linear and log
    ticks: Sequence[float] = ()  # values to mark, such as those of a grid; none: any
    limits: tuple[float, float] | None = None  # None: of what is drawn
    reference: float | None = None  # a line across: 0 for a difference
    names: Sequence[str] = ()  # in order; then positions are names, not numbers
    whole: bool = False  # a count: only whole numbers are marked


class Series(NamedTuple):
    """A line of a chart of kind `lines`: an estimate in a band, over seeds."""

    key: str  # of its stroke: what hides it; "" is drawn in the colour of text
    label: str
    x: np.ndarray  # [points]
    y: np.ndarray  # [points]
    low: np.ndarray | None = None  # [points]; nan where there is no bound
    high: np.ndarray | None = None  # [points]
    seeds: Sequence[int] = ()
    values: np.ndarray | None = None  # [seeds, points], what each seed did
    joined: bool = True  # False: points alone
    marked: Sequence[int] = ()  # positions of points with a ring: what was chosen


class Row(NamedTuple):
    """A row of a chart of kind `rows`: dots of seeds and an interval, along x."""

    key: str
    label: str
    estimate: float
    low: float
    high: float
    seeds: Sequence[int] = ()
    values: np.ndarray | None = None  # [seeds]
    text: str = ""  # at the end of the row: `+1.64 [1.03, 2.25]`
    kind: str = ""  # "holds", "fails" or "undecided", if something is judged


class Tile(NamedTuple):
    """A tile of a chart of kind `tiles`, a heat map or a matrix."""

    x: str  # one of the names of the x axis
    y: str
    value: float  # decides its colour; nan is drawn empty
    text: str  # inside of the tile, a few letters
    title: str = ""  # the whole sentence, for a pointer and a screen reader
    marked: bool = False  # has a frame: what was chosen


class Point(NamedTuple):
    """A point of a chart of kind `points`, with intervals in both directions."""

    key: str
    label: str
    x: float
    y: float
    x_low: float = math.nan
    x_high: float = math.nan
    y_low: float = math.nan
    y_high: float = math.nan


class Panel(NamedTuple):
    """One of the small charts that share their axes; a chart has at least one."""

    title: str  # `protocol corrected, penalty none`; "" if there is one panel
    marks: Sequence[Series | Row | Tile | Point]  # of the chart's kind
    part_of: str = ""  # the lines of other parts of the same stand faint behind


class Chart(NamedTuple):
    """What one figure shows."""

    name: str  # of its files and of its place on the page: `test_accuracy`
    kind: Kind
    title: str
    x: Axis
    y: Axis
    panels: Sequence[Panel]
    columns: int = 1  # of panels, on a wide screen
    note: str = ""  # what its marks are, in a sentence or two
    smooth: bool = False  # whether a reader may smooth it: a line against the epoch
    same_y: bool = True  # panels share their y axis
    centre: float | None = None  # of the colours of tiles that go two ways: 0.5
    verdicts: Sequence[str] = ("holds", "fails", "undecided")  # names of `Row.kind`
    group: str = ""  # the heading it stands under on the page


class Charts(NamedTuple):
    """The charts of a page, and the strokes that all of them share."""

    strokes: Mapping[str, Stroke]  # key -> stroke, in the order of the legend
    charts: Sequence[Chart]
    legend: str  # what the colours stand for: `optimizer`, or `arm`


DIGITS = 5  # significant, of a number on the page


def as_json(charts: Charts) -> dict[str, Any]:
    """The charts as JSON has them: lists and plain numbers, null for nan and inf.

    Field names are those of the tuples, and numbers have five significant digits.
    """
    return {
        "legend": charts.legend,
        "strokes": {key: _plain(stroke) for key, stroke in charts.strokes.items()},
        "charts": [_plain(chart) for chart in charts.charts],
    }


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: _plain(x) for name, x in value._asdict().items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(x) for x in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value
