"""The figures of a study, as SVG and PNG: which ones there are and what they show.

This module draws against the epoch and by seed; `outcomes` draws against a setting or a
factor. The same record gives the same SVG, byte for byte.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from normjax import files, statistics
from normjax.report import (
    axes,
    comparisons,
    costs,
    curves,
    estimates,
    grids,
    layout,
    maps,
    networks,
    outcomes,
    profiles,
    searches,
    tuning_figures,
)
from normjax.report.axes import Layer
from normjax.report.chart import Chart, Charts
from normjax.report.curves import BY_LAYER, Curve
from normjax.report.networks import Cell
from normjax.study import trials
from normjax.study.record import Record


class Plot(NamedTuple):
    """A figure before it is drawn."""

    caption: str
    draw: Callable[[], Figure]


class Drawing(NamedTuple):
    """A figure after it was drawn."""

    svg: str
    width: float  # in points


POINTS = 72  # per inch
BY_EPOCH = {"train_loss": curves.BY_EPOCH["train_loss"], **curves.BY_EPOCH}


def charts(record: Record) -> Charts:
    """The charts that a record has the numbers for, in the order of the page.

    Each arm is shown at its best setting, except against a setting. While every arm
    still lacks its setting, there are the charts of tuning alone.
    """
    plan = layout.of_record(record)
    tuning = searches.charts(record, plan)
    if trials.is_tuning(record.record):
        return layout.assembled(plan, tuning)
    level, cells = estimates.level_of(record), networks.load(record)
    best = networks.best_of_arms(cells)
    baseline = record.record.get("baseline") or {}
    found = [
        *comparisons.charts(best, baseline, plan, level),
        *curves.charts(best, plan, level),
        *profiles.charts(best, plan, level),
    ]
    of_grid = grids.charts(cells, plan, level) + maps.charts(cells, plan, level)
    cost = costs.charts(best, plan, level)
    remarks = remarks_on(cells, tuned=bool(record.record.get("tuning")))
    return layout.assembled(
        plan,
        [*(noted(x, remarks) for x in found), *of_grid, *cost, *tuning],
    )


def remarks_on(cells: Sequence[Cell], *, tuned: bool) -> list[str]:
    """What is true of every chart of arms at their best settings."""
    sentences = []
    if tuned:
        sentences.append("Each arm is at the setting that its trials chose.")
    elif any(cell.position for cell in cells):
        sentences.append(
            "Each arm is at the setting of its highest mean validation accuracy."
        )
    num_diverged = sum(int(cell.diverged.sum()) for cell in cells)
    if num_diverged:
        sentences.append(
            f"{num_diverged:,} of {sum(len(cell.seeds) for cell in cells):,} networks"
            " diverged: the curves of their train loss and accuracy end there, and what"
            " is evaluated later is their last finite state."
        )
    return sentences


def noted(chart: Chart, sentences: Sequence[str]) -> Chart:
    """The chart with these sentences at the end of its note."""
    return chart._replace(note=" ".join([chart.note, *sentences]).strip())


def plots(record: Record) -> dict[str, Plot]:
    """The figures that a record has the numbers for, by name.

    Each arm is shown at its best setting, except against a setting. While every arm
    still lacks its setting, there are the figures of tuning alone.
    """
    tuning = {k: Plot(*x) for k, x in tuning_figures.plots(record).items()}
    if trials.is_tuning(record.record):
        return tuning
    cells = networks.load(record)
    best = networks.best_of_arms(cells)
    known = {
        name: Plot(curve.caption, partial(draw_curves, best, name, curve))
        for name, curve in BY_EPOCH.items()
        if any(name in cell.measurements for cell in best)
    }
    caption = "Final test accuracy, seed by seed"
    known["seeds"] = Plot(caption, partial(draw_seeds, best))
    for axis in outcomes.axis_names(cells):
        for start, outcome in outcomes.OUTCOMES.items():
            draw = partial(outcomes.draw_against, cells, axis, outcome)
            caption = outcomes.caption(cells, axis, outcome)
            known[f"{start}against_{axis}"] = Plot(caption, draw)
    return (
        known
        | {
            kind: Plot(curve.caption, partial(draw_layers, best, kind))
            for kind, curve in BY_LAYER.items()
            if any(layers_of(cell, kind) for cell in best)
        }
        | tuning
    )


def write_figures(plots: Mapping[str, Plot], folder: Path) -> dict[str, Drawing]:
    """Draws each figure, writes it as SVG and PNG, and returns the drawings by name."""
    files.folder(folder)
    drawings = {}
    with matplotlib.rc_context(axes.STYLE):
        for name, plot in plots.items():
            figure = plot.draw()
            svg, png = io.BytesIO(), io.BytesIO()
            figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
            figure.set_layout_engine("none")  # the PNG keeps the layout of the SVG
            figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
            width = POINTS * figure.get_figwidth()
            drawings[name] = Drawing(svg.getvalue().decode(), width)
            files.write_text(folder / f"{name}.svg", drawings[name].svg)
            files.write_bytes(folder / f"{name}.png", png.getvalue())
    return drawings


def note(cells: Sequence[Cell]) -> str:
    """What the colours, panels and lines of a record's figures stand for."""
    layout = axes.layout(cells)
    sentences = [f"Colours: {layout.colour}."]
    if layout.factors:
        sentences.append(f"Panels: {', '.join(layout.factors)}.")
    if any(cell.position for cell in cells):
        sentences.append(
            "Unless it is drawn against a setting, each arm is shown at the setting of"
            " its highest mean validation accuracy."
        )
    return " ".join([*sentences, *remarks_on(cells, tuned=False)[-1:]])


def draw_curves(cells: Sequence[Cell], measure: str, curve: Curve) -> Figure:
    """The mean over seeds with its 95% band against the epoch, a line for each arm."""
    layout = axes.layout(cells)
    figure, panels = axes.make_panels(layout.panels, layout.num_columns)
    for ax, members in zip(panels, layout.panels.values()):
        for cell in members:
            if measure in cell.measurements:
                level = layout.level(cell)
                values = cell.measurements[measure]
                axes.draw_epochs(ax, values, layout.strokes[level], level)
    if curve.logarithmic:
        axes.use_log_y(panels)
    return axes.add_labels(figure, panels, layout.strokes, "epoch", curve.label)


def draw_layers(cells: Sequence[Cell], kind: str) -> Figure:
    """The mean over seeds with its 95% band by layer, a panel for each arm."""
    cells = [cell for cell in cells if layers_of(cell, kind)]
    layers = dict.fromkeys(layer for cell in cells for layer in layers_of(cell, kind))
    strokes = axes.layer_strokes(list(layers))
    figure, panels = axes.make_panels([cell.arm for cell in cells], 4)
    for ax, cell in zip(panels, cells):
        for layer, values in layers_of(cell, kind).items():
            axes.draw_epochs(ax, values, *strokes[layer.name])
    axes.use_log_y(panels, least=1.0)
    return axes.add_labels(figure, panels, strokes, "epoch", BY_LAYER[kind].label)


def draw_seeds(cells: Sequence[Cell]) -> Figure:
    """The final test accuracy of every seed: a row for each arm, mean and interval."""
    layout = axes.layout(cells)
    groups = list(layout.panels.items())
    heights = [len(members) + 1 for _, members in groups]
    width = max(5.0, 3.6 + max(map(len, layout.strokes)) / axes.LETTERS)
    figure = Figure(figsize=(width, 0.6 + 0.2 * sum(heights)), layout="constrained")
    shape = len(groups), 1
    rows = figure.subplots(*shape, sharex=True, squeeze=False, height_ratios=heights)
    for ax, (title, members) in zip(rows.flat, groups):
        for row, cell in enumerate(members):
            colour, _ = layout.strokes[layout.level(cell)]
            x = cell.final["test_accuracy"]
            spread = 0.24 * np.linspace(-1, 1, len(x)) if len(x) > 1 else np.zeros(1)
            ax.plot(x, row + spread, "o", color=colour, alpha=0.45, ms=3, mew=0)
            mean, low, high, _ = statistics.mean_interval(x)
            ax.plot([low, high], [row, row], "-", color=colour, lw=2.5)
            ax.plot([mean], [row], "|", color="black", ms=9, mew=1.5)
        ax.set_yticks(range(len(members)), [layout.level(cell) for cell in members])
        ax.set_ylim(len(members) - 0.5, -0.5)
        ax.set_title(title, loc="left")
        ax.grid(axis="y", visible=False)
    rows.flat[-1].set_xlabel("final test accuracy")
    return figure


def layers_of(cell: Cell, kind: str) -> dict[Layer, np.ndarray]:
    """Layer -> [seeds, epochs], for each probe "<kind>.<layer>" that a cell has."""
    start = f"{kind}."
    return {
        axes.read_layer(name.removeprefix(start)): values
        for name, values in cell.probes.items()
        if name.startswith(start)
    }
