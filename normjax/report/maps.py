"""Heat maps: the mean test accuracy at every value of a setting or of two."""

import itertools
from collections.abc import Sequence

import numpy as np

from normjax import numerals
from normjax.report import bands, formats, grids, names, networks
from normjax.report.chart import Axis, Chart, Panel, Tile
from normjax.report.layout import Layout
from normjax.report.networks import Cell
from normjax.statistics import Interval

FRAME = "A frame: the setting of the highest mean validation accuracy."
TITLE = "Mean final test accuracy, percent,"

Marked = set[tuple[str, int]]  # arm and position of what was chosen


def charts(cells: Sequence[Cell], layout: Layout, level: float) -> list[Chart]:
    """A map for each setting or factor of numbers, and for each pair of settings."""
    marked = {(x.arm, x.position) for x in networks.best_of_arms(cells)}
    found = [
        by_arm(cells, axis, layout, level, marked)
        for axis in grids.axis_names(cells, layout)
    ]
    pairs = itertools.combinations(cells[0].settings, 2)
    found += [by_settings(cells, x, layout, level, marked) for x in pairs]
    return [chart for chart in found if chart]


def by_arm(
    cells: Sequence[Cell], axis: str, layout: Layout, level: float, marked: Marked
) -> Chart | None:
    """Rows for the levels of the colours, columns for the values; None for one row."""
    along = grids.cells_along(cells, axis)
    text = texts([grids.value(cell, axis) for cell in along])
    panels: dict[str, list[Tile]] = {}
    rows: dict[str, None] = {}
    for cell in along:
        key, title = layout.key(cell.arm, axis), layout.title(cell.arm, axis)
        row, panel = (layout.strokes[key].label, title) if key else (title, "")
        rows[row] = None
        place = text[grids.value(cell, axis)], row
        at = [axis] if axis in cell.settings else []
        new = tile(cell, *place, layout.labels[cell.arm], at, level)
        frame = axis in cell.settings and (cell.arm, cell.position) in marked
        panels.setdefault(panel, []).append(new._replace(marked=frame))
    if len(rows) < 2:
        return None
    return Chart(
        name=f"map_{axis}",
        kind="tiles",
        title=f"{TITLE} at each {names.words(axis)}",
        x=Axis(names.words(axis), names=list(text.values())),
        y=Axis(names.words(layout.colour), names=list(rows)),
        panels=[Panel(title, tiles) for title, tiles in panels.items()],
        columns=min(2, layout.num_columns(axis)),
        note=FRAME if axis in cells[0].settings else "",
        group=grids.GROUP,
    )


def by_settings(
    cells: Sequence[Cell],
    pair: tuple[str, str],
    layout: Layout,
    level: float,
    marked: Marked,
) -> Chart | None:
    """A panel for each arm that tried two settings together; None if there is none."""
    x, y = pair
    crossed = crossed_arms(cells, pair)
    along = [cell for found in crossed.values() for cell in found]
    if not along:
        return None
    columns, rows = (texts([grids.value(c, axis) for c in along]) for axis in pair)
    panels = []
    for arm, found in crossed.items():
        tiles = [
            tile(
                cell,
                columns[grids.value(cell, x)],
                rows[grids.value(cell, y)],
                layout.labels[arm],
                pair,
                level,
            )._replace(marked=(cell.arm, cell.position) in marked)
            for cell in found
        ]
        panels.append(Panel(layout.labels[arm] if len(crossed) > 1 else "", tiles))
    return Chart(
        name=f"map_{x}_{y}",
        kind="tiles",
        title=f"{TITLE} at each {names.words(x)} and {names.words(y)}",
        x=Axis(names.words(x), names=list(columns.values())),
        y=Axis(names.words(y), names=list(reversed(rows.values()))),
        panels=panels,
        columns=min(3, len(panels)),
        note=FRAME,
        group=grids.GROUP,
    )


def tile(cell: Cell, x: str, y: str, arm: str, at: Sequence[str], level: float) -> Tile:
    """The mean test accuracy of a cell in percent, with how many networks diverged.

    Args:
        cell: an arm at a setting.
        x: the column.
        y: the row.
        arm: what a reader calls the arm.
        at: the settings that the tile stands for.
        level: of the interval.
    """
    found = bands.interval(cell.final["test_accuracy"], level, "share")
    estimate, low, high = (float(bound) for bound in found[:3])
    numbers = [f"{names.words(k)} {formats.number(cell.settings[k])}" for k in at]
    where = ", ".join([arm, *numbers])
    mean = formats.by_width(Interval(estimate, low, high, found.n))
    lost = int(cell.diverged.sum())
    diverged = f", {lost} of them diverged" if lost else ""
    seeds = numerals.plural(len(cell.seeds), "seed")
    return Tile(
        x=x,
        y=y,
        value=100 * estimate,
        text=f"{100 * estimate:.1f}" if np.isfinite(estimate) else "",
        title=f"{where}: mean test accuracy {mean}, {seeds}{diverged}",
    )


def texts(values: Sequence[float]) -> dict[float, str]:
    """Each value with as few digits, at least three, as tell all of them apart."""
    ordered = sorted(set(values))
    for digits in range(3, 18):
        found = {x: f"{x:.{digits}g}" for x in ordered}
        if len(set(found.values())) == len(ordered):
            break
    return found


def crossed_arms(cells: Sequence[Cell], pair: tuple[str, str]) -> dict[str, list[Cell]]:
    """Arm -> its best cells along two settings, of the arms that crossed these.

    A grid whose settings go up together is a line, not a map.
    """
    along: dict[str, list[Cell]] = {}
    for cell in grids.cells_along(cells, *pair):
        along.setdefault(cell.arm, []).append(cell)
    found = {}
    for arm, members in along.items():
        counts = [len({grids.value(cell, axis) for cell in members}) for axis in pair]
        if min(counts) > 1 and len(members) > max(counts):
            found[arm] = members
    return found
