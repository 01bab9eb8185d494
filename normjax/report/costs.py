"""The chart of cost against accuracy."""

import math
from collections.abc import Sequence

import numpy as np

from normjax.report import bands, estimates, formats
from normjax.report.chart import Axis, Chart, Panel, Point
from normjax.report.layout import Layout
from normjax.report.networks import Cell


def charts(best: Sequence[Cell], layout: Layout, level: float) -> list[Chart]:
    """Seconds per network against test accuracy; nothing if no time is known."""
    panels = {
        title: [point for cell in members if (point := of_cell(cell, layout, level))]
        for title, members in layout.panels(best).items()
    }
    points = [point for found in panels.values() for point in found]
    if not points:
        return []
    arrays = [np.array([x.y, x.y_low, x.y_high]) for x in points]
    chart = Chart(
        name="cost",
        kind="points",
        title="Seconds of training per network against final test accuracy",
        x=Axis("seconds per network", logarithmic=True, may_switch=True),
        y=bands.share_axis("final test accuracy", arrays),
        panels=[Panel(title, found) for title, found in panels.items()],
        columns=layout.num_columns(),
        note="Bars: mean accuracy over seeds and its"
        f" {formats.confidence(level)} interval; median of the epochs times their"
        " number, and its interval. These are the seconds of one run, and say nothing"
        " of another: arms run minutes apart, and the noise of a machine comes in"
        " bursts.",
        group="cost",
    )
    return [chart]


def of_cell(cell: Cell, layout: Layout, level: float) -> Point | None:
    """An arm; None where its time or its accuracy is not known."""
    speed = estimates.speed(cell)
    accuracy = bands.interval(cell.final["test_accuracy"], level, "share")
    if not (speed.estimate > 0 and math.isfinite(accuracy.estimate)):
        return None
    x, x_low, x_high = (float(value) for value in speed[:3])
    y, y_low, y_high = (float(value) for value in accuracy[:3])
    return Point(
        key=layout.key(cell.arm),
        label=layout.label(cell.arm),
        x=x,
        y=y,
        x_low=x_low,
        x_high=x_high,
        y_low=y_low,
        y_high=y_high,
    )
