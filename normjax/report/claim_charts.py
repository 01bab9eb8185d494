"""The picture of the claim that answers the question of a study."""

import numpy as np

from normjax.report import comparisons, formats
from normjax.report.audit_interface import Comparison, Evidence
from normjax.report.chart import Axis, Chart, Panel, Row
from normjax.report.layout import Layout

SIGNS = "\u2713 holds, \u2717 does not hold, ? undecided; the claim's line says why."
EQUAL = " Seeds with equal numbers are one dot."
FAMILY = " The claim holds if all of them do."


def chart(evidence: Evidence, layout: Layout, level: float) -> Chart:
    """What decided a claim, seed by seed: a row with its verdict for each comparison.

    Args:
        evidence: of the claim.
        layout: of the page.
        level: of the intervals.
    """
    panels: dict[str, list[Row]] = {}
    for one in evidence.comparisons:
        panels.setdefault(one.panel, []).append(_row(one, layout))
    shown = [Panel(title, rows) for title, rows in panels.items()]
    found = [x.values for x in evidence.comparisons if x.values is not None]
    dots = [x[np.isfinite(x)] for x in found]
    equal = any(len(np.unique(x)) < len(x) for x in dots)
    several = any(len(rows) > 1 for rows in panels.values())
    return Chart(
        name="claim",
        kind="rows",
        title=evidence.title,
        x=Axis(
            evidence.measure,
            logarithmic=evidence.logarithmic,
            reference=evidence.reference,
        ),
        y=comparisons.row_names(shown),
        panels=shown,
        note=f"{'Dots: seeds; bars' if dots else 'Bars'}: {evidence.centre} and"
        f" {formats.confidence(level)} interval. A comparison holds if its interval"
        f" lies {evidence.holds}: {SIGNS}{FAMILY * several}{EQUAL * equal}",
        same_y=False,
        verdicts=("holds", "does not hold", "undecided"),
        group="answer",
    )


def _row(one: Comparison, layout: Layout) -> Row:
    return Row(
        key=layout.key(one.arm),
        label=one.label,
        estimate=float(one.interval.estimate),
        low=float(one.interval.low),
        high=float(one.interval.high),
        seeds=[] if one.values is None else one.seeds.tolist(),
        values=one.values,
        text=one.text,
        kind=one.verdict.kind.name.lower(),
    )
