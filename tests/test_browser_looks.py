"""How the charts of a page look: colours, a phone, paper, and the time they take."""

import pathlib

import _browser
import pytest


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


def settled(tab) -> None:
    """Waits until no chart is to be drawn again."""
    tab.wait_for_function("normjax.charts.every((x) => !x.isStale)")


LUMINANCE = """(selector) => [...document.querySelectorAll(selector)].map((x) => {
  const canvas = document.createElement("canvas").getContext("2d");
  const style = getComputedStyle(x);
  const luminance = (css) => {
    canvas.fillStyle = css;
    canvas.fillRect(0, 0, 1, 1);
    const linear = [...canvas.getImageData(0, 0, 1, 1).data].map((v) =>
      v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  return [style.fill, style.stroke].map((c) => (c === "none" ? null : luminance(c)));
})"""


def contrast(a: float, b: float) -> float:
    """The contrast of two luminances, as the WCAG define it."""
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_are_legible_on_tiles_and_lines_on_the_page(launched, path, scheme):
    tab = _browser.open_page(launched, path, color_scheme=scheme)
    tiles = [x[0] for x in tab.evaluate(LUMINANCE, ".plot g.tile rect") if x[0]]
    ((ink, *_),) = tab.evaluate(LUMINANCE, "#chart-beats .plot g[aria-label=text]")[-1:]
    assert len(tiles) == 12
    assert min(contrast(tile, ink) for tile in tiles) > 4.5
    page = 1.0 if scheme == "light" else 0.009
    lines = [x[1] for x in tab.evaluate(LUMINANCE, "#chart-rates g.mark path")]
    least = 2.9 if scheme == "light" else 4.5  # the palette is made for white paper
    assert min(contrast(x, page) for x in lines if x is not None) > least
    tab.context.close()


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_has_one_column_and_no_sideways_scrolling(launched, path, width):
    tab = _browser.open_page(launched, path, viewport={"width": width, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    boxes = [x.bounding_box() for x in tab.locator("#chart-train_loss svg").all()]
    assert boxes[0]["x"] == boxes[1]["x"]
    assert boxes[0]["y"] + boxes[0]["height"] <= boxes[1]["y"]
    tab.context.close()


def test_a_narrower_window_draws_again(tab):
    tab.set_viewport_size({"width": 500, "height": 800})
    tab.wait_for_function(
        "document.querySelector('#chart-rates svg').getAttribute('width') < 500"
    )


def test_on_paper_every_chart_is_as_wide_as_a_page(tab):
    tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    width = (
        "[...document.querySelectorAll('#chart-rates svg')].map((x) => x.clientWidth)"
    )
    assert tab.evaluate(width) == [680]
    tab.emulate_media(media="print")
    assert tab.locator(".tools").first.is_hidden()
    tab.emulate_media(media="screen")
    tab.evaluate("window.dispatchEvent(new Event('afterprint'))")
    settled(tab)
    assert tab.evaluate(width)[0] > 1000


def test_many_arms_are_drawn_in_time(launched, tmp_path):
    """24 arms, 10 seeds, 50 epochs, 20 charts: half a second alone."""
    made = _browser.charts(arms=24, seeds=10, epochs=50)
    curves = made.charts[1]
    charts = [curves._replace(name=f"curves{i}") for i in range(16)]
    page = tmp_path / "many.html"
    page.write_text(_browser.page(made._replace(charts=made.charts[:1] + charts)))
    assert page.stat().st_size < 5e6
    tab = _browser.open_page(launched, page)
    seconds = tab.evaluate(
        "(() => { for (const x of normjax.charts) x.isStale = true;"
        "const start = performance.now(); normjax.drawAll();"
        "return (performance.now() - start) / 1000; })()"
    )
    assert seconds < 4  # of a machine that runs other tests too
    tab.context.close()
