"""Scales and ticks of a still figure: which numbers and names stand along its axes."""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from normjax.report.chart import Axis

Direction = Literal["x", "y"]

LETTER = 0.074  # inches that a letter of a tick or a row takes, on average
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
NAME = 30  # letters in a line of a name


def wrapped(text: str, letters: int = NAME) -> str:
    """A text in lines of at most so many letters, broken between words if it may."""
    return "\n".join(textwrap.wrap(text, max(8, letters))) or text


def letters_in(inches: float) -> int:
    """How many letters fit on so many inches."""
    return int(inches / LETTER)


def widest(texts: Iterable[str]) -> float:
    """Inches that the longest line of some texts takes."""
    lines = (line for text in texts for line in text.splitlines())
    return LETTER * max(map(len, lines), default=0)


def set_axis(
    panels: Sequence[Axes], direction: Direction, axis: Axis, inches: float
) -> None:
    """Gives panels whose marks are drawn the scale, ticks and reference of an axis.

    Args:
        panels: that share the axis, or have one each.
        direction: which of their two axes.
        axis: what it is like.
        inches: its length.
    """
    for ax in panels:
        if axis.names:
            set_names(ax, direction, axis.names, inches)
        else:
            set_scale(ax, direction, axis, inches)
    for ax in panels:
        if axis.reference is not None:
            line = ax.axvline if direction == "x" else ax.axhline
            line(axis.reference, color="#555555", lw=0.9, zorder=1.5)


def set_names(
    ax: Axes, direction: Direction, names: Sequence[str], inches: float
) -> None:
    """Names at the positions 0, 1, ...; the first name of a y axis is on top."""
    lines = [wrapped(name) for name in names]
    getattr(ax, f"{direction}axis").set_ticks(range(len(names)), lines)
    ends = -0.5, len(names) - 0.5
    getattr(ax, f"set_{direction}lim")(ends if direction == "x" else ends[::-1])
    if direction == "x" and not lie(lines, inches):
        ax.tick_params(axis="x", rotation=90)


def lie(names: Sequence[str], inches: float) -> bool:
    """Whether names along an x axis of that length have room to lie side by side."""
    return widest(names) + 0.5 * LETTER < inches / max(1, len(names))


def set_scale(ax: Axes, direction: Direction, axis: Axis, inches: float) -> None:
    """A linear or logarithmic scale, its limits, and ticks that can be read."""
    values = drawn(ax, direction)
    low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
    logarithmic = axis.logarithmic and 0 < low < high
    if logarithmic:
        getattr(ax, f"set_{direction}scale")("log")
    if axis.limits is not None:
        getattr(ax, f"set_{direction}lim")(*axis.limits)
        low, high = axis.limits
    if len(axis.ticks):
        set_ticks(ax, direction, axis.ticks, inches)
    elif logarithmic:
        set_log_ticks(getattr(ax, f"{direction}axis"), low, high)
    elif len(values):
        number = int(np.clip(inches / 0.5, 3, 8))
        locator = MaxNLocator(number, integer=axis.whole, steps=[1, 2, 2.5, 5, 10])
        getattr(ax, f"{direction}axis").set_major_locator(locator)


def set_ticks(
    ax: Axes, direction: Direction, ticks: Sequence[float], inches: float
) -> None:
    """Ticks at these values; of labels that would touch, only the first is written."""
    axis = getattr(ax, f"{direction}axis")
    low, high = sorted(getattr(ax, f"get_{direction}lim")())
    scale: Callable[[Any], Any] = np.log if axis.get_scale() == "log" else np.asarray
    inches /= float(scale(high) - scale(low)) or 1.0
    labels, end = list[str](), -np.inf
    for tick in sorted(ticks):
        label = f"{tick:g}"
        size = LETTER * (len(label) + 1) if direction == "x" else 0.16
        place = inches * float(scale(tick) - scale(low))
        fits = place - size / 2 >= end
        labels.append(label if fits else "")
        end = place + size / 2 if fits else end
    axis.set_ticks(sorted(ticks), labels)
    axis.set_minor_locator(NullLocator())


def set_log_ticks(axis: Any, low: float, high: float) -> None:
    """Powers of ten, or where there are too few of them, numbers between them too."""
    axis.set_minor_locator(NullLocator())
    if high < 2.5 * low:
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    elif high < 100 * low:
        axis.set_minor_locator(LogLocator(subs=(2, 5) if high > 8 * low else (2, 3, 5)))
        axis.set_minor_formatter("{x:g}")
    near = low > 0.9e-4 and high < 2e4
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}" if near else power(x)))


def power(value: float) -> str:
    """A power of ten with its exponent raised."""
    return "10" + str(round(np.log10(value))).translate(RAISED)


def drawn(ax: Axes, direction: Direction) -> np.ndarray:
    """The finite numbers along an axis of the lines of all panels that share it."""
    shared = ax.get_shared_x_axes() if direction == "x" else ax.get_shared_y_axes()
    lines = [line for each in shared.get_siblings(ax) for line in each.lines]
    found = [
        line.get_xdata() if direction == "x" else line.get_ydata() for line in lines
    ]
    values = np.concatenate([np.empty(0), *(np.asarray(x, float) for x in found)])
    return values[np.isfinite(values)]
