"""Which factor the colours of a page stand for, and which ones the panels.

One layout holds for all charts of a page, so that a colour means the same in each.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from normjax.report import names
from normjax.report.chart import Chart, Charts, Panel, Stroke, Tile
from normjax.report.networks import Cell
from normjax.study import trials
from normjax.study.columns import Level
from normjax.study.record import Record

COLOURS, DASHES = 8, 4  # 32 strokes; those that follow each other differ in both
MOST_COLUMNS = 4  # of panels
CONTEXT = "Thin grey lines: the other panels."

Factors = Mapping[str, Mapping[str, Level]]  # arm -> factor -> level


class Layout(NamedTuple):
    """The colours, panels and labels of the arms of a study."""

    factors: Factors
    colour: str  # the factor that colours stand for, or "arm"
    others: list[str]  # the factors that panels stand for
    strokes: dict[str, Stroke]  # key -> stroke: a level of `colour`, or an arm
    labels: dict[str, str]  # arm -> what a reader calls it

    def key(self, arm: str, axis: str = "") -> str:
        """The key of an arm's stroke; "" if the x axis has what colours stand for."""
        if self.colour == "arm":
            return arm
        return "" if axis == self.colour else str(self.factors[arm][self.colour])

    def label(self, arm: str, axis: str = "") -> str:
        """What tells an arm from the others of its panel."""
        key = self.key(arm, axis)
        return self.strokes[key].label if key else self.labels[arm]

    def title(self, arm: str, axis: str = "") -> str:
        """The title of an arm's panel; the factor of the x axis is not in it."""
        levels = self.factors[arm]
        others = [x for x in self.others if x != axis]
        return ", ".join(names.level(x, levels[x], titled=True) for x in others)

    def panels(self, cells: Iterable[Cell], axis: str = "") -> dict[str, list[Cell]]:
        """Title -> cells, in the order of the cells."""
        panels: dict[str, list[Cell]] = {}
        for cell in cells:
            panels.setdefault(self.title(cell.arm, axis), []).append(cell)
        return panels

    def num_columns(self, axis: str = "") -> int:
        """How many panels stand side by side: the levels of the last other factor."""
        others = [x for x in self.others if x != axis]
        if not others:
            return 1
        return min(len(_levels(self.factors, others[-1])), MOST_COLUMNS)


def of_record(record: Record) -> Layout:
    """The layout of the arms that a study wants, whether they are there or not."""
    content = record.record
    tuning = content.get("tuning")
    judged = judged_factors(tuning) if tuning else {}
    if trials.is_tuning(content):  # its arms are those of trials
        return layout(judged)
    entries = content["arms"]
    varied = content["factors"]
    arms = {
        name: {k: entries[name]["factors"][k] for k in varied}
        for name in content["arm_order"]
    }
    return layout(judged | arms)


def assembled(layout: Layout, charts: Sequence[Chart]) -> Charts:
    """The charts with the strokes that they use, in the order of the layout."""
    used = {
        mark.key
        for chart in charts
        for panel in chart.panels
        for mark in panel.marks
        if not isinstance(mark, Tile)
    }
    strokes = {key: x for key, x in layout.strokes.items() if key in used}
    shown = [chart_in_parts(chart, layout.strokes) for chart in charts]
    return Charts(strokes, shown, names.words(layout.colour))


def chart_in_parts(chart: Chart, strokes: Mapping[str, Stroke]) -> Chart:
    """A chart of lines with no more of them in a panel than there are colours.

    The parts of a panel share its axes, and the lines of the others stand faint behind,
    so they stay comparable. Charts of other kinds write what a mark is beside it.
    """
    if chart.kind != "lines":
        return chart
    parts = [panel_parts(panel, strokes) for panel in chart.panels]
    most = max(map(len, parts), default=1)
    if most == 1:
        return chart
    columns = min(most, MOST_COLUMNS)
    note = f"{chart.note} {CONTEXT}".strip()
    panels = [panel for some in parts for panel in some]
    return chart._replace(panels=panels, columns=columns, note=note)


def panel_parts(panel: Panel, strokes: Mapping[str, Stroke]) -> list[Panel]:
    """A panel, or several with about as many of its lines each.

    Lines whose strokes follow each other stay together: their colours differ.
    """
    used = {mark.key for mark in panel.marks if not isinstance(mark, Tile)}
    keys = [key for key in strokes if key in used]
    number = math.ceil(len(keys) / COLOURS)
    if number < 2:
        return [panel]
    size = math.ceil(len(keys) / number)
    groups = [keys[i : i + size] for i in range(0, len(keys), size)]
    return [
        Panel(
            f"{panel.title}{', ' * bool(panel.title)}"
            f"{strokes[group[0]].label} to {strokes[group[-1]].label}",
            [x for x in panel.marks if not isinstance(x, Tile) and x.key in group],
            part_of=panel.title or "all",
        )
        for group in groups
    ]


def judged_factors(tuning: Mapping[str, Any]) -> dict[str, dict[str, Level]]:
    """Judged arm -> its factors, without those whose level its trials choose."""
    first = {k: tuning["arms"][x["trials"][0]] for k, x in tuning["judged"].items()}
    chosen = tuning["choose"]
    return {
        name: {k: x for k, x in entry["factors"].items() if k not in chosen}
        for name, entry in first.items()
    }


def layout(factors: Factors) -> Layout:
    """Gives colours to the (last) factor with the most levels, panels to the others.

    Colours stand for a factor of numbers only if no other factor varies. Where two arms
    have the same levels of all factors, the colours stand for the arms.
    """
    varying = names.varying_factors(list(factors.values()))
    labels = names.arm_labels(factors)
    if not varying or not identify_arms(factors):
        keys = dict(labels)
        return Layout(factors, "arm", [], _strokes(keys), labels)
    numbers = numeric_factors(factors)
    counts = {x: len(_levels(factors, x)) for x in varying}
    colour = max(reversed(varying), key=lambda x: (x not in numbers, counts[x]))
    keys = {str(x): names.level(colour, x) for x in _levels(factors, colour)}
    others = [x for x in varying if x != colour]
    return Layout(factors, colour, others, _strokes(keys), labels)


def identify_arms(factors: Factors) -> bool:
    """Whether no two arms have the same levels of all factors."""
    return len({tuple(x.values()) for x in factors.values()}) == len(factors)


def numeric_factors(factors: Factors) -> list[str]:
    """The factors that have more than two levels, all of them numbers."""
    first = next(iter(factors.values()), {})
    levels = {name: _levels(factors, name) for name in first}
    return [
        name
        for name, found in levels.items()
        if len(found) > 2 and not any(isinstance(x, str) for x in found)
    ]


def _levels(factors: Factors, name: str) -> list[Level]:
    found = dict.fromkeys(levels[name] for levels in factors.values() if name in levels)
    return [x for x in found if pd.notna(x)]


def _strokes(labels: Mapping[str, str]) -> dict[str, Stroke]:
    keys: Sequence[str] = list(labels)
    return {
        key: Stroke(labels[key], i % COLOURS, (i + i // COLOURS) % DASHES)
        for i, key in enumerate(keys)
    }
