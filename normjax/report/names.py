"""What a reader calls an arm: `third moment, no penalty`, not its identifier."""

from collections.abc import Mapping, Sequence

import pandas as pd

from normjax.study.columns import Level
from normjax.study.record import Record

NONE = "none"  # the level of a factor that is left out


def words(name: str) -> str:
    """An identifier as words: `third_moment` is `third moment`."""
    return name.replace("_", " ")


def level(factor: str, value: Level, *, titled: bool = False) -> str:
    """A level as words; a number and a `none` say of what: `batch size 32`, `no norm`.

    Args:
        factor: the name of the factor.
        value: its level.
        titled: every level says of what it is: `optimizer adam`.
    """
    if value == NONE:
        return f"no {words(factor)}"
    if isinstance(value, bool) or not isinstance(value, str):
        return f"{words(factor)} {value}"
    return f"{words(factor)} {words(value)}" if titled else words(value)


def arm_labels(factors: Mapping[str, Mapping[str, Level]]) -> dict[str, str]:
    """Arm -> its levels of the factors that vary, as words; each arm has its own.

    Args:
        factors: arm -> factor -> level.
    """
    varying = varying_factors(list(factors.values()))
    labels = {
        arm: ", ".join(level(name, levels[name]) for name in varying) or words(arm)
        for arm, levels in factors.items()
    }
    if len(set(labels.values())) < len(labels):  # arms that the factors do not tell
        return {arm: words(arm) for arm in factors}
    return labels


def varying_factors(levels: Sequence[Mapping[str, Level]]) -> list[str]:
    """The factors with more than one level among these arms, in their order."""
    names = dict.fromkeys(name for arm in levels for name in arm)
    return [
        x
        for x in names
        if len({arm[x] for arm in levels if x in arm and pd.notna(arm[x])}) > 1
    ]


def of_record(record: Record) -> dict[str, str]:
    """`arm_labels` of the arms of a record, complete or not."""
    entries, factors = record.record["arms"], record.record["factors"]
    return arm_labels(
        {
            arm: {x: entries[arm]["factors"][x] for x in factors}
            for arm in record.record["arm_order"]
        }
    )
