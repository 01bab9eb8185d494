"""Charts of final test accuracies: differences, seeds, probabilities and profiles."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from normjax import ties
from normjax.report import bands, decisions, estimates, formats, names, networks
from normjax.report.chart import Axis, Chart, Panel, Row
from normjax.report.layout import Layout
from normjax.report.networks import Cell
from normjax.statistics import Interval

GROUP = "seeds"
POINTS = "difference in test accuracy, percentage points"
ALONE = (
    " Each comparison stands alone, not adjusted for their number; the table of"
    " differences has Holm's p, which is."
)


def charts(
    best: Sequence[Cell], baseline: Mapping[str, Any], layout: Layout, level: float
) -> list[Chart]:
    """The differences to the baseline, if there is one, and every seed.

    The first answers the question of a study; without a baseline, that is the second.
    """
    dots = seeds(best, layout, level)
    pairs = baseline_pairs(best, baseline)
    if not pairs:
        return [dots._replace(group="answer")]
    return [differences(pairs, baseline, layout, level), dots]


def baseline_pairs(
    cells: Sequence[Cell], baseline: Mapping[str, Any]
) -> list[tuple[Cell, Cell]]:
    """Each cell with that of its baseline arm; a baseline arm itself has no pair.

    Args:
        cells: one for each arm, such as `networks.best_of_arms`.
        baseline: the levels to which an arm's factors are changed to get its baseline.
    """
    by_factors = {tuple(cell.factors.items()): cell for cell in cells}
    pairs = []
    for cell in cells:
        factors = tuple((cell.factors | dict(baseline)).items())
        other = by_factors.get(factors, cell)
        if other.arm != cell.arm:
            pairs.append((cell, other))
    return pairs


def differences(
    pairs: Sequence[tuple[Cell, Cell]],
    baseline: Mapping[str, Any],
    layout: Layout,
    level: float,
) -> Chart:
    """Each arm minus its baseline arm, seed by seed: dots, an interval and a verdict.

    Args:
        pairs: of `baseline_pairs`.
        baseline: as there.
        layout: of the page.
        level: of the intervals.
    """
    others = {cell.arm: other for cell, other in pairs}
    groups = layout.panels(cell for cell, _ in pairs)
    panels = [
        Panel(title, [difference_row(x, others[x.arm], layout, level) for x in members])
        for title, members in groups.items()
    ]
    against = ", ".join(names.level(*pair, titled=True) for pair in baseline.items())
    return Chart(
        name="differences",
        kind="rows",
        verdicts=("better", "worse", "undecided"),
        title=f"Test accuracy minus that of {against}, on the same seeds",
        x=Axis(POINTS, reference=0.0),
        y=row_names(panels),
        panels=panels,
        note=f"Dots: seeds; bars: mean and {formats.confidence(level)} interval."
        f" A difference counts if it has {ties.least(level):,} pairs of seeds or more,"
        " its interval excludes zero and, where seeds lie far from the others, that of"
        " the trimmed mean lies on the same side: \u2713 better, \u2717 worse, ?"
        " undecided." + (ALONE if len(pairs) > 1 else ""),
        same_y=False,
        group="answer",
    )


def difference_row(a: Cell, b: Cell, layout: Layout, level: float) -> Row:
    """`a` minus `b` in percentage points; it holds if `a` is better, fails if worse."""
    found = decisions.decision(a, b, level=level)
    estimate, low, high = (float(x) for x in found.difference[:3])
    i, j = networks.shared_seeds(a, b)
    accuracy = a.final["test_accuracy"][i] - b.final["test_accuracy"][j]
    return Row(
        key=layout.key(a.arm),
        label=layout.label(a.arm),
        estimate=estimate,
        low=low,
        high=high,
        seeds=a.seeds[i].tolist(),
        values=100 * accuracy,
        text=formats.signed(found.difference),
        kind=("undecided", "holds", "fails")[found.side],
    )


def seeds(best: Sequence[Cell], layout: Layout, level: float) -> Chart:
    """The final test accuracy of every seed: a row for each arm, mean and interval."""
    panels = [
        Panel(title, [accuracy_row(cell, layout, level) for cell in members])
        for title, members in layout.panels(best).items()
    ]
    rows = [row for panel in panels for row in panel.marks if isinstance(row, Row)]
    alone = any(len(cell.seeds) == 1 for cell in best)
    ended = any(bands.ended(row.low, row.high) for row in rows)
    sentences = [
        f"Dots: seeds; bars: mean and {formats.confidence(level)} interval.",
        "A single seed has no interval." if alone else "",
        bands.CLIPPED if ended else "",
    ]
    return Chart(
        name="seeds",
        kind="rows",
        title="Final test accuracy, seed by seed",
        x=bands.share_axis("final test accuracy", bands.row_arrays(rows)),
        y=row_names(panels),
        panels=panels,
        note=" ".join(x for x in sentences if x),
        same_y=False,
        group=GROUP,
    )


def accuracy_row(cell: Cell, layout: Layout, level: float) -> Row:
    """The final test accuracy of an arm, with the interval that its table has."""
    values = cell.final["test_accuracy"]
    estimate, *bounds, _ = estimates.robustness(cell, level=level)
    low, high = np.clip(bounds, 0.0, 1.0).tolist()
    return Row(
        key=layout.key(cell.arm),
        label=layout.label(cell.arm),
        estimate=estimate,
        low=low,
        high=high,
        seeds=cell.seeds.tolist(),
        values=values,
        text=formats.by_width(Interval(estimate, low, high, len(values))),
    )


def row_names(panels: Sequence[Panel]) -> Axis:
    """The axis of the names of rows, each once."""
    rows = [x for panel in panels for x in panel.marks if isinstance(x, Row)]
    return Axis("", names=list(dict.fromkeys(row.label for row in rows)))
