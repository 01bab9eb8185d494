"""What a study has not decided yet, and what more seeds may decide."""

import pandas as pd

from normjax.report import estimates
from normjax.report.audit_interface import (
    Section,
    TableRow,
    Verdict,
    audit_sections,
)
from normjax.study.record import Record


def undecided(record: Record) -> tuple[str, ...]:
    """The names of the comparisons that more seeds may decide; empty if there are none.

    They are the arms that lack networks, then the differences in test accuracy to the
    baseline whose interval includes zero (or, if a seed is outlying, does not lie on
    the same side as that of the trimmed mean), in the order of their table, then the
    verdicts of the audit that are undecided. Intervals have the level of the look
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
    names += _differences(estimates.arm_differences(record), record.record["settings"])
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


def _differences(table: pd.DataFrame, settings: list[str]) -> list[str]:
    if table.empty:
        return []
    groups = table.groupby("arm")
    grid = [name for name in settings if (groups[name].nunique() > 1).any()]
    names = []
    for row in table.to_dict("records"):
        keys = ["accuracy_points", "trimmed_points"]
        keys = [key for key in keys if pd.notna(row.get(key))]
        if {_side(row, key) for key in keys} in ({1}, {-1}):
            continue
        where = [f"{name}={row[name]:g}" for name in grid if pd.notna(row[name])]
        place = f" at {', '.join(where)}" if where else ""
        names.append(f"{row['arm']} against {row['baseline']}{place}")
    return names


def _side(row: TableRow, key: str) -> int:
    """1 or -1 if an interval excludes zero, else 0; 0 too if it has no bounds."""
    return int(row[f"{key}_low"] > 0) - int(row[f"{key}_high"] < 0)


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
