"""The page in a browser: what is drawn, sorted, copied, opened, printed; how fast."""

import itertools
import pathlib
import re

import _browser
import pytest
from test_report import MINE, make

from normjax.report import page

FACTORS = {  # 24 arms
    "protocol": ("corrected", "as_published"),
    "optimizer": ("sgd", "adam", "rmsprop", "third_moment"),
    "penalty": ("none", "l2", "dropout"),
}
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
MOST_BYTES = 5_000_000
MOST_SECONDS = 3 * 2.0  # the goal is two seconds; a machine of the tests may be busy
COMMAND = "python launch.py " + " ".join(
    f"--config.settings.s{i}=0.125" for i in range(30)
)
COPIED = "async (text) => (await navigator.clipboard.readText()) === text"
CONTRAST = """([front, back]) => {
  const probe = document.createElement("p");
  document.body.append(probe);
  const light = (name) => {
    probe.style.color = `var(${name})`;
    const parts = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3);
    const [r, g, b] = parts.map((x) => x / 255).map(
      (x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [x, y] = [light(front), light(back)].sort((a, b) => b - a);
  probe.remove();
  return (x + 0.05) / (y + 0.05);
}"""


@pytest.fixture(scope="module")
def launched():
    with _browser.chromium() as made:
        yield made


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> pathlib.Path:
    """A page of 24 arms and ten seeds, with claims."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "my_claims.py").write_text(MINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        make(
            folder / "run",
            FACTORS,
            num_seeds=10,
            baseline={"optimizer": "adam"},
            audit="my_claims",
        )
        return page.build(folder / "run", stills=False)


@pytest.fixture
def tab(launched, path):
    made = _browser.open_page(launched, path, viewport=DESKTOP)
    yield made
    assert made.messages == []
    made.context.close()


def test_no_name_in_the_contents_is_cut(tab):
    """They are those of charts, such as `best validation accuracy against depth`."""
    tab.evaluate(
        "document.querySelector('nav ul ul ul a').textContent = 'final loss '.repeat(9)"
    )
    wide = "all => all.filter((x) => x.scrollWidth > x.clientWidth + 1).length"
    assert tab.locator("nav ul ul ul a").evaluate_all(wide) == 0


def column(tab, table: str, header: str) -> list[str]:
    """The texts of a column, as they stand on the page."""
    return tab.evaluate(
        """([name, header]) => {
          const heading = document.getElementById(`table-${name}`);
          const table = heading.nextElementSibling.querySelector("table");
          const heads = [...table.tHead.rows[0].cells];
          const i = heads.findIndex((x) => x.textContent === header);
          return [...table.tBodies[0].rows].map((row) => row.cells[i].textContent);
        }""",
        [table, header],
    )


def test_every_chart_is_drawn(tab):
    figures = tab.locator("figure.chart")
    assert figures.count() >= 8
    for i in range(figures.count()):
        marks = figures.nth(i).locator(".plot svg :is(path, circle, rect, line)")
        assert marks.count() > 3, figures.nth(i).get_attribute("id")


def test_it_is_small_and_drawn_in_time(launched, path):
    assert path.stat().st_size < MOST_BYTES
    opened = _browser.open_page(launched, path, viewport=DESKTOP)
    assert opened.evaluate("performance.now()") < 1000 * MOST_SECONDS
    opened.context.close()


def test_a_header_sorts_up_then_down_then_as_it_was(tab):
    before = column(tab, "summary", "seconds")
    numbers = [float(x.lstrip("★").split()[0]) for x in before]
    header = tab.locator("#table-summary + div th", has_text="seconds")
    button = header.get_by_role("button")
    assert header.get_attribute("aria-sort") == "none"
    for how, expected in (
        ("ascending", sorted(numbers)),
        ("descending", sorted(numbers, reverse=True)),
        ("none", numbers),
    ):
        button.focus()
        tab.keyboard.press("Enter")
        assert header.get_attribute("aria-sort") == how
        shown = column(tab, "summary", "seconds")
        assert [float(x.lstrip("★").split()[0]) for x in shown] == expected
    status = tab.locator("#status").text_content()
    assert status.endswith(": in its first order")


def test_words_sort_as_words(tab):
    tab.locator("#table-summary + div th", has_text="optimizer").get_by_role(
        "button"
    ).click()
    shown = column(tab, "summary", "optimizer")
    assert shown == sorted(shown)


def test_a_table_is_copied_as_its_file(tab, path):
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for name, suffix in itertools.product(
        ("summary", "differences", "mine"), ("md", "tex", "csv")
    ):
        button = tab.locator(f"[data-table={name}] [data-copy={suffix}]")
        button.click()
        tab.get_by_text("copied ✓").nth(0).wait_for()
        file = path.parent / "tables" / f"{name}.{suffix}"
        tab.wait_for_function(COPIED, arg=file.read_text())


def test_a_claim_opens_by_its_line_and_by_its_address(launched, path, tab):
    first = tab.locator("details.claim").first
    assert not first.locator("table").is_visible()
    first.locator("summary").click()
    assert first.locator("table").is_visible()
    second = tab.locator("details.claim").nth(1)
    tab.evaluate("address => { location.hash = address; }", second.get_attribute("id"))
    second.locator("table").wait_for(state="visible")


def test_every_anchor_leads_somewhere(tab):
    lost = tab.evaluate(
        """() => [...document.querySelectorAll('a[href^="#"]')]
          .map((x) => x.getAttribute("href").slice(1))
          .filter((id) => !document.getElementById(id))"""
    )
    assert lost == []
    headings = tab.locator("h2")
    for i in range(headings.count()):
        own = headings.nth(i).get_attribute("id")
        assert tab.locator(f'nav a[href="#{own}"]').count() == 1


def test_a_reader_of_the_screen_finds_the_parts(tab):
    for landmark in ("navigation", "main"):
        assert tab.get_by_role(landmark).count() == 1
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to the answer"
    assert tab.locator("table.data:not(:has(caption))").count() == 0
    assert tab.locator("table.data th:not([scope])").count() == 0
    assert tab.locator(".best:not(:has([aria-label=best]))").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_have_enough_contrast(launched, path, scheme):
    """At least 4.5, as WCAG 2.2 asks of text (AA)."""
    opened = _browser.open_page(launched, path, viewport=DESKTOP, color_scheme=scheme)
    fronts = ("--ink", "--soft", "--accent", "--yes", "--no")
    for pair in itertools.product(fronts, ("--page", "--card")):
        assert opened.evaluate(CONTRAST, list(pair)) >= 4.5, pair
    assert opened.evaluate(CONTRAST, ["--ink", "--warn"]) >= 4.5
    background = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = max(map(int, re.findall(r"\d+", background))) < 64
    assert dark == (scheme == "dark")
    assert opened.messages == []
    opened.context.close()


def test_a_phone_needs_no_scrolling_to_the_side(launched, path):
    opened = _browser.open_page(launched, path, viewport=PHONE, is_mobile=True)
    tab_width = opened.evaluate("document.documentElement.scrollWidth")
    assert tab_width <= PHONE["width"]
    assert opened.messages == []
    opened.context.close()


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP])
def test_names_of_rows_stay_in_sight_beside_the_numbers(launched, path, viewport):
    """Of three columns of names a phone keeps the first ones, a desktop all."""
    opened = _browser.open_page(launched, path, viewport=viewport)
    counts, share = opened.evaluate(
        """() => {
          const table = document.querySelector("#table-summary + .wide table");
          const stuck = [...table.rows].map((x) => [...x.querySelectorAll(".stuck")]);
          const wide = stuck[0].reduce((sum, x) => sum + x.offsetWidth, 0);
          const scroll = table.parentNode;
          const before = stuck[0][0].getBoundingClientRect().left;
          scroll.scrollLeft = 10000;
          if (stuck[0][0].getBoundingClientRect().left !== before) throw "it moves";
          return [stuck.map((x) => x.length), wide / scroll.clientWidth];
        }"""
    )
    assert len(set(counts)) == 1
    assert counts[0] == 3 if viewport == DESKTOP else 1 <= counts[0] < 3
    assert share <= 0.45
    opened.context.close()


EDGE = "x => getComputedStyle(x).getPropertyValue('--right')"  # how far it fades
HINT = "#table-summary + .wide > .more"


def test_a_wide_table_says_that_it_goes_on_until_its_end(launched, path):
    """The edge fades, and the columns out of sight are counted."""
    opened = _browser.open_page(launched, path, viewport={"width": 800, "height": 900})
    box = opened.locator("#table-summary + .wide > .scroll")
    assert box.get_attribute("data-more") == "right"
    assert re.fullmatch(r"[2-9] more columns →", opened.locator(HINT).inner_text())
    assert box.evaluate(EDGE) == "2.5rem"
    assert box.evaluate("x => getComputedStyle(x).maskImage") != "none"
    box.evaluate("x => { x.scrollLeft = 40; }")
    opened.wait_for_selector("#table-summary + .wide > [data-more='left right']")
    box.evaluate("x => { x.scrollLeft = 10000; }")
    opened.wait_for_selector("#table-summary + .wide > [data-more='left']")
    assert opened.locator(HINT).inner_text() == "the end of the table"
    assert box.evaluate(EDGE) == ""
    opened.evaluate("document.body.style.maxWidth = 'none'")
    opened.set_viewport_size({"width": 2400, "height": 900})
    opened.locator("#table-summary + .wide > .scroll:not([data-more])").wait_for()
    assert opened.locator(HINT).is_hidden()
    opened.context.close()


def test_a_long_table_scrolls_below_its_header(launched, path, tmp_path):
    """Its rows out of sight are counted; on paper it is whole."""
    long = tmp_path / "page.html"
    before, after = path.read_text().split('<h3 id="table-summary"')
    row = re.search(r"<tbody>\s*(<tr>.*?</tr>)", after, re.DOTALL)[1]
    after = after.replace("<tbody>", f"<tbody>{row * 50}", 1)
    after = after.replace('class="scroll"', 'class="scroll long"', 1)
    long.write_text(f'{before}<h3 id="table-summary"{after}')
    opened = _browser.open_page(launched, long, viewport=DESKTOP)
    box = opened.locator("#table-summary + .wide > .scroll")
    assert "down" in box.get_attribute("data-more")
    assert re.search(r"\d\d more rows ↓", opened.locator(HINT).inner_text())
    header = box.locator("thead th").first
    before = header.bounding_box()["y"]
    box.evaluate("x => { x.scrollTop = 200; }")
    assert header.bounding_box()["y"] == before
    opened.emulate_media(media="print")
    assert box.evaluate("x => x.scrollHeight <= x.clientHeight + 1")
    opened.context.close()


def test_a_table_that_scrolls_is_reached_and_moved_by_keys(launched, path):
    opened = _browser.open_page(launched, path, viewport={"width": 800, "height": 900})
    box = opened.get_by_role("region", name="Accuracy, spread and cost of each arm")
    box.focus()
    opened.keyboard.press("ArrowRight")
    opened.wait_for_selector("#table-summary + .wide > [data-more~='left']")
    assert opened.evaluate("document.activeElement.className").startswith("scroll")
    opened.evaluate("document.body.style.maxWidth = 'none'")
    opened.set_viewport_size({"width": 2400, "height": 900})
    opened.locator("#table-summary + .wide > .scroll:not([tabindex])").wait_for()
    opened.context.close()


def test_every_chart_has_a_heading_and_a_link_to_itself(tab):
    """Levels follow each other: no heading is more than one below that before it."""
    levels = tab.evaluate(
        "() => [...document.querySelectorAll('h1, h2, h3, h4, h5')]"
        ".map((x) => Number(x.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    figures = tab.locator("figure.chart")
    for i in range(figures.count()):
        heading = figures.nth(i).locator("figcaption :is(h3, h4)")
        link = heading.locator("a.anchor").get_attribute("href")
        assert link == f"#{figures.nth(i).get_attribute('id')}"
    listed = tab.locator("nav ul ul ul a")
    assert listed.count() >= 5
    assert listed.first.is_visible()


def test_paper_holds_the_whole_command_and_all_columns(launched, path, tmp_path):
    """A4 upright has 703 pixels between margins of 12 mm, and 1032 on its side."""
    long = tmp_path / "page.html"
    text = path.read_text()
    long.write_text(
        re.sub(r"<pre>python launch.py.*?</pre>", f"<pre>{COMMAND}</pre>", text)
    )
    opened = _browser.open_page(launched, long, viewport={"width": 703, "height": 994})
    opened.emulate_media(media="print")
    assert (
        opened.evaluate(
            """() => [...document.querySelectorAll("pre")]
          .filter((x) => x.scrollWidth > x.clientWidth).length"""
        )
        == 0
    )
    assert COMMAND in opened.locator("pre").first.inner_text().replace("\n", " ")
    for hidden in ("nav", ".files", ".config", ".tools"):
        assert not opened.locator(hidden).first.is_visible()
    opened.set_viewport_size({"width": 1032, "height": 703})
    assert opened.evaluate("document.documentElement.scrollWidth") <= 1032
    masks = "[...document.querySelectorAll('.scroll')].map((x) => getComputedStyle(x))"
    assert opened.evaluate(f"{masks}.every((x) => x.maskImage === 'none')")
    assert not opened.locator(".more").first.is_visible()
    opened.context.close()


def test_without_javascript_there_are_answer_claims_and_tables(launched, path):
    context = launched.new_context(java_script_enabled=False, viewport=DESKTOP)
    opened = context.new_page()
    opened.goto(path.as_uri())
    assert opened.locator(".lead").is_visible()
    assert opened.locator("#table-summary + div table").is_visible()
    assert opened.locator("#chart-differences noscript").is_visible()
    opened.locator("details.claim summary").first.click()
    assert opened.locator("details.claim table").first.is_visible()
    context.close()
