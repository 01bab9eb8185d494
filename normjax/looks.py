"""Intervals that stay valid when a study is looked at while it grows.

A look is a number of seeds at which every interval is computed and read. An interval
of 95% at each of ten looks misses the truth at one of them at least in every fourth
study. Here the intervals of one quantity miss it at any look with probability 5% at
most: the looks divide the 5% among them, and each computes its intervals at a level of
its own. The sum bounds the error whatever the dependence between looks, so this is as
true of a ratio, a median or one of several comparisons as it is of a mean, wherever
its interval covers at the level that it is given.

References:
    Lan and DeMets, 1983. Discrete Sequential Boundaries for Clinical Trials.
    Jennison and Turnbull, 1989. Interim Analyses: The Repeated Confidence Interval
        Approach.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from normjax.errors import InputError
from normjax.statistics import LEVEL

LEAST = 5  # seeds at the first look: Student's interval of fewer is of little use
LAST_SHARE = 0.5  # of the error goes to the last look, the rest is shared equally
SMALL = 1e-9  # error probabilities below this are rounding


class Look(NamedTuple):
    """A number of seeds, and the level of the intervals that are computed from them."""

    num_seeds: int
    level: float


def schedule(first: int, most: int) -> tuple[int, ...]:
    """Numbers of seeds at which to look: each is half as many again as the one before.

    The first is `first`, but at least LEAST; the last is `most`, whatever the others.

    Raises:
        InputError: `most` is less than `first`.

    >>> schedule(5, 60)
    (5, 8, 12, 18, 27, 41, 60)
    """
    if most < first:
        rule = f"must be at least the number of seeds to begin with, {first}"
        raise InputError("max_seeds", most, rule, f"set max_seeds={10 * first}")
    numbers = []
    n = max(first, LEAST)
    while n < most:
        numbers.append(n)
        n = (3 * n + 1) // 2
    return (*numbers, most)


def levels(numbers: Sequence[int], level: float = LEVEL) -> tuple[float, ...]:
    """The level of each look of a schedule, such that `sum(1 - levels) = 1 - level`.

    The last look gets a half of the error (all of it if it is the only one) and the
    others share the rest equally. With a level of 0.95 the last look's is 0.975: its
    intervals are 15% wider than those of a study that is looked at once.

    >>> levels((5, 8, 12))
    (0.9875, 0.9875, 0.975)
    """
    error, others = 1 - level, len(numbers) - 1
    if not others:
        return (level,)
    early = 1 - (1 - LAST_SHARE) * error / others
    return (early,) * others + (1 - LAST_SHARE * error,)


def plan(first: int, most: int, taken: Sequence[Look] = ()) -> tuple[Look, ...]:
    """The looks that are still to be taken, in their order.

    They are the rest of the schedule if `taken` is its beginning. If it is not, because
    `first` or `most` was another number then, the looks at more seeds than the last one
    divide the error that is left.

    Raises:
        InputError: `most` is less than `first`, or more seeds are wanted and no error
            is left for them.
    """
    numbers = schedule(first, most)
    looks = tuple(map(Look, numbers, levels(numbers)))
    if tuple(taken) == looks[: len(taken)]:
        return looks[len(taken) :]
    later = [n for n in numbers if n > taken[-1].num_seeds]
    left = 1 - LEVEL - sum(1 - look.level for look in taken)
    if later and left < SMALL:
        rule = f"cannot be reached: {_looks_at(taken)} used up the error of 5%"
        raise InputError("max_seeds", most, rule, "run a study of another root_seed")
    return tuple(map(Look, later, levels(later, 1 - left))) if later else ()


def taken(record: Mapping[str, Any]) -> tuple[Look, ...]:
    """The looks in a `record.json`; none if the study was not run until decided."""
    return tuple(Look(**look) for look in record.get("looks") or ())


def level_at(looks: Sequence[Look], num_seeds: int) -> float:
    """The level of the intervals from that many seeds.

    It is that of the look at as many seeds. Where there was none, it is the highest of
    the looks that were taken, or LEVEL if none was.
    """
    same = [look.level for look in looks if look.num_seeds == num_seeds]
    return max(same or [look.level for look in looks], default=LEVEL)


def level_of(record: Mapping[str, Any], seeds: Iterable[int]) -> float:
    """The level of every interval of a record: that of the look at as many seeds.

    Args:
        record: the content of `record.json`.
        seeds: those of its networks, each once or more.
    """
    return level_at(taken(record), len(set(seeds)))


def sentence(looks: Sequence[Look], num_seeds: int) -> str:
    """What a page of that many seeds says of the looks; empty if there were none."""
    if not looks:
        return ""
    return (
        f"{_looks_at(looks)}. Intervals over seeds have the level"
        f" {100 * level_at(looks, num_seeds):.4g}% where the notes say 95%: then those"
        " of one quantity miss the truth at any look with probability 5% at most."
    )


def _looks_at(looks: Sequence[Look]) -> str:
    *others, last = (str(look.num_seeds) for look in looks)
    if not others:
        return f"1 look, at {last} seeds"
    return f"{len(looks)} looks, at {', '.join(others)} and {last} seeds"
