"""The pictures of a study, as SVG and PNG: which a record has, and what is in each.

The same record gives the same SVG, byte for byte.
"""

import functools
import io
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from normjax import files
from normjax.report import axes, plots
from normjax.report import networks as cells_
from normjax.report.networks import Cell
from normjax.study.record import Record


class Picture(NamedTuple):
    """What can be drawn of a record."""

    caption: str
    draw: Callable[[], Figure]


class Drawing(NamedTuple):
    """What was drawn."""

    name: str  # of its files
    caption: str
    svg: str


def pictures(record: Record) -> dict[str, Picture]:
    """The pictures that a record has the numbers of, by name.

    All but those against a setting show each arm at its chosen setting.
    """
    found = cells_.cells(record)
    chosen = cells_.chosen(found)
    drawn = {
        name: Picture(caption, functools.partial(plots.curves, chosen, name))
        for name, (caption, _) in (plots.CURVES | plots.PROBES).items()
        if any(name in cell.curves | cell.probes for cell in chosen)
    }
    drawn["seeds"] = Picture(
        "Final test accuracy, seed by seed", functools.partial(plots.seeds, chosen)
    )
    for axis, (start, summary) in itertools.product(
        axis_names(found), plots.SUMMARIES.items()
    ):
        drawn[f"{start}against_{axis}"] = Picture(
            _caption(found, axis, summary),
            functools.partial(plots.against, found, axis, summary),
        )
    for kind, (caption, _) in plots.LAYERS.items():
        if plots.layer_names(chosen, kind):
            drawn[kind] = Picture(
                caption, functools.partial(plots.layers, chosen, kind)
            )
    return drawn


def axis_names(cells: Sequence[Cell]) -> list[str]:
    """Settings and factors to draw against: those of more than two values.

    A setting has them within an arm. A factor has them between arms, has to be of
    numbers, and with the other factors has to tell the arms apart.
    """
    arms = {}
    for cell in cells:
        arms.setdefault(cell.arm, []).append(cell)
    count = lambda x: max(len(cells_.levels(a, "settings", x)) for a in arms.values())
    settings = [x for x in cells[0].settings if count(x) > 2]
    return settings + (axes.numeric(cells) if axes.told_apart(cells) else [])


def note(cells: Sequence[Cell]) -> str:
    """What the colours, panels and lines of a record's figures stand for."""
    plan = axes.layout(cells)
    sentences = [f"Colours: {plan.colour}."]
    if plan.factors:
        sentences.append(f"Panels: {', '.join(plan.factors)}.")
    if any(cell.position for cell in cells):
        sentences.append(
            "Unless it is drawn against a setting, each arm is shown at the setting of"
            " its highest mean validation accuracy."
        )
    lost, num_networks = _diverged(cells)
    if lost:
        sentences.append(
            f"{lost:,} of {num_networks:,} networks diverged: their train loss and"
            " accuracy end there, what is evaluated is that of their last finite"
            " weights."
        )
    return " ".join(sentences)


def write(record: Record, folder: Path) -> list[Drawing]:
    """Draws each picture and writes it as SVG and PNG."""
    files.folder(folder)
    drawn = []
    with matplotlib.rc_context(axes.STYLE):
        for name, picture in pictures(record).items():
            figure = picture.draw()
            svg, png = io.BytesIO(), io.BytesIO()
            figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
            figure.set_layout_engine("none")  # what was laid out once stays
            figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
            drawn.append(Drawing(name, picture.caption, svg.getvalue().decode()))
            files.write_text(folder / f"{name}.svg", drawn[-1].svg)
            files.write_bytes(folder / f"{name}.png", png.getvalue())
    return drawn


def _caption(cells: Sequence[Cell], axis: str, summary: plots.Summary) -> str:
    caption = f"{summary.caption} against {axis.replace('_', ' ')}"
    lost, num_networks = _diverged(plots.at_each(cells, axis))
    if lost and summary.values is plots.final_train_loss:
        caption += f", without {lost:,} of {num_networks:,} networks, which diverged"
    return caption


def _diverged(cells: Sequence[Cell]) -> tuple[int, int]:
    """How many networks diverged, and of how many."""
    steps = np.concatenate([cell.final["diverged_at_step"] for cell in cells])
    return int((steps >= 0).sum()), len(steps)
