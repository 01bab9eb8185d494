"""Verdicts: what the interval of a comparison, or a family of them, says of a claim."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from normjax import statistics
from normjax.audit.measures import Statistic
from normjax.report.sections import Kind, Reason, Verdict
from normjax.statistics import Interval

DIRECTIONS = {  # margin (0 if there is none) -> the numbers that are as claimed
    "greater": lambda margin: (margin, np.inf),
    "less": lambda margin: (-np.inf, margin),
    "within": lambda margin: (-margin, margin),
}


class Judged(NamedTuple):
    """A comparison with its interval and its verdicts."""

    interval: Interval
    left_out: int  # how many seeds have a number that is not finite
    verdict: Verdict  # of the interval
    in_family: Verdict  # of the interval that allows for all comparisons of the claim


def verdict(
    interval: Interval,
    statistic: Statistic,
    direction: str,
    margin: float | None,
    level: float = statistics.LEVEL,
) -> Verdict:
    """Compares an interval with the numbers that are as claimed.

    The claim holds if the whole interval is among them, does not hold if none of it
    is, and is undecided if the interval contains a bound. `statistics.seeds_needed`
    says how many seeds would decide, at the nearest bound. The epochs of one run are
    not replicates, so an interval over them decides nothing.
    """
    if statistic.over != "seeds":
        return Verdict(Kind.UNDECIDED, Reason.ONE_RUN)
    scale = np.log if statistic.logarithmic else float
    floor, ceiling = DIRECTIONS[direction](0.0 if margin is None else scale(margin))
    with np.errstate(divide="ignore"):
        low, high = scale(interval.low), scale(interval.high)
    if floor < low and high < ceiling:
        return Verdict(Kind.HOLDS)
    if high <= floor or low >= ceiling:
        return Verdict(Kind.FAILS)
    if np.isnan(low):
        return Verdict(Kind.UNDECIDED)
    centre = (low + high) / 2
    bound = min(floor, ceiling, key=lambda x: abs(x - centre))
    leans = not floor < centre < ceiling
    symmetric = Interval(centre, low, high, interval.n)
    seeds = statistics.seeds_needed(symmetric, bound, level)
    reason = Reason.MORE_SEEDS if seeds else Reason.TOO_MANY_SEEDS
    return Verdict(Kind.UNDECIDED, reason, seeds or statistics.MOST_SEEDS, leans)


def family_verdict(judged: Sequence[Judged]) -> Verdict:
    """The verdict on a claim of several comparisons, all of which must hold.

    The claim does not hold if one comparison fails at the level that allows for their
    number; one that fails only by itself leaves the claim undecided. The first to fail
    would settle the claim: if some lean that way, the seeds needed are the fewest with
    which one of these fails, otherwise the most with which each one holds.
    """
    for one in judged:
        if one.in_family.kind is Kind.FAILS:
            return one.in_family
    leaning = [x.in_family for x in judged if x.in_family.leans]
    if leaning:
        return min(leaning, key=lambda x: x.seeds)
    verdicts = [x.verdict for x in judged]
    return max(verdicts, key=lambda x: (x.kind is not Kind.HOLDS, x.seeds))
