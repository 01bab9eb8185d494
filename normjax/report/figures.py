"""The charts of a study: which ones there are, and in which order."""

from collections.abc import Sequence

from normjax.report import (
    claim_charts,
    comparisons,
    costs,
    curves,
    estimates,
    grids,
    layout,
    maps,
    names,
    networks,
    profiles,
    searches,
)
from normjax.report.audit_interface import Evidence
from normjax.report.chart import Chart, Charts
from normjax.report.networks import Cell
from normjax.study import trials
from normjax.study.record import Record


def charts(record: Record, evidence: Evidence | None = None) -> Charts:
    """The charts that a record has the numbers for, in the order of the page.

    Each arm is shown at its best setting, except against a setting. While every arm
    still lacks its setting, there are the charts of tuning alone.

    Args:
        record: the study.
        evidence: of the claim that answers its question, if there is one: then that is
            the picture of the answer, in place of the test accuracies.
    """
    plan = layout.of_record(record)
    tuning = searches.charts(record, plan)
    if trials.is_tuning(record.record):
        return layout.assembled(plan, tuning)
    level, cells = estimates.level_of(record), networks.load(record)
    best = networks.best_of_arms(cells)
    baseline = record.record.get("baseline") or {}
    accuracies = comparisons.charts(best, baseline, plan, level)
    claim = [claim_charts.chart(evidence, plan, level)] if evidence else []
    if claim:
        accuracies = [x._replace(group=comparisons.GROUP) for x in accuracies]
    found = [
        *accuracies,
        *curves.charts(best, plan, level),
        *profiles.charts(best, plan, level, record.record.get("same_data") or {}),
    ]
    of_grid = grids.charts(cells, plan, level) + maps.charts(cells, plan, level)
    cost = costs.charts(best, plan, level)
    absent = set(plan.factors) - {cell.arm for cell in cells}
    lacks = absent_arms([label for arm, label in plan.labels.items() if arm in absent])
    remarks = remarks_on(cells, tuned=bool(record.record.get("tuning")))
    shown = [*(noted(x, remarks) for x in found), *of_grid, *cost]
    return layout.assembled(
        plan,
        [*(noted(x, lacks) for x in (*claim, *shown)), *tuning],
    )


def remarks_on(cells: Sequence[Cell], *, tuned: bool) -> list[str]:
    """What is true of every chart of arms at their best settings."""
    sentences = []
    if tuned:
        sentences.append("Each arm is at the setting that its trials chose.")
    elif any(cell.position for cell in cells):
        sentences.append(
            "Each arm is at the setting of its highest mean validation accuracy."
        )
    num_diverged = sum(int(cell.diverged.sum()) for cell in cells)
    if num_diverged:
        sentences.append(
            f"{num_diverged:,} of {sum(len(cell.seeds) for cell in cells):,} networks"
            " diverged: the curves of their train loss and accuracy end there, and what"
            " is evaluated later is their last finite state."
        )
    return sentences


def absent_arms(labels: Sequence[str]) -> list[str]:
    """A sentence with the arms that no chart has; none if all are there."""
    return [f"Without a network yet: {names.some(labels)}."] if labels else []


def noted(chart: Chart, sentences: Sequence[str]) -> Chart:
    """The chart with these sentences at the end of its note."""
    return chart._replace(note=" ".join([chart.note, *sentences]).strip())
