"""Still figures of charts: complete, legible, and the same for the same charts."""

import itertools
import math

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.transforms import Bbox

from normjax.report import still_axes, still_marks, stills
from normjax.report.chart import (
    Axis,
    Chart,
    Charts,
    Panel,
    Point,
    Row,
    Series,
    Stroke,
    Tile,
)

KEYS = ("adam", "sgd", "lion")
STROKES = {key: Stroke(f"the {key}", i, i) for i, key in enumerate(KEYS)}
EPOCHS = np.arange(1, 31)
LONG = "third moment, weight decay 0.0001, as published, batch size 128"


def series(key: str, label: str = "", **more) -> Series:
    y = np.exp(-EPOCHS / (5 + len(key)))
    return Series(key, label, EPOCHS, y, 0.8 * y, 1.2 * y, **more)


def row(key: str, label: str, kind: str = "") -> Row:
    values = np.array([0.1, 0.2, 0.4])
    return Row(key, label, 0.2, 0.1, 0.3, (0, 1, 2), values, "+0.2 [0.1, 0.3]", kind)


def lines(panels: int = 1, title: str = "", **more) -> Chart:
    found = [
        Panel(f"{title}{i}" * (panels > 1), [series(key) for key in KEYS])
        for i in range(panels)
    ]
    axes = Axis("epoch"), Axis("train loss, nats", logarithmic=True)
    return Chart("lines", "lines", "Train loss", *axes, found, columns=3, **more)


def rows(labels: list[str], panels: int = 1, kinds: tuple[str, ...] = ("",)) -> Chart:
    each = zip(labels, itertools.cycle(KEYS), itertools.cycle(kinds))
    marks = [row(key, label, kind) for label, key, kind in each]
    found = [Panel(LONG if panels > 1 else "", marks)] * panels
    axis = Axis("difference, percentage points", reference=0.0)
    return Chart("rows", "rows", "Differences", axis, Axis(""), found)


def tiles(names: list[str], centre: float | None = None, panels: int = 1) -> Chart:
    pairs = list(itertools.product(names, names))
    marks = [
        Tile(x, y, i / len(pairs), f"{i / len(pairs):.2f}", marked=i == 1)
        for i, (x, y) in enumerate(pairs)
    ]
    axes = Axis("loser", names=names), Axis("winner", names=names)
    found = [Panel("a" * panels, marks)] * panels
    more = {"centre": centre, "columns": 2}
    return Chart("tiles", "tiles", f"{LONG}, {LONG}", *axes, found, **more)


def points() -> Chart:
    marks = [
        Point(key, key, 2.0**i, 0.8 + i / 30, 2.0**i / 1.5, 2.0**i * 1.5, 0.7, 0.9)
        for i, key in enumerate(KEYS)
    ]
    axes = Axis("seconds", logarithmic=True), Axis("accuracy")
    return Chart("points", "points", "Cost", *axes, [Panel("", marks)])


MANY = [f"{LONG[: 12 + 4 * (i % 9)]} {i}" for i in range(30)]
EVERY = {
    "lines": lines(),
    "many panels": lines(7, f"{LONG} "),
    "rows": rows(["adam", "sgd"], kinds=("holds", "fails", "undecided")),
    "many rows": rows(MANY),
    "panels of rows": rows(MANY[:3], panels=4),
    "tiles": tiles(["a", "b", "c"]),
    "many tiles": tiles(MANY, centre=0.5),
    "panels of tiles": tiles(MANY[:4], panels=3),
    "points": points(),
}


@pytest.mark.parametrize("name", EVERY)
def test_nothing_is_clipped_and_no_texts_touch(name):
    figure = stills.draw(EVERY[name], STROKES)
    with matplotlib.rc_context(stills.STYLE):
        texts = texts_of(figure)
        titles = [t for ax in figure.axes for t in [ax.title, ax._left_title]]
    inside = figure.bbox.padded(1)
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in texts.values())
    assert all(inside.y0 <= box.y0 and box.y1 <= inside.y1 for box in texts.values())
    assert touching(texts) == []
    assert sum(bool(title.get_text()) for title in titles) == sum(
        bool(panel.title) for panel in EVERY[name].panels
    )
    for ax in figure.axes[: len(EVERY[name].panels)]:
        assert min(ax.get_window_extent().size) > 0.25 * figure.dpi


def test_texts_that_touch_are_found():
    figure = stills.draw(EVERY["rows"], STROKES)
    figure.text(0.01, 0.99, "another title", va="top")
    assert ("Differences", "another title") in touching(texts_of(figure))


def texts_of(figure) -> dict[tuple[int, str], Bbox]:
    """The places of all words; ticks beyond the ends of an axis are not drawn."""
    found = list(figure.texts)
    found += [text for legend in figure.legends for text in legend.get_texts()]
    for ax in figure.axes:
        found += [*ax.texts, ax._left_title]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            found += [
                label
                for tick in ticks
                for label in (tick.label1, tick.label2)
                if low <= tick.get_loc() <= high and label.get_visible()
            ]
    return {
        (i, text.get_text()): text.get_window_extent()
        for i, text in enumerate(found)
        if text.get_text()
    }


def touching(texts: dict[tuple[int, str], Bbox]) -> list[tuple[str, str]]:
    pairs = itertools.combinations(texts.items(), 2)
    return [(a[1], b[1]) for (a, x), (b, y) in pairs if x.padded(-1).overlaps(y)]


def test_the_same_charts_are_the_same_files(tmp_path):
    """Dates, ids and the style that a user has set are in none of them."""
    charts = Charts(STROKES, [lines(), rows(["a"]), tiles(["a", "b"]), points()], "arm")
    before = dict(matplotlib.rcParams)
    stills.write(charts, tmp_path / "a")
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": None}):
        stills.write(charts, tmp_path / "b")
    names = [f"{x.name}.{form}" for x in charts.charts for form in stills.METADATA]
    assert sorted(names) == sorted(path.name for path in (tmp_path / "a").iterdir())
    for name in names:
        content = (tmp_path / "a" / name).read_bytes()
        assert content == (tmp_path / "b" / name).read_bytes()
        assert b"Date" not in content
    other = charts._replace(charts=[lines()._replace(title="Test loss")])
    stills.write(other, tmp_path / "b")
    for form in stills.METADATA:
        first, second = (tmp_path / x / f"lines.{form}" for x in "ab")
        assert first.read_bytes() != second.read_bytes()


def test_a_line_has_its_stroke_its_band_and_its_legend():
    figure = stills.draw(lines(), STROKES)
    (ax,) = figure.axes
    assert ax.get_yscale() == "log"
    for i, line in enumerate(ax.lines):
        assert np.array_equal(line.get_ydata(), series(KEYS[i]).y)
        assert to_hex(line.get_color()) == still_marks.COLOURS[i].lower()
        (band,) = ax.collections[i].get_paths()
        assert np.isclose(band.vertices[:, 1].max(), series(KEYS[i]).high.max())
    assert len({str(line._dash_pattern) for line in ax.lines}) == 3
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["the adam", "the sgd", "the lion"]


def test_lines_without_a_stroke_are_told_by_their_labels():
    marks = [series("", label) for label in ("conv_0", "conv_1", "dense_0")]
    chart = lines()._replace(panels=[Panel("", marks)])
    figure = stills.draw(chart, STROKES)
    assert len({to_hex(line.get_color()) for line in figure.axes[0].lines}) == 3
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["conv_0", "conv_1", "dense_0"]


def test_an_interval_covers_none_of_its_dots():
    figure = stills.draw(rows(MANY[:5]), STROKES)
    (ax,) = figure.axes
    dots, bars, estimates = (ax.lines[i::3] for i in range(3))
    for dot, bar, estimate in zip(dots, bars, estimates):
        size = (dot.get_markersize() + estimate.get_markersize()) / 2
        apart = ax.transData.transform(
            [(0, dot.get_ydata()[0]), (0, bar.get_ydata()[0])]
        )
        assert abs(apart[0, 1] - apart[1, 1]) * 72 / figure.dpi > size - 1
        assert list(dot.get_xdata()) == [0.1, 0.2, 0.4]
        assert list(bar.get_xdata()) == [0.1, 0.3]
    assert [t.get_text() for t in ax.texts] == ["+0.2 [0.1, 0.3]"] * 5


def test_verdicts_are_told_apart_without_colours():
    kinds = ("holds", "fails", "undecided")
    chart = rows(["a", "b", "c"], kinds=kinds)._replace(verdicts=("yes", "no", "open"))
    figure = stills.draw(chart, STROKES)
    estimates = figure.axes[0].lines[2::3]
    looks = {
        (x.get_marker(), to_hex(x.get_markerfacecolor()) == "#ffffff")
        for x in estimates
    }
    assert len(looks) == 3
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [
        "yes",
        "no",
        "open",
    ]
    assert stills.draw(rows(["a"]), STROKES).legends == []


@pytest.mark.parametrize("centre", [None, 0.5])
def test_the_text_of_a_tile_is_legible(centre):
    """4.5:1 on each tile, as WCAG 2.2 has it; ink alone is not enough."""
    chart = tiles([str(i) for i in range(8)], centre)
    norm, colours = still_marks.tile_colours(chart.panels[0].marks, centre)
    figure = stills.draw(chart, STROKES)
    texts = figure.axes[0].texts
    fills = [colours(float(norm(tile.value)))[:3] for tile in chart.panels[0].marks]
    assert len(texts) == len(fills) == 64
    pairs = list(zip(fills, texts))
    assert min(contrast(x, to_rgb(text.get_color())) for x, text in pairs) > 4.5
    assert min(contrast(x, (0, 0, 0)) for x in fills) < 2


def contrast(a, b) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(rgb) -> float:
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in rgb]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_the_first_name_is_above_and_what_is_marked_has_a_frame():
    figure = stills.draw(tiles(["a", "b"]), STROKES)
    ax = figure.axes[0]
    names = {t.get_text(): t.get_window_extent().y0 for t in ax.get_yticklabels()}
    assert names["a"] > names["b"]
    mesh, _, frame = ax.collections
    (path,) = frame.get_paths()
    assert np.allclose(path.get_extents().get_points(), [[-0.46, 0.54], [0.46, 1.46]])
    assert mesh.get_array().shape == (2, 2)


def test_ticks_of_a_grid_are_its_values_and_do_not_touch():
    grid = (0.001, 0.0011, 0.01, 0.1, 1.0)
    chart = lines()._replace(
        x=Axis("learning rate", logarithmic=True, ticks=grid),
        panels=[
            Panel("", [Series("sgd", "", np.array(grid), np.ones(5), marked=(1,))])
        ],
    )
    (ax,) = stills.draw(chart, STROKES).axes
    assert list(ax.get_xticks()) == list(grid)
    labels = [x.get_text() for x in ax.get_xticklabels()]
    assert labels == ["0.001", "", "0.01", "0.1", "1"]
    (line, ring) = ax.lines
    assert list(ring.get_xdata()) == [0.0011]
    assert line.get_marker() == "s"


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.3, 20, {"0.5", "1", "2", "5", "10", "20"}),
        (0.02, 9000, {"0.1", "1", "10", "100", "1000"}),
        (1e-7, 1e7, {"10⁻⁵", "10³"}),
    ],
)
def test_logarithmic_ticks_can_be_read(low, high, labels):
    y = np.geomspace(low, high, 30)
    marks = [Series("sgd", "", EPOCHS, y)]
    (ax,) = stills.draw(lines()._replace(panels=[Panel("", marks)]), STROKES).axes
    ticks = [*ax.get_yticklabels(), *ax.get_yticklabels(minor=True)]
    assert labels <= {tick.get_text() for tick in ticks}


def test_what_is_not_finite_is_said():
    nothing = series("sgd")._replace(y=np.full(30, math.nan), low=None, high=None)
    chart = lines()._replace(
        panels=[Panel("a", [nothing]), Panel("b", [series("sgd")])]
    )
    empty, full = stills.draw(chart, STROKES).axes
    assert [t.get_text() for t in empty.texts] == ["no finite value"]
    assert len(full.texts) == 0
    assert full.get_xticks().size > 2
    assert still_axes.wrapped("") == ""


@pytest.mark.parametrize("whole", [True, False])
def test_a_count_has_ticks_at_whole_numbers(whole):
    marks = [Series(key, key, np.arange(1, 4), np.arange(3) / 2) for key in KEYS]
    chart = lines()._replace(
        x=Axis("number of trials", whole=whole), panels=[Panel("", marks)]
    )
    (ax,) = stills.draw(chart, STROKES).axes
    low, high = ax.get_xlim()
    ticks = [x for x in ax.get_xticks() if low <= x <= high]
    assert all(float(x).is_integer() for x in ticks) == whole
    assert {1, 2, 3} <= set(ticks)


def crowd(number: int, spread: float) -> tuple[Chart, dict[str, Stroke]]:
    """Points of arms with long names, close together if the spread is small."""
    keys = [f"weight standardization {i}" for i in range(number)]
    marks = [
        Point(key, key, x, y, x - 0.1, x + 0.1, y - 0.1, y + 0.1)
        for i, key in enumerate(keys)
        for x, y in [(spread * (i % 5), spread * (i // 5))]
    ]
    marks.append(Point(keys[0], "far", 9.0, 9.0))
    axes = Axis("seconds"), Axis("accuracy")
    chart = Chart("cost", "points", "Cost", *axes, [Panel("", marks)])
    return chart, {key: Stroke(key, i % 8, i % 4) for i, key in enumerate(keys)}


def test_more_arms_than_colours_have_labels_beside_their_points():
    chart, strokes = crowd(9, 2.0)
    figure = stills.draw(chart, strokes)
    (ax,) = figure.axes
    assert figure.legends == []
    assert [x.get_text() for x in ax.texts] == [x.label for x in chart.panels[0].marks]
    boxes = [x.get_window_extent() for x in ax.texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    frame = ax.get_window_extent().padded(1)
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
    few, strokes = crowd(8, 2.0)
    assert len(stills.draw(few, strokes).legends) == 1


def test_no_interval_goes_through_a_label():
    """Though the next place beside a point lies on the interval of the next point."""
    keys = [f"weight standardization {i}" for i in range(9)]
    marks = [
        Point(
            key, key, i % 3 * 4 + i / 9, i // 3 * 3.0, math.nan, math.nan, y - 1, y + 1
        )
        for i, key in enumerate(keys)
        for y in [i // 3 * 3.0]
    ]
    axes = Axis("seconds"), Axis("accuracy")
    chart = Chart("cost", "points", "Cost", *axes, [Panel("", marks)])
    strokes = {key: Stroke(key, i % 8, i % 4) for i, key in enumerate(keys)}
    (ax,) = stills.draw(chart, strokes).axes
    labels = [text.get_window_extent().padded(-1) for text in ax.texts]
    ends = [[(x.x, x.y_low), (x.x, x.y_high)] for x in marks]
    bars = [Bbox(ax.transData.transform(each)).padded(0.5) for each in ends]
    assert len(labels) == 9
    assert not any(box.count_overlaps(bars) for box in labels)


def test_where_a_label_has_no_room_there_is_the_legend():
    chart, strokes = crowd(40, 0.01)
    figure = stills.draw(chart, strokes)
    assert len(figure.axes[0].texts) == 0
    assert len(figure.legends[0].get_texts()) == 40


def test_the_lines_of_other_parts_stand_behind_and_move_no_axis():
    part = [Panel(key, [series(key)], part_of="all") for key in KEYS]
    figure = stills.draw(lines()._replace(panels=part), STROKES)
    for ax, key in zip(figure.axes, KEYS):
        colours = [to_hex(x.get_color()) for x in ax.lines]
        own = still_marks.COLOURS[KEYS.index(key)].lower()
        assert colours.count(own) == 1
        assert len(set(colours)) == 2
        assert len(ax.collections) == 1  # its band
