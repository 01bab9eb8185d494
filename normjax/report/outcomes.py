"""Figures of one number per network against a setting or a factor of numbers."""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from normjax import statistics
from normjax.report import axes, networks
from normjax.report.networks import Cell
from normjax.statistics import Interval


class Outcome(NamedTuple):
    """A number of each network."""

    caption: str
    label: str  # of the y axis, with the unit
    values: Callable[[Cell], np.ndarray]  # [seeds]
    logarithmic: bool = False  # if the values span more than a factor of ten
    skips_diverged: bool = False  # a diverged network has no value
    probe: str = ""  # where every cell has it, `probed` is drawn instead
    probed: "Outcome | None" = None


def _best(measure: str) -> Callable[[Cell], np.ndarray]:
    """Each seed's highest value over the epochs, nan if it has none."""
    return lambda cell: np.fmax.reduce(cell.measurements[measure], axis=1)


BEST_TRAIN = "Best train accuracy over the epochs (the axis says in which mode)"
OUTCOMES = {  # start of the figure's name -> what is drawn
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
        BEST_TRAIN,
        "best train accuracy while training",
        _best("train_accuracy"),
        probe="train_accuracy_evaluated",
        probed=Outcome(
            BEST_TRAIN,
            "best train accuracy in evaluation mode",
            _best("train_accuracy_evaluated"),
        ),
    ),
    "final_train_loss_": Outcome(
        "Final train loss",
        "final train loss, nats",
        lambda cell: np.where(cell.diverged, np.nan, cell.final["train_loss"]),
        logarithmic=True,
        skips_diverged=True,
    ),
}


def axis_names(cells: Sequence[Cell]) -> list[str]:
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
    identified = axes.factors_identify_arms(cells)
    return settings + (axes.numeric_factors(cells) if identified else [])


def caption(cells: Sequence[Cell], axis: str, outcome: Outcome) -> str:
    """What the figure shows, and how many networks it leaves out."""
    text = f"{outcome.caption} against {axis.replace('_', ' ')}"
    diverged = np.concatenate([cell.diverged for cell in cells_along(cells, axis)])
    if not outcome.skips_diverged or not diverged.any():
        return text
    lost = f"{diverged.sum():,} of {len(diverged):,} networks"
    return f"{text}, without {lost}, which diverged"


def draw_against(cells: Sequence[Cell], axis: str, outcome: Outcome) -> Figure:
    """The mean over seeds with its 95% band, a line for each level of the colours."""
    along = cells_along(cells, axis)
    if outcome.probed and all(outcome.probe in cell.probes for cell in along):
        outcome = outcome.probed
    layout = axes.layout(along, axis)
    figure, panels = axes.make_panels(layout.panels, layout.num_columns)
    for ax, members in zip(panels, layout.panels.values()):
        for level, stroke in layout.strokes.items():
            line = [cell for cell in members if layout.level(cell) == level]
            line.sort(key=lambda cell: _value(cell, axis))
            means = [statistics.mean_interval(outcome.values(cell)) for cell in line]
            x = np.array([_value(cell, axis) for cell in line])
            if line:
                interval = Interval(*np.array(means).T)
                axes.draw_band(ax, x, interval, stroke, level, marker="o")
    if axis in cells[0].factors:
        axes.set_ticks(panels, networks.levels(cells, "factors", axis))
    else:
        axes.use_log_x(panels, networks.levels(cells, "settings", axis))
    if outcome.logarithmic:
        axes.use_log_y(panels)
    words = axis.replace("_", " ")
    return axes.add_labels(figure, panels, layout.strokes, words, outcome.label)


def cells_along(cells: Sequence[Cell], axis: str) -> list[Cell]:
    """The best cell of each arm, if it has the setting, at each value of the axis."""
    same: dict[tuple[str, float], list[Cell]] = {}
    for cell in cells:
        value = _value(cell, axis)
        if not np.isnan(value):
            same.setdefault((cell.arm, value), []).append(cell)
    return [networks.best_of_arms(members)[0] for members in same.values()]


def _value(cell: Cell, axis: str) -> float:
    return float((cell.settings | cell.factors)[axis])
