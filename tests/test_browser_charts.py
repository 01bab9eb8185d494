"""The charts of a page in a browser: what is drawn, read, hidden, switched, saved."""

import itertools
import json
import pathlib
import re
import xml.etree.ElementTree as ElementTree

import _browser
import pytest

from normjax.report import browser
from normjax.report.chart import Axis, Chart, Charts, Panel, Point, Stroke

MINUS = "\N{MINUS SIGN}"
KINDS = {"differences", "train_loss", "rates", "beats", "costs"}


@pytest.fixture(scope="module")
def launched():
    with _browser.chromium() as made:
        yield made


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> pathlib.Path:
    made = tmp_path_factory.mktemp("page") / "page.html"
    made.write_text(_browser.page(_browser.charts()), encoding="utf-8")
    return made


@pytest.fixture
def tab(launched, path):
    made = _browser.open_page(launched, path, viewport={"width": 1280, "height": 900})
    yield made
    assert made.messages == []
    made.context.close()


def keys(tab, name: str) -> set[str]:
    """The keys of the marks that a chart shows."""
    found = f"[...document.querySelectorAll('#chart-{name} .plot [data-key]')]"
    return set(tab.evaluate(f"{found}.map((x) => x.dataset.key)"))


def settled(tab) -> None:
    """Waits until no chart is to be drawn again."""
    tab.wait_for_function("normjax.charts.every((x) => !x.isStale)")


def line(tab, name: str = "train_loss") -> str:
    """The path of the first estimate of a chart."""
    return tab.locator(f"#chart-{name} g.mark path").first.get_attribute("d")


def ticks(tab, name: str) -> list[str]:
    labels = tab.locator(f"#chart-{name} svg").first.locator(
        "[aria-label='y-axis tick label'] text"
    )
    return labels.all_text_contents()


def hover(tab, name: str, mark: str) -> str:
    """Moves the pointer over a mark; returns what the tip says."""
    tab.locator(f"#chart-{name} .plot").scroll_into_view_if_needed()
    box = tab.locator(f"#chart-{name} .plot {mark}").first.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    return tab.locator(f"#chart-{name} .tip").inner_text()


def test_every_chart_is_drawn_and_has_a_name_and_a_summary(tab):
    for name in KINDS:
        svgs = tab.locator(f"#chart-{name} .plot svg[role=img]")
        assert svgs.count() >= 1
        assert svgs.first.get_attribute("aria-label")
        assert svgs.first.get_attribute("aria-description")
        drawn = f"#chart-{name} .plot :is(.mark path, .tile rect)"
        assert tab.locator(drawn).count() >= 3
    assert tab.locator("#chart-train_loss .plot svg").count() == 2  # a panel each
    assert "⚠" not in tab.locator("body").inner_text()  # Plot's own warnings


def test_a_chart_without_marks_has_none(launched, tmp_path):
    made = _browser.charts()
    nothing = [x._replace(panels=[y._replace(marks=[]) for y in x.panels])
               for x in made.charts]  # fmt: skip
    page = tmp_path / "empty.html"
    page.write_text(_browser.page(made._replace(charts=nothing)), encoding="utf-8")
    tab = _browser.open_page(launched, page)
    assert tab.messages == []
    assert tab.locator(".plot [data-key]").count() == 0
    assert tab.locator(".plot .nothing").count() == 4  # tiles keep their axes
    tab.context.close()


def test_the_pointer_reads_arm_seed_value_and_interval(tab):
    text = hover(tab, "differences", "g.band line")
    assert "corrected third moment, penalty 0" in text
    assert re.search(
        rf"difference in test accuracy \(points\) {MINUS}0\.\d+ \[{MINUS}0", text
    )
    assert tab.locator("#chart-differences .join").count() == 0
    text = hover(tab, "differences", "g.seed circle")
    assert "seed 0" in text
    joined = tab.locator("#chart-differences .joined")
    assert joined.count() == 4  # the same seed in every row
    assert tab.locator("#chart-differences .join").count() == 1
    text = hover(tab, "beats", "g.tile rect")
    assert re.fullmatch(r"arm\d beats arm\d in 0\.\d\d of the pairs\s*(framed)?", text)
    tab.mouse.move(1, 1)
    assert tab.locator("#chart-beats .tip").is_hidden()


def test_a_click_hides_an_arm_in_every_chart_and_another_shows_it_alone(tab):
    shown = {name: keys(tab, name) for name in KINDS - {"beats"}}
    assert all("arm1" in found for found in shown.values())
    toggle = tab.locator("[data-stroke=arm1]")
    toggle.click()
    settled(tab)
    assert toggle.get_attribute("aria-pressed") == "false"
    assert all(keys(tab, x) == shown[x] - {"arm1"} for x in shown)
    tab.get_by_role("button", name="show only third moment, penalty 2").click()
    settled(tab)
    assert all(keys(tab, name) == {"arm2"} for name in ("differences", "rates"))
    tab.get_by_role("button", name="show all").click()
    settled(tab)
    assert {name: keys(tab, name) for name in shown} == shown


def test_marks_that_stay_although_hidden_would_be_noticed(tab):
    """The counter-case: a chart that does not ask what is hidden keeps its marks."""
    shown = keys(tab, "rates")
    tab.evaluate(
        "normjax.charts.forEach((x) => { x.draw = () => { x.isStale = false; } })"
    )
    tab.locator("[data-stroke=arm1]").click()
    settled(tab)
    assert keys(tab, "rates") == shown


def test_hidden_arms_stay_hidden_when_another_is_clicked(tab):
    for key in ("arm1", "arm2"):
        tab.locator(f"[data-stroke={key}]").click()
    settled(tab)
    assert keys(tab, "rates") == {"arm0", "arm3"}


def test_a_chart_whose_arms_are_all_hidden_says_so(tab):
    for key in ("arm0", "arm1"):
        tab.locator(f"[data-stroke={key}]").click()
    settled(tab)
    assert tab.locator("#chart-train_loss .plot svg").count() == 2
    for key in ("arm2", "arm3"):
        tab.locator(f"[data-stroke={key}]").click()
    settled(tab)
    message = tab.locator("#chart-train_loss .plot").inner_text()
    assert message.startswith("Nothing to show")


def test_the_axis_switches_to_logarithmic_and_leaves_zeros_out(tab):
    linear, before = ticks(tab, "train_loss"), line(tab)
    tab.locator("#chart-train_loss").get_by_label("log y").check()
    assert ticks(tab, "train_loss") != linear
    assert "0" in linear
    assert "0" not in ticks(tab, "train_loss")
    assert line(tab) != before
    drawn = tab.locator("#chart-train_loss svg").first.inner_html()
    assert "NaN" not in drawn
    assert "Infinity" not in drawn


def test_the_slider_smooths_lines_and_hides_their_bands(tab):
    before = line(tab)
    assert tab.locator("#chart-train_loss .band").count() > 0
    tab.locator("#chart-train_loss input[type=range]").fill("0.8")
    assert line(tab) != before
    assert tab.locator("#chart-train_loss .band").count() == 0
    assert (
        "intervals are hidden" in tab.locator("#chart-train_loss .status").inner_text()
    )
    tab.locator("#chart-train_loss input[type=range]").fill("0")
    assert line(tab) == before


def test_smoothing_keeps_a_constant_and_leaves_gaps(tab):
    """s[n] = w s[n-1] + (1 - w) y[n], over 1 - w^n."""
    smooth = "normjax.base.smooth"
    assert tab.evaluate(f"{smooth}([2, 2, null, 2], 0.5)") == [2, 2, None, 2]
    assert tab.evaluate(f"{smooth}([0, 3], 0.5)") == [0, 2]
    assert tab.evaluate(f"{smooth}([1, 5], 0)") == [1, 5]


def test_seeds_are_drawn_when_they_are_asked_for(tab):
    seeds = tab.locator("#chart-train_loss .plot g.seed path")
    assert seeds.count() == 0
    tab.locator("#chart-train_loss").get_by_label("seeds").check()
    assert seeds.count() == 3 * (4 + 2)  # seeds, series of the two panels


def test_the_keyboard_moves_through_the_marks_aloud(tab):
    said = tab.locator("#reading")
    tab.locator("#chart-differences .plot").focus()
    tab.keyboard.press("ArrowRight")
    assert "penalty 0" in said.inner_text()
    assert f"[{MINUS}" in said.inner_text()
    tab.keyboard.press("ArrowRight")
    assert "seed" in said.inner_text()
    tab.keyboard.press("ArrowDown")
    assert "penalty 1" in said.inner_text()
    tab.keyboard.press("Escape")
    assert tab.locator("#chart-differences .tip").is_hidden()


def test_the_numbers_are_a_table_of_what_is_shown(tab):
    numbers = tab.locator("#chart-differences .numbers")
    assert numbers.locator("tr").count() == 0
    numbers.locator("summary").click()
    numbers.locator("table").wait_for()
    assert numbers.locator("tbody tr").count() == 4
    tab.locator("[data-stroke=arm1]").click()
    settled(tab)
    assert numbers.locator("tbody tr").count() == 3


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_chart_is_saved_as_it_is_shown(tab, name):
    with tab.expect_download() as download:
        tab.locator(f"#chart-{name}").get_by_role("button", name="save SVG").click()
    assert download.value.suggested_filename == f"{name}.svg"
    text = pathlib.Path(download.value.path()).read_text("utf-8")
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(" not in text
    assert "color-mix" not in text
    assert tab.locator(f"#chart-{name} figcaption").inner_text() in text


def test_the_legend_brings_out_what_it_is_pointed_at(tab):
    faded = "#chart-rates .plot .faded"
    assert tab.locator(faded).count() == 0
    tab.locator("[data-stroke=arm1]").hover()
    names = tab.locator(faded).evaluate_all("all => all.map((x) => x.dataset.key)")
    assert set(names) == {"arm0", "arm2", "arm3"}
    tab.mouse.move(1, 1)
    assert tab.locator(faded).count() == 0
    tab.locator("[data-stroke=arm0]").focus()
    tab.keyboard.press("Tab")
    names = tab.locator(faded).evaluate_all("all => all.map((x) => x.dataset.key)")
    assert set(names) == {"arm1", "arm2", "arm3"}


@pytest.mark.parametrize("width", [390, 1280])
def test_every_point_has_a_label_or_is_named_below(launched, tmp_path, width):
    """24 points, some of them at one place: no label lies on another or on a point."""
    made = _browser.charts(arms=24)
    page = tmp_path / "costs.html"
    page.write_text(_browser.page(made._replace(charts=made.charts[-1:])), "utf-8")
    tab = _browser.open_page(launched, page, viewport={"width": width, "height": 900})
    labels = tab.locator("#chart-costs .labels text")
    named = tab.locator("#chart-costs .unlabelled")
    lost = named.inner_text().count("penalty") if named.is_visible() else 0
    assert labels.count() + lost == 24
    assert labels.count() >= (24 if width == 1280 else 8)
    boxes = labels.evaluate_all(
        "all => all.map((x) => x.getBBox()).map((b) => [b.x, b.y, b.width, b.height])"
    )
    for (x, y, w, h), (u, v, _, _) in itertools.permutations(boxes, 2):
        assert not (x - 1 < u < x + w + 3 and abs(v - y) < h - 3)
    assert tab.messages == []
    tab.context.close()


@pytest.mark.parametrize(("width", "apart"), [(390, 0.6), (1280, 0.2)])
def test_no_interval_goes_through_a_label(launched, tmp_path, width, apart):
    """Though the next place beside a point lies on the interval of the next point."""
    names = ["layer", "layer example", "batch", "far"]
    places = [1, 1 + apart, 1 + 2 * apart, 9]
    marks = [
        Point(f"arm{i}", name, x, 0.5, y_low=0.45, y_high=0.55)
        for i, (name, x) in enumerate(zip(names, places))
    ]
    axes = Axis("seconds"), Axis("accuracy", limits=(0.0, 1.0))
    chart = Chart("cost", "points", "Cost", *axes, [Panel("", marks)])
    strokes = {f"arm{i}": Stroke(name, i, i) for i, name in enumerate(names)}
    page = tmp_path / "cost.html"
    page.write_text(_browser.page(Charts(strokes, [chart], "arm")), "utf-8")
    tab = _browser.open_page(launched, page, viewport={"width": width, "height": 900})
    boxes = (
        "all => all.map((x) => x.getBBox()).map((b) => [b.x, b.y, b.width, b.height])"
    )
    labels = tab.locator("#chart-cost .labels text").evaluate_all(boxes)
    bars = tab.locator("#chart-cost .band line").evaluate_all(boxes)
    assert len(labels) == len(bars) == 4
    for (x, y, w, h), (u, v, _, length) in itertools.product(labels, bars):
        assert not (x < u < x + w and v < y + h - 3 and y + 3 < v + length)
    tab.context.close()


def test_a_panel_of_many_lines_has_the_others_behind(launched, tmp_path):
    made = _browser.charts()
    curves = next(x for x in made.charts if x.name == "train_loss")
    marks = curves.panels[0].marks
    parts = [Panel(f"part {i}", marks[i : i + 2], "all") for i in (0, 2)]
    page = tmp_path / "parts.html"
    page.write_text(
        _browser.page(made._replace(charts=[curves._replace(panels=parts)]))
    )
    tab = _browser.open_page(launched, page)
    behind = tab.locator("#chart-train_loss svg .context path")
    assert behind.count() == 4
    assert keys(tab, "train_loss") == {"arm0", "arm1", "arm2", "arm3"}
    tab.locator("[data-stroke=arm0]").click()
    settled(tab)
    assert behind.count() == 3
    assert tab.messages == []
    tab.context.close()


def test_a_count_is_marked_at_whole_numbers(tab):
    axis = "{ names: [], ticks: [], whole }"
    ticks = f"(whole) => normjax.axes.ticks({axis}, [1, 5], false, 6)"
    assert tab.evaluate(ticks, True) == [1, 2, 3, 4, 5]
    assert 1.5 in tab.evaluate(ticks, False)


def test_no_text_of_a_chart_ends_its_element():
    evil = _browser.charts()
    text = "</script><script>alert(1)</script><!--"
    charts = Charts({}, [evil.charts[0]._replace(title=text)], "arm")
    assert "<" not in browser.chart_data(charts)
    assert json.loads(browser.chart_data(charts))["charts"][0]["title"] == text
    assert not re.search(r"</script|<!--", browser.scripts(), re.IGNORECASE)
    assert "</style" not in browser.styles()
    assert len(browser.scripts().encode()) < 600_000
