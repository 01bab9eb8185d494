"""The pictures of a study, as SVG and PNG; the only module that imports matplotlib.

The object-oriented interface alone: no pyplot, no global state. The same record gives
the same SVG, byte for byte.
"""

import io
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from normjax import files, records, statistics
from normjax.report import cells as cells_
from normjax.report.cells import Cell

COLOURS = (  # Okabe and Ito, 2008, without yellow: told apart with any colour vision
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
DASHES = ("-", "--", ":", "-.")  # the next turn of the colours
STYLE = {
    "svg.hashsalt": "normjax",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
}
CURVES = {
    "train_loss": "train loss, nats",
    "test_accuracy": "test accuracy",
    "validation_accuracy": "validation accuracy",
}


class Layout(NamedTuple):
    """Which factor is the colour, and which panel each cell belongs to."""

    colour: str  # name of a factor, or "arm"
    factors: list[str]  # of the panels
    colours: dict[str, tuple[str, str]]  # level -> colour and dashes
    panels: dict[str, list[Cell]]  # title -> cells
    num_columns: int
    level: Callable[[Cell], str]


def layout(cells: Sequence[Cell]) -> Layout:
    """The factor of most levels (the last such) as colour, the others as panels.

    Where the factors that differ do not tell the arms apart, the arm is the colour.
    """
    names = cells_.varying(cells, "factors")
    counts = {x: len(cells_.levels(cells, "factors", x)) for x in names}
    identities = {tuple(cell.factors.values()): cell.arm for cell in cells}
    colour, others, level = "arm", [], lambda cell: cell.arm
    if names and len(identities) == len({cell.arm for cell in cells}):
        colour = max(reversed(names), key=counts.get)
        others = [x for x in names if x != colour]
        level = lambda cell: cell.factors[colour]
    panels = {}
    for cell in cells:
        title = ", ".join(cell.factors[x] for x in others)
        panels.setdefault(title, []).append(cell)
    last = counts[others[-1]] if others else 1
    return Layout(
        colour=colour,
        factors=others,
        colours=dict(
            zip(
                dict.fromkeys(level(cell) for cell in cells),
                ((c, d) for d, c in itertools.product(DASHES, COLOURS)),
            )
        ),
        panels=panels,
        num_columns=min(last, 4),
        level=level,
    )


def note(cells: Sequence[Cell]) -> str:
    """What the colours, panels and lines of a record's figures stand for."""
    plan = layout(cells)
    sentences = [f"Colours: {plan.colour}."]
    if plan.factors:
        sentences.append(f"Panels: {', '.join(plan.factors)}.")
    if any(cell.position for cell in cells):
        sentences.append(
            "Unless it is drawn against a setting, each arm is shown at the setting of"
            " its highest mean validation accuracy."
        )
    return " ".join(sentences)


def curves(cells: Sequence[Cell], measure: str) -> Figure:
    """Mean over seeds and its 95% band against the epoch, a line for each arm."""
    means = [statistics.mean_interval(c.curves[measure]).estimate for c in cells]
    means = np.concatenate(means)
    means = means[np.isfinite(means)]  # none where every network diverged at once
    low, high = means.min(initial=np.inf), means.max(initial=-np.inf)
    figure, axes, plan = _panels(cells)
    for ax, members in zip(axes, plan.panels.values()):
        for cell in members:
            epochs = np.arange(1, len(cell.steps) + 1)
            _band(ax, epochs, cell.curves[measure], plan, cell)
        if measure.endswith("loss") and low > 0 and high > 10 * low:
            ax.set_yscale("log")
        ax.xaxis.get_major_locator().set_params(integer=True)
    return _finished(figure, axes, plan, "epoch", CURVES[measure])


def against(cells: Sequence[Cell], setting: str) -> Figure:
    """Final test accuracy against a setting: mean over seeds and its 95% band."""
    figure, axes, plan = _panels(cells)
    values = np.array(cells_.levels(cells, "settings", setting))
    for ax, members in zip(axes, plan.panels.values()):
        for _, same in itertools.groupby(members, lambda cell: cell.arm):
            line = sorted(_best_by(list(same), setting), key=lambda x: x[0])
            x = np.array([value for value, _ in line])
            y = np.stack([c.final["test_accuracy"] for _, c in line], axis=1)
            _band(ax, x, y, plan, line[0][1], marker="o")
        if values.min() > 0 and values.max() > 10 * values.min():
            ax.set_xscale("log")
    return _finished(figure, axes, plan, setting.replace("_", " "), "test accuracy")


def seeds(cells: Sequence[Cell]) -> Figure:
    """Final test accuracy of every seed, a row for each arm, mean and interval."""
    plan = layout(cells)
    groups = list(plan.panels.items())
    heights = [len(members) + 1 for _, members in groups]
    figure = Figure(figsize=(5.0, 0.6 + 0.2 * sum(heights)), layout="constrained")
    axes = figure.subplots(
        len(groups), 1, squeeze=False, sharex=True, height_ratios=heights
    )[:, 0]
    for ax, (title, members) in zip(axes, groups):
        for row, cell in enumerate(members):
            colour, _ = plan.colours[plan.level(cell)]
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
    axes[-1].set_xlabel("final test accuracy")
    return figure


def draw(record: records.Record) -> dict[str, Figure]:
    """The figures of a record by name; curves show each arm at its chosen setting."""
    found = cells_.cells(record)
    best = cells_.chosen(found)
    drawn = {name: curves(best, name) for name in CURVES}
    drawn["seeds"] = seeds(best)
    for setting in record.record["settings"]:
        within = [[c for c in found if c.arm == cell.arm] for cell in best]
        if max(len(cells_.levels(x, "settings", setting)) for x in within) > 2:
            drawn[f"against_{setting}"] = against(found, setting)
    return drawn


def write(record: records.Record, folder: Path) -> dict[str, str]:
    """Writes each figure as SVG and PNG; returns the SVG by name."""
    files.folder(folder)
    svgs = {}
    with matplotlib.rc_context(STYLE):
        for name, figure in draw(record).items():
            svg, png = io.BytesIO(), io.BytesIO()
            figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
            figure.set_layout_engine("none")  # what was laid out once stays
            figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
            svgs[name] = svg.getvalue().decode()
            files.write_text(folder / f"{name}.svg", svgs[name])
            files.write_bytes(folder / f"{name}.png", png.getvalue())
    return svgs


def _panels(cells: Sequence[Cell]) -> tuple[Figure, Sequence[Axes], Layout]:
    plan = layout(cells)
    num_columns = min(plan.num_columns, len(plan.panels))
    num_rows = -(-len(plan.panels) // num_columns)
    width = 5.0 if num_columns == 1 else 2.9 * num_columns
    figure = Figure(figsize=(width, 0.5 + 2.5 * num_rows), layout="constrained")
    grid = figure.subplots(num_rows, num_columns, squeeze=False, sharey="row")
    for ax in grid.flat[len(plan.panels) :]:
        ax.remove()
    for ax, title in zip(grid.flat, plan.panels):
        ax.set_title(title, loc="left")
    return figure, list(grid.flat[: len(plan.panels)]), plan


def _band(
    ax: Axes, x: np.ndarray, y: np.ndarray, plan: Layout, cell: Cell, **line: str
) -> None:
    """Mean of `y` [seeds, points] as a line, its interval as a band around it."""
    mean, low, high, _ = statistics.mean_interval(y)
    level = plan.level(cell)
    colour, dashes = plan.colours[level]
    ax.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
    ax.plot(x, mean, dashes, color=colour, label=level, ms=3.5, **line)


def _best_by(cells: Sequence[Cell], setting: str) -> list[tuple[float, Cell]]:
    """One arm's cells by value of `setting`, the others chosen by validation."""
    by_value: dict[float, list[Cell]] = {}
    for cell in cells:
        by_value.setdefault(cell.settings[setting], []).append(cell)
    return [(value, cells_.chosen(same)[0]) for value, same in by_value.items()]


def _finished(
    figure: Figure, axes: Sequence[Axes], plan: Layout, x_label: str, y_label: str
) -> Figure:
    figure.supxlabel(x_label, fontsize=9)
    figure.supylabel(y_label, fontsize=9)
    found = {}
    for ax in axes:
        found |= {label: h for h, label in zip(*ax.get_legend_handles_labels())}
    if len(found) > 1:
        letters = 13 * figure.get_figwidth()  # that fit in a line
        columns = int(letters / (max(map(len, found)) + 7))
        figure.legend(
            [found[x] for x in plan.colours if x in found],
            [x for x in plan.colours if x in found],
            loc="outside upper center",
            ncols=min(len(found), max(1, columns)),
        )
    return figure
