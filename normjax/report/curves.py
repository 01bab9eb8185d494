"""Charts against the epoch: what was measured after each, and what was probed."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from normjax.report import bands, names
from normjax.report.bands import Scale
from normjax.report.chart import Axis, Chart, Panel, Series
from normjax.report.layout import Layout
from normjax.report.networks import Cell


class Curve(NamedTuple):
    """How a measurement is drawn against the epoch."""

    caption: str
    label: str  # of the y axis, with the unit
    scale: Scale = "size"


GROUP = "curves"
MOST_PANELS = 24  # of layers
MOST_EPOCHS = 400  # of a line; more are closer than a screen can show
MOST_TICKS = 6  # of the axis of epochs
EVALUATED = "in evaluation mode, after the epoch"
GAP = "on the training split: evaluation mode minus training mode"
BY_EPOCH = {  # measured after each epoch, the probes where they were asked for
    "test_accuracy": Curve("Test accuracy", "test accuracy", "share"),
    "train_loss": Curve("Train loss", "train loss, nats"),
    "validation_accuracy": Curve("Validation accuracy", "validation accuracy", "share"),
    "train_loss_evaluated": Curve(f"Train loss {EVALUATED}", "train loss, nats"),
    "train_accuracy_evaluated": Curve(
        f"Train accuracy {EVALUATED}", "train accuracy", "share"
    ),
    "smoothness": Curve(
        "Local smoothness: change of the gradient over the step, norms of all"
        " parameters (small is smooth)",
        "local smoothness",
    ),
    "smoothness_of_roots": Curve(
        "Local smoothness, with roots of sums of the tensors' norms",
        "smoothness of roots",
    ),
    "mode_gap_loss": Curve(f"Loss {GAP}", "gap of the loss, nats"),
    "mode_gap_accuracy": Curve(f"Accuracy {GAP}", "gap of the accuracy", "signed"),
    "precise_test_accuracy": Curve(
        "Test accuracy with precise statistics", "test accuracy", "share"
    ),
}
BY_LAYER = {  # kinds of probes, one "<kind>.<layer>" for each layer
    "gradient_norm": Curve("Norm of the gradient by layer", "norm of the gradient"),
    "update_norm": Curve("Norm of the update by layer", "norm of the update"),
    "parameter_norm": Curve(
        "Norm of the parameters by layer", "norm of the parameters"
    ),
}


def charts(best: Sequence[Cell], layout: Layout, level: float) -> list[Chart]:
    """A chart for each measurement that one of the cells has."""
    known = [
        by_epoch(best, measure, layout, level)
        for measure in BY_EPOCH
        if any(measure in cell.measurements for cell in best)
    ]
    return known + [
        by_layer(best, kind, layout, level)
        for kind in BY_LAYER
        if any(layers_of(cell, kind) for cell in best)
    ]


def by_epoch(
    cells: Sequence[Cell], measure: str, layout: Layout, level: float
) -> Chart:
    """The mean over seeds in its band, a line for each arm."""
    curve = BY_EPOCH[measure]
    panels = {
        title: [
            _line(cell, cell.measurements[measure], layout, level, curve.scale)
            for cell in members
            if measure in cell.measurements
        ]
        for title, members in layout.panels(cells).items()
    }
    return _chart(measure, curve, panels, layout.num_columns(), level)


def by_layer(cells: Sequence[Cell], kind: str, layout: Layout, level: float) -> Chart:
    """The mean over seeds in its band, a panel for each layer, a line for each arm.

    Of more layers than there is room for, some are drawn, the first and the last among
    them.
    """
    found = {cell.arm: layers_of(cell, kind) for cell in cells}
    layers = sorted(set().union(*found.values()), key=depth)
    groups = layout.panels(cell for cell in cells if found[cell.arm])
    room = max(1, MOST_PANELS // len(groups))
    shown = [layers[i] for i in evenly_spaced(len(layers), room)]
    curve = BY_LAYER[kind]
    panels = {
        f"{names.words(layer)}{', ' * bool(title)}{title}": [
            _line(cell, found[cell.arm][layer], layout, level, curve.scale)
            for cell in members
            if layer in found[cell.arm]
        ]
        for layer in shown
        for title, members in groups.items()
    }
    columns = layout.num_columns() if len(groups) > 1 else min(4, len(panels))
    more = f"{len(shown)} of {len(layers)} layers are drawn." if shown != layers else ""
    return _chart(kind, curve, panels, columns, level, more)


def layers_of(cell: Cell, kind: str) -> dict[str, np.ndarray]:
    """Layer -> [seeds, epochs], for each probe "<kind>.<layer>" that a cell has."""
    start = f"{kind}."
    return {
        name.removeprefix(start): values
        for name, values in cell.probes.items()
        if name.startswith(start)
    }


def depth(layer: str) -> tuple:
    """What layers are sorted by: the numbers in their name, those without at the end.

    A record has nothing else to tell the place of a layer by.
    """
    place = [int(number) for number in re.findall(r"\d+", layer)]
    return not place, place, layer


def _line(
    cell: Cell, values: np.ndarray, layout: Layout, level: float, scale: Scale
) -> Series:
    """A line over the epochs, or over MOST_EPOCHS of them, the last among them."""
    places = evenly_spaced(values.shape[1], MOST_EPOCHS)
    key, label = layout.key(cell.arm), layout.labels[cell.arm]
    seeds, values = cell.seeds.tolist(), values[:, places]
    return bands.series(key, label, 1 + places, values, seeds, level=level, scale=scale)


def evenly_spaced(number: int, most: int) -> np.ndarray:
    """The positions of at most that many of a number of things, both ends included."""
    if number <= most:
        return np.arange(number)
    return np.linspace(0, number - 1, most).round().astype(int)


def epoch_axis(last: int) -> Axis:
    """The axis of the epochs 1 to `last`, with ticks at whole numbers."""
    steps = (digit * 10**power for power in range(9) for digit in (1, 2, 5))
    step = next(x for x in steps if last <= MOST_TICKS * x)
    ticks = [float(x) for x in range(step, last + 1, step)]
    return Axis("epoch", ticks=ticks, whole=True)


def _chart(
    name: str,
    curve: Curve,
    panels: dict[str, list[Series]],
    columns: int,
    level: float,
    more: str = "",
) -> Chart:
    """The chart of lines [epochs], without the panels that have none.

    `more` is a sentence of its note.
    """
    panels = {title: lines for title, lines in panels.items() if lines}
    lines = [line for members in panels.values() for line in members]
    kept, thin = bands.thinned(lines)
    left = iter(kept)
    last, most = int(max(max(line.x) for line in lines)), max(len(x.x) for x in lines)
    some = f"{most:,} of {last:,} epochs are drawn." if last > most else ""
    sentences = [*bands.notes(lines, level, curve.scale), thin, some, more]
    return Chart(
        name=name,
        kind="lines",
        title=curve.caption,
        x=epoch_axis(last),
        y=bands.y_axis(curve.label, kept, curve.scale),
        panels=[Panel(x, [next(left) for _ in lines]) for x, lines in panels.items()],
        columns=min(columns, len(panels)),
        note=" ".join(x for x in sentences if x),
        smooth=True,
        group=GROUP,
    )
