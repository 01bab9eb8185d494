"""When one arm is better than another, and what a study has not decided yet."""

import math
from typing import NamedTuple

import numpy as np

from normjax import ties
from normjax.report import estimates, formats, networks
from normjax.report.audit_interface import (
    Section,
    Verdict,
    audit_sections,
)
from normjax.report.estimates import Outlying
from normjax.report.networks import Cell
from normjax.statistics import LEVEL, Interval
from normjax.study.record import Record


class Decision(NamedTuple):
    """What the difference in test accuracy of two arms says of the first."""

    side: int  # 1 if it is better, -1 if it is worse, 0 if that is undecided
    reason: str  # `the 95% interval excludes zero`
    difference: Interval  # in points
    outlying: Outlying | None

    def __str__(self) -> str:
        """`better (the 95% interval excludes zero)`."""
        return f"{('undecided', 'better', 'worse')[self.side]} ({self.reason})"


def decision(a: Cell, b: Cell, *, level: float = LEVEL) -> Decision:
    """Whether `a` has a higher test accuracy than `b`, by their shared seeds.

    See `side_and_reason`, the one rule of the answer, the charts and the launcher.
    """
    found = estimates.accuracy_difference(a, b, level=level)
    difference = Interval(*found[:4])
    outlying = estimates.outlying_difference(a, b, level=level)
    trimmed = outlying.trimmed if outlying else None
    side, reason = side_and_reason(difference, level, trimmed)
    i, j = networks.shared_seeds(a, b)
    accuracy = a.final["test_accuracy"][i], b.final["test_accuracy"][j]
    if len(i) and np.array_equal(*accuracy):
        side, reason = 0, "equal on every seed"
    return Decision(side, reason, difference, outlying)


def side_and_reason(
    difference: Interval, level: float, trimmed: Interval | None = None
) -> tuple[int, str]:
    """1 if a difference is above zero, -1 if below, 0 if undecided, and why.

    It is decided if its interval excludes zero, so many pairs could have a sign-flip
    p of at most `1 - level` (`2^(1 - n) <= 1 - level`: six or more at 95%), and the
    interval of the trimmed mean lies on the same side, if a seed is outlying.

    Args:
        difference: the interval of paired differences.
        level: its level.
        trimmed: the interval of the trimmed mean, if a seed is outlying.
    """
    percent, least = formats.confidence(level), ties.least(level)
    if math.isnan(difference.low):
        return 0, "too few seeds for an interval"
    side = _side(difference)
    if not side:
        return 0, f"the {percent} interval includes zero"
    if difference.n < least:
        return 0, f"too few seeds: at {percent} it takes {least:,} to decide"
    if trimmed and _side(trimmed) != side:
        return 0, "outlying seeds: the trimmed mean does not agree"
    return side, f"the {percent} interval excludes zero"


def undecided(record: Record) -> tuple[str, ...]:
    """The names of the comparisons that more seeds may decide; empty if there are none.

    They are the arms that lack networks, then the differences in test accuracy to the
    baseline that are undecided (`side_and_reason`), in the order of their table, then
    the verdicts of the audit that are undecided. Intervals have the level of the look
    (`estimates.level_of`). Left out is a claim that no seed can decide, because it is
    about the time of one run, or the grid of rates ends before its answer. A comparison
    is judged at the last look alone, whatever an earlier one has said.
    """
    arms = record.record["arms"].items()
    names = [
        f"{arm}, of which {entry['missing']} networks are missing"
        for arm, entry in arms
        if entry["missing"]
    ]
    names += _differences(record)
    for section in audit_sections(record):
        names += _verdicts(section)
    return tuple(names)


def has_comparisons(record: Record) -> bool:
    """Whether there is anything to decide: a difference to a baseline, or a claim."""
    verdicts = any(
        isinstance(value, Verdict)
        for section in audit_sections(record)
        for row in section.numbers.to_dict("records")
        for value in row.values()
    )
    return verdicts or not estimates.arm_differences(record).empty


def _differences(record: Record) -> list[str]:
    """The undecided differences to the baseline, with their place in a grid."""
    level = estimates.level_of(record)
    cells = networks.load(record) if len(record.networks) else []
    pairs = estimates.baseline_cells(cells, record.record.get("baseline") or {})
    places: dict[tuple[str, str], set[float]] = {}
    for cell, _ in pairs:
        for name, value in cell.settings.items():
            if not math.isnan(value):
                places.setdefault((cell.arm, name), set()).add(value)
    grid = {name for (_, name), values in places.items() if len(values) > 1}
    found = []
    for cell, other in pairs:
        if decision(cell, other, level=level).side:
            continue
        where = [
            f"{name}={value:g}"
            for name, value in cell.settings.items()
            if name in grid and not math.isnan(value)
        ]
        place = f" at {', '.join(where)}" if where else ""
        found.append(f"{cell.arm} against {other.arm}{place}")
    return found


def _side(interval: Interval) -> int:
    """1 or -1 if an interval excludes zero, else 0; 0 too if it has no bounds."""
    return int(interval.low > 0) - int(interval.high < 0)


def _verdicts(section: Section) -> list[str]:
    """A claim of several comparisons is named once, and once for each protocol."""
    table = section.numbers
    parts = section.parts or [False] * len(table)
    return [
        f"{row[table.columns[0]]} ({str(key).removeprefix('verdict_')})"
        for row, part in zip(table.to_dict("records"), parts)
        for key, value in row.items()
        if not part and isinstance(value, Verdict) and value.more_seeds_may_decide
    ]
