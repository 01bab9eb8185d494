"""Charts against a setting or a factor of numbers: what a grid found."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from normjax.report import bands, names, networks
from normjax.report.bands import Scale
from normjax.report.chart import Chart, Panel, Series
from normjax.report.layout import Layout, numeric_factors
from normjax.report.networks import Cell

GROUP = "grid"
CHOSEN = "A ring: the setting of the highest mean validation accuracy."


class Outcome(NamedTuple):
    """A number of each network."""

    title: str
    label: str  # of the y axis, with the unit
    values: Callable[[Cell], np.ndarray]  # [seeds]
    scale: Scale = "share"
    skips_diverged: bool = False  # a diverged network has no value
    probe: str = ""  # where every cell has it, `probed` is drawn instead
    probed: "Outcome | None" = None


def _best(measure: str) -> Callable[[Cell], np.ndarray]:
    """Each seed's highest value over the epochs, nan if it has none."""
    return lambda cell: np.fmax.reduce(cell.measurements[measure], axis=1)


BEST_TRAIN = "Best train accuracy over the epochs"
OUTCOMES = {  # start of the chart's name -> what is drawn
    "": Outcome(
        "Final test accuracy",
        "test accuracy",
        lambda cell: cell.final["test_accuracy"],
    ),
    "best_validation_": Outcome(
        "Best validation accuracy over the epochs",
        "best validation accuracy",
        _best("validation_accuracy"),
    ),
    "best_train_": Outcome(
        f"{BEST_TRAIN} while training",
        "best train accuracy while training",
        _best("train_accuracy"),
        probe="train_accuracy_evaluated",
        probed=Outcome(
            f"{BEST_TRAIN} in evaluation mode",
            "best train accuracy in evaluation mode",
            _best("train_accuracy_evaluated"),
        ),
    ),
    "final_train_loss_": Outcome(
        "Final train loss",
        "final train loss, nats",
        lambda cell: np.where(cell.diverged, np.nan, cell.final["train_loss"]),
        scale="size",
        skips_diverged=True,
    ),
}


def axis_names(cells: Sequence[Cell], layout: Layout) -> list[str]:
    """The settings and factors to draw against: those with more than two values.

    A setting has its values within an arm. A factor has them between arms: it must be
    one of numbers, and the factors together must identify the arms.
    """
    arms = [list(x) for _, x in itertools.groupby(cells, lambda cell: cell.arm)]
    settings = [
        name
        for name in cells[0].settings
        if any(len(networks.levels(arm, "settings", name)) > 2 for arm in arms)
    ]
    if layout.colour == "arm":
        return settings
    numeric = numeric_factors(layout.factors)
    there = [x for x in numeric if len(networks.levels(cells, "factors", x)) > 2]
    return settings + there


def charts(cells: Sequence[Cell], layout: Layout, level: float) -> list[Chart]:
    """Every outcome against every axis."""
    return [
        against(cells, axis, start, layout, level)
        for axis in axis_names(cells, layout)
        for start in OUTCOMES
    ]


def against(
    cells: Sequence[Cell], axis: str, start: str, layout: Layout, level: float
) -> Chart:
    """The mean over seeds in its band, a line for each level of the colours."""
    along, outcome = cells_along(cells, axis), OUTCOMES[start]
    if outcome.probed and all(outcome.probe in cell.probes for cell in along):
        outcome = outcome.probed
    is_setting = axis in cells[0].settings
    chosen = {(x.arm, x.position) for x in networks.best_of_arms(cells)} & {
        (x.arm, x.position) for x in along if is_setting
    }
    panels = [
        Panel(title, _lines(members, axis, outcome, layout, level, chosen))
        for title, members in layout.panels(along, axis).items()
    ]
    lines = [x for panel in panels for x in panel.marks if isinstance(x, Series)]
    sentences = bands.notes(lines, level, outcome.scale)
    return Chart(
        name=f"{start}against_{axis}",
        kind="lines",
        title=_title(outcome, axis, along),
        x=bands.grid_axis(names.words(axis), [value(cell, axis) for cell in along]),
        y=bands.y_axis(outcome.label, lines, outcome.scale),
        panels=panels,
        columns=layout.num_columns(axis),
        note=" ".join([*sentences, *([CHOSEN] if is_setting else [])]),
        group=GROUP,
    )


def cells_along(cells: Sequence[Cell], *axes: str) -> list[Cell]:
    """The best cell of each arm, if it has the settings, at each value of the axes."""
    same: dict[tuple, list[Cell]] = {}
    for cell in cells:
        values = tuple(value(cell, axis) for axis in axes)
        if not np.isnan(values).any():
            same.setdefault((cell.arm, *values), []).append(cell)
    return [networks.best_of_arms(members)[0] for members in same.values()]


def value(cell: Cell, axis: str) -> float:
    """The number that a cell has on an axis; nan if it has none."""
    levels: Mapping = cell.settings | cell.factors
    return float(levels[axis])


def _title(outcome: Outcome, axis: str, along: Sequence[Cell]) -> str:
    """What the chart shows, and how many networks it leaves out."""
    text = f"{outcome.title} against {names.words(axis)}"
    diverged = np.concatenate([cell.diverged for cell in along])
    if not outcome.skips_diverged or not diverged.any():
        return text
    lost = f"{diverged.sum():,} of {len(diverged):,} networks"
    return f"{text}, without {lost}, which diverged"


def _lines(
    members: Sequence[Cell],
    axis: str,
    outcome: Outcome,
    layout: Layout,
    level: float,
    chosen: set[tuple[str, int]],
) -> list[Series]:
    """The lines of a panel, in the order of the cells."""
    by_key: dict[str, list[Cell]] = {}
    for cell in members:
        by_key.setdefault(layout.key(cell.arm, axis), []).append(cell)
    lines = []
    for key, line in by_key.items():
        line.sort(key=lambda cell: value(cell, axis))
        seeds = sorted({int(seed) for cell in line for seed in cell.seeds})
        values = np.full((len(seeds), len(line)), np.nan)
        for j, cell in enumerate(line):
            values[np.searchsorted(seeds, cell.seeds), j] = outcome.values(cell)
        drawn = bands.series(
            key,
            layout.strokes[key].label if key else layout.title(line[0].arm, axis),
            np.array([value(cell, axis) for cell in line]),
            values,
            seeds,
            level=level,
            scale=outcome.scale,
        )
        rings = [i for i, x in enumerate(line) if (x.arm, x.position) in chosen]
        lines.append(drawn._replace(marked=rings))
    return lines
