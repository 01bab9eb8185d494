"""What each picture of a study shows: lines and bands over seeds, or the seeds."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from normjax import statistics
from normjax.audit import measures
from normjax.report import axes
from normjax.report import networks as cells_
from normjax.report.networks import Cell
from normjax.statistics import Interval

CURVES = {  # after each epoch -> caption and y axis
    "train_loss": ("Train loss", "train loss, nats"),
    "test_accuracy": ("Test accuracy", "test accuracy"),
    "validation_accuracy": ("Validation accuracy", "validation accuracy"),
}
PROBES = {  # the same of what is drawn where it was probed
    "train_loss_evaluated": (
        "Train loss in evaluation mode, after the epoch",
        "train loss, nats",
    ),
    "train_accuracy_evaluated": (
        "Train accuracy in evaluation mode, after the epoch",
        "train accuracy",
    ),
    "smoothness": (
        "Local smoothness: change of the gradient over the step, norms of all"
        " parameters (small is smooth)",
        "local smoothness",
    ),
    "smoothness_as_published": (
        "Local smoothness as published: roots of sums of the tensors' norms",
        "smoothness as published",
    ),
    "mode_gap_loss": (
        "Loss on the training split: evaluation less training mode",
        "gap of the loss, nats",
    ),
    "mode_gap_accuracy": (
        "Accuracy on the training split: evaluation less training mode",
        "gap of the accuracy",
    ),
    "precise_test_accuracy": (
        "Test accuracy with precise statistics",
        "test accuracy",
    ),
}
LAYERS = {  # "<kind>.<layer>" are its probes
    "gradient_norm": ("Norm of the gradient by layer", "norm of the gradient"),
    "update_norm": ("Norm of the update by layer", "norm of the update"),
    "parameter_norm": ("Norm of the parameters by layer", "norm of the parameters"),
}


class Summary(NamedTuple):
    """A number of each network, drawn against a setting or a factor."""

    caption: str
    label: str
    values: Callable[[Cell], np.ndarray]  # [seeds]
    probe: str = ""  # instead, where every cell has it: its best over the epochs


def best(cell: Cell, measure: str) -> np.ndarray:
    """Each seed's highest over the epochs, nan where it has none."""
    return np.fmax.reduce((cell.curves | cell.probes)[measure], axis=1)


def final_train_loss(cell: Cell) -> np.ndarray:
    """Of the networks that did not diverge, nan of the others."""
    diverged = cell.final["diverged_at_step"] >= 0
    return np.where(diverged, np.nan, cell.final["train_loss"])


SUMMARIES = {  # start of the name -> what is drawn
    "": Summary(
        "Final test accuracy",
        "test accuracy",
        lambda cell: cell.final["test_accuracy"],
    ),
    "best_validation_": Summary(
        "Best validation accuracy over the epochs",
        "best validation accuracy",
        functools.partial(best, measure="validation_accuracy"),
    ),
    "best_train_": Summary(
        "Best train accuracy over the epochs (the axis says in which mode)",
        f"best train accuracy {measures.ACCUMULATED}",
        functools.partial(best, measure="train_accuracy"),
        probe="train_accuracy_evaluated",
    ),
    "final_train_loss_": Summary(
        "Final train loss", "final train loss, nats", final_train_loss
    ),
}


def as_probed(summary: Summary, cells: Sequence[Cell]) -> Summary:
    """Of the training split in evaluation mode, if each cell was probed so."""
    if not all(summary.probe in cell.probes for cell in cells):
        return summary
    return summary._replace(
        label=summary.label.replace(measures.ACCUMULATED, measures.EVALUATED),
        values=functools.partial(best, measure=summary.probe),
    )


def curves(cells: Sequence[Cell], measure: str) -> Figure:
    """Mean over seeds and its 95% band against the epoch, a line for each arm."""
    plan = axes.layout(cells)
    figure, panels = axes.panels(plan.panels, plan.num_columns)
    for ax, members in zip(panels, plan.panels.values()):
        for cell in members:
            measured = cell.curves | cell.probes
            if measure in measured:
                interval = statistics.mean_interval(measured[measure])
                level = plan.level(cell)
                axes.band(ax, _epochs(cell), interval, plan.looks[level], level)
        ax.xaxis.get_major_locator().set_params(integer=True)
    if not measure.endswith("accuracy"):
        axes.log_y(panels)
    _, label = (CURVES | PROBES)[measure]
    return axes.finished(figure, panels, plan.looks, "epoch", label)


def against(cells: Sequence[Cell], axis: str, summary: Summary) -> Figure:
    """Mean over seeds and its 95% band against a setting or a factor of numbers."""
    shown, summary = at_each(cells, axis), as_probed(summary, cells)
    plan = axes.layout(shown, axis)
    figure, panels = axes.panels(plan.panels, plan.num_columns)
    for ax, members in zip(panels, plan.panels.values()):
        for level, look in plan.looks.items():
            line = [cell for cell in members if plan.level(cell) == level]
            line.sort(key=lambda cell: _value(cell, axis))
            means = [statistics.mean_interval(summary.values(cell)) for cell in line]
            x = np.array([_value(cell, axis) for cell in line])
            if line:
                interval = Interval(*np.array(means).T)
                axes.band(ax, x, interval, look, level, marker="o")
    if axis in cells[0].factors:
        axes.ticks_at(panels, cells_.levels(cells, "factors", axis))
    else:
        axes.log_x(panels, cells_.levels(cells, "settings", axis))
    if "accuracy" not in summary.label:
        axes.log_y(panels)
    words = axis.replace("_", " ")
    return axes.finished(figure, panels, plan.looks, words, summary.label)


def layers(cells: Sequence[Cell], kind: str) -> Figure:
    """Mean over seeds and its 95% band of each layer against the epoch, by arm."""
    cells = [cell for cell in cells if layer_names([cell], kind)]
    depths = axes.depths(layer_names(cells, kind))
    figure, panels = axes.panels([cell.arm for cell in cells], 4)
    for ax, cell in zip(panels, cells):
        for name in layer_names([cell], kind):
            interval = statistics.mean_interval(cell.probes[f"{kind}.{name}"])
            axes.band(ax, _epochs(cell), interval, *depths[name])
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes.log_y(panels, least=1.0)
    return axes.finished(figure, panels, depths, "epoch", LAYERS[kind][1])


def seeds(cells: Sequence[Cell]) -> Figure:
    """Final test accuracy of every seed, a row for each arm, mean and interval."""
    plan = axes.layout(cells)
    groups = list(plan.panels.items())
    heights = [len(members) + 1 for _, members in groups]
    width = max(5.0, 3.6 + max(map(len, plan.looks)) / axes.LETTERS)
    figure = Figure(figsize=(width, 0.6 + 0.2 * sum(heights)), layout="constrained")
    rows = figure.subplots(
        len(groups), 1, squeeze=False, sharex=True, height_ratios=heights
    )[:, 0]
    for ax, (title, members) in zip(rows, groups):
        for row, cell in enumerate(members):
            colour, _ = plan.looks[plan.level(cell)]
            x = cell.final["test_accuracy"]
            spread = 0.24 * np.linspace(-1, 1, len(x)) if len(x) > 1 else np.zeros(1)
            ax.plot(x, row + spread, "o", color=colour, alpha=0.45, ms=3, mew=0)
            mean, low, high, _ = statistics.mean_interval(x)
            ax.plot([low, high], [row, row], "-", color=colour, lw=2.5)
            ax.plot([mean], [row], "|", color="black", ms=9, mew=1.5)
        ax.set_yticks(range(len(members)), [plan.level(cell) for cell in members])
        ax.set_ylim(len(members) - 0.5, -0.5)
        ax.set_title(title, loc="left")
        ax.grid(axis="y", visible=False)
    rows[-1].set_xlabel("final test accuracy")
    return figure


def layer_names(cells: Sequence[Cell], kind: str) -> list[str]:
    """The layers of which any cell has a probe of a kind."""
    names = dict.fromkeys(name for cell in cells for name in cell.probes)
    return [x.removeprefix(f"{kind}.") for x in names if x.startswith(f"{kind}.")]


def at_each(cells: Sequence[Cell], axis: str) -> list[Cell]:
    """Each arm's cell at each value of the axis, the other settings chosen."""
    same: dict[tuple[str, float], list[Cell]] = {}
    for cell in cells:
        value = _value(cell, axis)
        if value == value:  # nan: the arm does not have the setting
            same.setdefault((cell.arm, value), []).append(cell)
    return [cells_.chosen(members)[0] for members in same.values()]


def _epochs(cell: Cell) -> np.ndarray:
    return np.arange(1, len(cell.steps) + 1)


def _value(cell: Cell, axis: str) -> float:
    return float((cell.settings | cell.factors)[axis])
