"""Estimates in bands: the lines of a chart, and the axis that they need.

What a number is decides its interval. A share is an accuracy, within [0, 1]. A size,
such as a loss or a norm, is not negative: its interval is taken on the log, and its
axis is logarithmic where it spans more than a factor of ten.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from normjax import bounded, statistics
from normjax.report import formats
from normjax.report.chart import Axis, Row, Series
from normjax.statistics import Interval

Scale = Literal["share", "size", "signed"]

LEAST_SEEDS = 3  # fewer have no band: that of two is wider than any chart
MOST_NUMBERS = 20_000  # of seeds, in one chart
FEW = 8  # points of a line, up to which the page draws bars: see assets/lines.js
WIDE = 10.0  # sizes that span more than this factor get a logarithmic axis
SPREAD = 3.0  # values of a grid that span this factor get one
MOST_TICKS = 12  # values of a grid that are marked; more would overlap
MARGIN = 0.05  # of the range of what is drawn, on either side of it

CLIPPED = "Intervals end at 0 and 1, as accuracies do."
ON_LOG = "Intervals are taken on the log, so they stay above zero."
UNDRAWN = "The lines of single seeds are left out, for there are too many."


def interval(values: np.ndarray, level: float, scale: Scale) -> Interval:
    """The mean over seeds of [seeds, ...]; bounds are nan with fewer than LEAST_SEEDS.

    A size with a negative value has Student's interval, as a signed number has.
    """
    if scale == "size" and not (values < 0).any():
        found = bounded.positive_mean(values, level)
    else:
        found = statistics.mean_interval(values, level)
    few = np.asarray(found.n) < LEAST_SEEDS
    low, high = (np.where(few, np.nan, x) for x in (found.low, found.high))
    if scale == "share":
        low, high = np.clip(low, 0, 1), np.clip(high, 0, 1)
    return Interval(found.estimate, low, high, found.n)


def series(
    key: str,
    label: str,
    x: np.ndarray,
    values: np.ndarray,
    seeds: Sequence[int],
    *,
    level: float,
    scale: Scale,
) -> Series:
    """The mean of [seeds, points] over seeds as a line, without a band if it has none.

    Raises no warning where every network diverged: there the line has gaps.
    """
    found = interval(values, level, scale)
    known = np.isfinite(found.low).any()
    return Series(
        key=key,
        label=label,
        x=np.asarray(x),
        y=found.estimate,
        low=found.low if known else None,
        high=found.high if known else None,
        seeds=[int(seed) for seed in seeds],
        values=values,
    )


def thinned(lines: Sequence[Series]) -> tuple[list[Series], str]:
    """The lines without what single seeds did, and a note, if that is too much."""
    numbers = sum(x.values.size for x in lines if x.values is not None)
    if numbers <= MOST_NUMBERS:
        return list(lines), ""
    return [x._replace(values=None, seeds=()) for x in lines], UNDRAWN


def notes(lines: Iterable[Series], level: float, scale: Scale) -> list[str]:
    """What the marks of these lines are, in sentences; a band is named if there is one.

    The page draws lines of at most FEW points with bars, for bands would cover them.

    An interval that was ended at 0 or 1 is told of.
    """
    lines = list(lines)
    banded = [x for x in lines if x.low is not None]
    sentences = ["Lines: mean over seeds."]
    if banded:
        drawn = "bars" if all(len(x.x) <= FEW for x in lines) else "bands"
        percent = formats.confidence(level)
        sentences = [f"Lines: mean over seeds; {drawn}: its {percent} interval."]
    if len(banded) < len(lines):
        sentences.append(too_few(level))
    bounds = [(x.low, x.high) for x in banded]
    if scale == "share" and any(ended(*pair) for pair in bounds):
        sentences.append(CLIPPED)
    if scale == "size" and banded and not any_negative(banded):
        sentences.append(ON_LOG)
    return sentences


def too_few(level: float) -> str:
    """Why a line has no band; a row of seeds has its interval from two seeds on."""
    least = "Fewer than three seeds are too few"
    return f"{least} for a band of the {formats.confidence(level)} interval."


def ended(low: np.ndarray | float | None, high: np.ndarray | float | None) -> bool:
    """Whether an interval of a share reaches 0 or 1."""
    if low is None or high is None:
        return False
    return bool(np.any(np.asarray(low) <= 0) or np.any(np.asarray(high) >= 1))


def any_negative(lines: Iterable[Series]) -> bool:
    """Whether a line, a band or a seed is below zero somewhere."""
    return any((x < 0).any() for line in lines for x in drawn(line))


def drawn(line: Series) -> list[np.ndarray]:
    """The arrays of a line that have numbers of its y axis."""
    arrays = line.y, line.low, line.high, line.values
    return [np.asarray(x) for x in arrays if x is not None]


def y_axis(label: str, lines: Sequence[Series], scale: Scale) -> Axis:
    """The axis of these lines: within [0, 1], logarithmic, or neither."""
    arrays = [np.ravel(x) for line in lines for x in drawn(line)]
    if scale == "share":
        return share_axis(label, arrays)
    if scale == "signed" or any_negative(lines):
        return Axis(label, reference=0.0)
    means = np.concatenate([line.y for line in lines] or [np.empty(0)])
    means = means[np.isfinite(means) & (means > 0)]
    if not means.size:
        return Axis(label)
    wide = bool(means.max() > WIDE * means.min())
    return Axis(label, logarithmic=wide, may_switch=True)


def share_axis(label: str, arrays: Sequence[np.ndarray]) -> Axis:
    """An axis of accuracies that never runs below 0 or above 1.

    It has limits only where a margin around what is drawn would cross 0 or 1, or there
    is nothing to take a margin of. Elsewhere a renderer follows what it shows.
    """
    values = np.concatenate([np.ravel(x) for x in arrays] or [np.empty(0)])
    values = values[np.isfinite(values)]
    if not values.size:
        return Axis(label, limits=(0.0, 1.0))
    low, high = values.min(), values.max()
    margin = MARGIN * (high - low)
    inside = low >= margin > 0 and high <= 1 - margin
    return Axis(label, limits=None if inside else around(values))


def around(values: np.ndarray) -> tuple[float, float]:
    """Limits within [0, 1], a margin away from these accuracies; nan is left out."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = MARGIN * (high - low) or MARGIN
    return max(0.0, low - margin), min(1.0, high + margin)


def row_arrays(rows: Iterable[Row]) -> list[np.ndarray]:
    """The arrays of rows that have numbers of their x axis."""
    return [
        np.array([*(x.values if x.values is not None else ()), *x[2:5]], np.float64)
        for x in rows
    ]


def grid_axis(label: str, values: Sequence[float]) -> Axis:
    """An axis with ticks at the values of a grid, logarithmic if they are far apart."""
    ticks = sorted({float(x) for x in values if np.isfinite(x)})
    positive = bool(ticks) and ticks[0] > 0
    far = positive and len(ticks) > 1 and ticks[-1] / ticks[0] > SPREAD - 1e-9
    marked = ticks if len(ticks) <= MOST_TICKS else ()
    whole = bool(ticks) and all(x.is_integer() for x in ticks)
    return Axis(label, logarithmic=far, may_switch=positive, ticks=marked, whole=whole)
