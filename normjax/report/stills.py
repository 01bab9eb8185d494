"""Still figures for papers: draws what `chart` describes as SVG, PDF and PNG.

Nothing is computed here but places on paper. The same charts give the same files, byte
for byte.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from normjax import files
from normjax.report import still_marks
from normjax.report.chart import Chart, Charts, Panel, Stroke
from normjax.report.still_axes import letters_in, set_axis, wrapped
from normjax.report.still_labels import add_labels
from normjax.report.still_legend import Entry, add_head, entries_of, entry_of
from normjax.report.still_marks import COLOURS, INK
from normjax.report.still_sizes import Sizes, panel_title, sizes_of

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "normjax",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,  # TrueType, which publishers ask for
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.hinting": "none",  # letters are as wide in the PNG as in the layout
    "text.color": INK,
    "text.parse_math": False,  # a name may hold a dollar sign
    "axes.titlesize": 9.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#888888",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-5, 6),
    "xtick.color": "#888888",
    "ytick.color": "#888888",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    **{f"{x}tick.minor.pad": 4.9 for x in "xy"},  # as far from the axis as major ones
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.borderaxespad": 0.2,
}
METADATA: dict[str, dict[str, Any]] = {  # by format; no date and no version
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


def write(charts: Charts, folder: Path) -> None:
    """Writes NAME.svg, NAME.pdf and NAME.png (150 dpi) of each chart into a folder.

    Raises:
        InputError: if the folder cannot be made or written.
    """
    files.folder(folder)
    for chart in charts.charts:
        figure = draw(chart, charts.strokes)
        with matplotlib.rc_context(STYLE):
            for form, about in METADATA.items():
                content = io.BytesIO()
                figure.savefig(content, format=form, dpi=150, metadata=about)
                files.write_bytes(folder / f"{chart.name}.{form}", content.getvalue())


def draw(chart: Chart, strokes: Mapping[str, Stroke]) -> Figure:
    """A chart on paper: its title, a legend above, and its panels, laid out.

    Points of more strokes than there are colours have labels beside them in place of
    the legend, if there is room for all.
    """
    many = chart.kind == "points" and len(entries_of(chart, strokes)) > len(COLOURS)
    if many:
        figure, panels = _drawn(chart, strokes, legend=False)
        with matplotlib.rc_context(STYLE):
            marks: Any = [panel.marks for panel in chart.panels]
            lost = [add_labels(ax, points) for ax, points in zip(panels, marks)]
        if not any(lost):
            return figure
    return _drawn(chart, strokes, legend=True)[0]


def _drawn(
    chart: Chart, strokes: Mapping[str, Stroke], *, legend: bool
) -> tuple[Figure, list[Axes]]:
    """A chart and its panels."""
    with matplotlib.rc_context(STYLE):
        sizes = sizes_of(chart)
        figure, panels = _panels(chart, sizes)
        entries = entries_of(chart, strokes)
        for ax, panel in zip(panels, chart.panels):
            ax.set_title(panel_title(panel.title, sizes.plot), loc="left")
        if chart.kind == "tiles":
            _draw_tiles(chart, figure, panels)
        else:
            _draw_marks(chart, strokes, entries, panels)
            set_axis(panels, "x", chart.x, sizes.plot[0])
        if chart.kind in ("lines", "points"):
            set_axis(panels, "y", chart.y, sizes.plot[1])
        _add_labels(chart, figure, panels)
        least = 1 if chart.kind == "rows" else 2  # names of verdicts, or of strokes
        shown = list(entries.values()) if legend else []
        add_head(figure, chart.title, shown, least)
        _lay_out(figure, panels)
        return figure, panels


def _panels(chart: Chart, sizes: Sizes) -> tuple[Figure, list[Axes]]:
    """A figure with a place for each panel; places without one are left free."""
    number = len(chart.panels)
    rows, columns = len(sizes.heights), sizes.columns
    height = 0.45 + sum(sizes.heights) + rows * sizes.above + sizes.below
    size = sizes.width * columns, height
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(
        rows,
        columns,
        squeeze=False,
        height_ratios=sizes.heights,
        sharex=chart.kind != "tiles",
        sharey=chart.same_y and chart.kind in ("lines", "points"),
    )
    for ax in grid.flat[number:]:
        ax.remove()
    panels = list(grid.flat[:number])
    for ax in panels[max(0, number - columns) :]:  # the last of each column
        ax.tick_params(axis="x", labelbottom=True)
    return figure, panels


def _draw_marks(
    chart: Chart,
    strokes: Mapping[str, Stroke],
    entries: Mapping[tuple[str, str], Entry],
    panels: Sequence[Axes],
) -> None:
    for ax, panel in zip(panels, chart.panels):
        marks: Any = panel.marks
        if chart.kind == "rows":
            still_marks.draw_rows(ax, marks, strokes)
        if panel.part_of:
            still_marks.draw_context(ax, _beside(panel, chart))
        for mark in () if chart.kind == "rows" else marks:
            own = entries[entry_of(mark, strokes)].style
            if chart.kind == "points":
                still_marks.draw_point(ax, mark, own)
            else:
                still_marks.draw_series(ax, mark, own)


def _beside(panel: Panel, chart: Chart) -> list[Any]:
    """The marks of the other parts of a panel."""
    return [
        mark
        for other in chart.panels
        if other is not panel and other.part_of == panel.part_of
        for mark in other.marks
    ]


def _draw_tiles(chart: Chart, figure: Figure, panels: Sequence[Axes]) -> None:
    """Tiles of all panels in the same colours, and a bar that explains them."""
    tiles: list[Any] = [mark for panel in chart.panels for mark in panel.marks]
    norm, colours = still_marks.tile_colours(tiles, chart.centre)
    names = chart.x.names, chart.y.names
    sizes = sizes_of(chart)
    for i, (ax, panel) in enumerate(zip(panels, chart.panels)):
        own: Any = panel.marks
        mesh = still_marks.draw_tiles(ax, own, names, norm, colours)
        set_axis([ax], "x", chart.x, sizes.plot[0])
        set_axis([ax], "y", chart.y, sizes.plot[1])
        ax.tick_params(
            labelleft=i % sizes.columns == 0,
            labelbottom=i + sizes.columns >= len(panels),
        )
    bar = figure.colorbar(mesh, ax=list(panels), shrink=0.8, aspect=25, pad=0.02)
    bar.outline.set_visible(False)  # type: ignore[operator]


def _add_labels(chart: Chart, figure: Figure, panels: Sequence[Axes]) -> None:
    """Names the axes; a panel without a finite number says so."""
    width, height = figure.get_size_inches()
    if chart.x.label:
        figure.supxlabel(wrapped(chart.x.label, letters_in(width) - 8), fontsize=9)
    if chart.y.label:
        figure.supylabel(wrapped(chart.y.label, letters_in(height) - 4), fontsize=9)
    for ax in () if chart.kind == "tiles" else panels:
        places = [np.asarray(line.get_data(), float) for line in ax.lines]
        if not any(np.isfinite(xy).all(axis=0).any() for xy in places):
            style = {"ha": "center", "va": "center", "transform": ax.transAxes}
            ax.text(0.5, 0.5, "no finite value", **style)  # type: ignore[arg-type]
            if len(panels) == 1:  # ticks of several panels are the same
                ax.set(xticks=[], yticks=[])


def _lay_out(figure: Figure, panels: Sequence[Axes]) -> None:
    """Fixes the places of everything, which all formats then share."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    box = Bbox.union([ax.get_position() for ax in panels])
    for text in figure.texts:
        if text is figure._supxlabel:  # type: ignore[attr-defined]
            text.set_x((box.x0 + box.x1) / 2)
        if text is figure._supylabel:  # type: ignore[attr-defined]
            text.set_y((box.y0 + box.y1) / 2)
