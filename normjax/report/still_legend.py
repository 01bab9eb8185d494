"""What stands above the panels of a still figure: its title and its legend."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from normjax.report import still_marks
from normjax.report.chart import Chart, Stroke
from normjax.report.still_axes import letters_in, widest, wrapped
from normjax.report.still_marks import MarkStyle, mark_style

HANDLE = 0.6  # inches that a legend needs beside each label
TITLE_LINE = 0.18  # inches
MARGIN = 0.06  # inches


class Entry(NamedTuple):
    """A line of the legend."""

    label: str
    style: MarkStyle
    handle: Line2D


def entry_of(mark: Any, strokes: Mapping[str, Stroke]) -> tuple[str, str]:
    """What identifies a mark's entry of the legend: its stroke, or else its label."""
    return (mark.key, "") if mark.key in strokes else ("", mark.label)


def entries_of(
    chart: Chart, strokes: Mapping[str, Stroke]
) -> dict[tuple[str, str], Entry]:
    """The entries of the legend: strokes in their order, then what has none."""
    marks: list[Any] = [mark for panel in chart.panels for mark in panel.marks]
    if chart.kind == "tiles":
        return {}
    if chart.kind == "rows":
        kinds = {row.kind for row in marks}
        return {
            ("", kind): Entry(name, mark_style(None), still_marks.verdict_handle(kind))
            for kind, name in zip(("holds", "fails", "undecided"), chart.verdicts)
            if kind in kinds
        }
    found: dict[tuple[str, str], list[Any]] = {}
    for mark in marks:
        found.setdefault(entry_of(mark, strokes), []).append(mark)
    unnamed = [entry for entry in found if not entry[0]]
    styles = {(key, ""): mark_style(stroke) for key, stroke in strokes.items()}
    for i, entry in enumerate(unnamed):
        styles[entry] = still_marks.unnamed_style(i, len(unnamed))
    return {
        entry: Entry(
            strokes[entry[0]].label if entry[0] else entry[1],
            own,
            still_marks.handle(own, found[entry]),
        )
        for entry, own in styles.items()
        if entry in found
    }


def add_head(figure: Figure, title: str, entries: Sequence[Entry], least: int) -> None:
    """Adds the title and the legend, in a room of their own above the panels.

    Args:
        figure: with its panels, which keep their size.
        title: of the figure.
        entries: of the legend.
        least: the number of entries that need a legend.
    """
    width, body = figure.get_size_inches()
    title = wrapped(title, int(letters_in(width) / 1.15))
    above = MARGIN + TITLE_LINE * (title.count("\n") + 1 if title else 0)
    head, legend = above, None
    if len(entries) >= least:
        legend = _legend(entries, figure)
        head += legend.get_window_extent().height / figure.dpi + 0.04
    total = body + head
    figure.set_figheight(total)
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, 0, 1, body / total))
    left = MARGIN / width
    if title:
        figure.text(
            left, 1 - MARGIN / total, title, va="top", fontsize=10, weight="bold"
        )
    if legend is not None:
        legend.set_bbox_to_anchor((left, 1 - above / total))


def _legend(entries: Sequence[Entry], figure: Figure) -> Legend:
    """A legend in as many columns as are no wider than the figure."""
    inches = figure.get_figwidth()
    labels = [wrapped(x.label, letters_in(inches - HANDLE)) for x in entries]
    columns = min(len(labels), max(1, int(inches / (HANDLE + 0.8 * widest(labels)))))
    while True:
        rows = -(-len(labels) // columns)
        legend = figure.legend(
            [entry.handle for entry in entries],
            labels,
            loc="upper left",
            bbox_to_anchor=(0, 1),
            ncols=-(-len(labels) // rows),
        )
        legend.set_in_layout(False)
        size = legend.get_window_extent().width / figure.dpi
        if size < inches or columns == 1:
            return legend
        legend.remove()
        columns -= 1
