"""What the interval of a comparison means for a claim, and what several of them mean.

`measures` has the statistics; here a claim meets their intervals.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from normjax import outliers, statistics, ties
from normjax.audit.measures import Statistic
from normjax.report.audit_interface import Kind, Reason, Verdict
from normjax.statistics import Interval

DIRECTIONS = {  # margin (0 if there is none) -> the numbers that are as claimed
    "greater": lambda margin: (margin, np.inf),
    "less": lambda margin: (-np.inf, margin),
    "within": lambda margin: (-margin, margin),
}


class Judgement(NamedTuple):
    """A comparison with its intervals and its verdicts."""

    interval: Interval
    left_out: int  # how many seeds have a number that is not finite
    verdict: Verdict  # of the interval
    in_family: Verdict  # of the interval that allows for all comparisons of the claim
    trimmed: Interval | None = None  # of the trimmed mean, if a seed is outlying


class Claimed(NamedTuple):
    """The numbers that are as claimed."""

    direction: str
    margin: float | None = None


def judge(
    sides: Sequence[np.ndarray],
    statistic: Statistic,
    claimed: Claimed,
    num: int = 1,
    level: float = statistics.LEVEL,
    ends: Sequence[np.ndarray] = (),
) -> Judgement:
    """Judges one of `num` comparisons of a claim.

    Args:
        sides: the numbers of one or two arms, reduced by the statistic, [seeds, ...].
        statistic: what decides the claim.
        claimed: the numbers that are as claimed.
        num: how many comparisons the claim has.
        level: the level of an interval that is the only one.
        ends: of each side, where its numbers are cut off, [seeds]; see
            `rates.grid_ends`. Empty if no number can be.
    """
    interval = statistic.compare(*sides, level=level)
    left_out = len(sides[0]) - int(interval.n)
    if len(sides[0]) < statistic.least:
        few = Verdict(Kind.UNDECIDED, Reason.TOO_FEW_SEEDS, statistic.least)
        return Judgement(interval, left_out, few, few)
    known = statistic.is_mean and not statistic.discrete
    flagged = known and has_outliers(sides, statistic)
    single, in_family = (
        _verdict_of(sides, interval, statistic, claimed, k, level, flagged)
        for k in (1, num)
    )
    if ends:
        single, in_family = (_at_the_end(x, claimed, ends) for x in (single, in_family))
    trimmed = trimmed_interval(sides, statistic, level) if flagged else None
    return Judgement(interval, left_out, single, in_family, trimmed)


def has_outliers(sides: Sequence[np.ndarray], statistic: Statistic) -> bool:
    """Whether a seed is outlying on one side or in the difference of both."""
    scaled = [_scaled(side, statistic) for side in sides]
    if len(scaled) == 1:
        return bool(outliers.outlying(scaled[0]).any())
    return bool(outliers.outlying_pairs(*scaled).any())


def trimmed_interval(
    sides: Sequence[np.ndarray], statistic: Statistic, level: float = statistics.LEVEL
) -> Interval:
    """The interval of the trimmed mean of what `statistic.compare` takes the mean of.

    For a ratio it is `exp` of that of the logarithm.
    """
    x, resolution = _differences(sides, statistic)
    found = outliers.trimmed_mean(x, level, resolution=resolution)
    if not statistic.logarithmic:
        return found
    low, high = np.exp(found.low), np.exp(found.high)
    return Interval(np.exp(found.estimate), low, high, found.n)


def _verdict_of(
    sides: Sequence[np.ndarray],
    interval: Interval,
    statistic: Statistic,
    claimed: Claimed,
    num: int,
    level: float,
    flagged: bool,
) -> Verdict:
    """The verdict of one of `num` comparisons.

    Equal differences decide nothing unless so many equal signs would, at the level of
    the comparison. If a seed is outlying, Student's interval decides only what the
    interval of the trimmed mean does too.
    """
    wide = simultaneous_interval(interval, statistic, num, level)
    level = 1 - (1 - level) / num
    one = verdict(wide, statistic, *claimed, level)
    if not statistic.is_mean:
        return one
    equal = ties.all_equal(*_differences(sides, statistic))
    least = ties.least(level)
    if equal and 1 < interval.n < least:
        return Verdict(Kind.UNDECIDED, Reason.TOO_FEW_SEEDS, least)
    if flagged and one.kind is not Kind.UNDECIDED:
        trimmed = trimmed_interval(sides, statistic, level)
        if verdict(trimmed, statistic, *claimed, level).kind is not one.kind:
            leans = one.kind is Kind.FAILS
            return Verdict(Kind.UNDECIDED, Reason.OUTLIERS, leans=leans)
    return one


def _at_the_end(one: Verdict, claimed: Claimed, ends: Sequence[np.ndarray]) -> Verdict:
    """The verdict, unless the numbers that a grid cut off could change it.

    If a first side may be larger or a second one smaller, the true mean may be above
    the interval; if it is the other way round, below it. No number of seeds decides
    then.
    """
    signed = [ends[0], *(-x for x in ends[1:])]
    above, below = (any((s * x > 0).any() for x in signed) for s in (1, -1))
    against = {"greater": below, "less": above}.get(claimed.direction, above or below)
    towards = {"greater": above, "less": below}.get(claimed.direction, above or below)
    open_end = {Kind.HOLDS: against, Kind.FAILS: towards}
    if open_end.get(one.kind, above and below):
        leans = one.leans or one.kind is Kind.FAILS
        return Verdict(Kind.UNDECIDED, Reason.GRID_ENDS, leans=leans)
    return one


def seed_values(sides: Sequence[np.ndarray], statistic: Statistic) -> np.ndarray:
    """[seeds], of what `statistic.compare` takes the mean: differences or ratios."""
    values, _ = _differences(sides, statistic)
    return np.exp(values) if statistic.logarithmic else values


def _differences(
    sides: Sequence[np.ndarray], statistic: Statistic
) -> tuple[np.ndarray, float]:
    """What the mean is taken of, [seeds], and by how much equal ones can differ."""
    scaled = [_scaled(side, statistic) for side in sides]
    rounding = ties.rounding(*scaled)
    if statistic.logarithmic:
        rounding = ties.ROUNDING
    return (scaled[0] - scaled[1] if len(scaled) == 2 else scaled[0]), rounding


def _scaled(side: np.ndarray, statistic: Statistic) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(side) if statistic.logarithmic else np.asarray(side)


def simultaneous_interval(
    interval: Interval,
    statistic: Statistic,
    num: int,
    level: float = statistics.LEVEL,
) -> Interval:
    """The interval at level `1 - (1 - level) / num`, for one of `num` comparisons.

    Each interval is Student's with n - 1 degrees of freedom; for a ratio or a spread,
    that of the logarithm. It grows about its centre by the ratio of the quantiles, so
    that at most `1 - level` of the families have an interval that misses the truth.

    References:
        Dunn, 1961. Multiple Comparisons Among Means.
    """
    scale, back = (np.log, np.exp) if statistic.logarithmic else (float, float)
    tail = (1 - level) / 2
    wide, usual = stats.t.ppf([1 - tail / num, 1 - tail], interval.n - 1)
    with np.errstate(all="ignore"):  # without bounds, or past float64
        low, high = scale(interval.low), scale(interval.high)
        centre, half = (low + high) / 2, (high - low) / 2 * wide / usual
        return interval._replace(low=back(centre - half), high=back(centre + half))


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


def family_verdict(judged: Sequence[Judgement]) -> Verdict:
    """The verdict on a claim of several comparisons, all of which must hold.

    The claim does not hold if one comparison fails at the level that allows for their
    number. A comparison that fails only at its own level leaves the claim undecided. If
    some comparisons lean to failing, the seeds needed are the fewest with which one of
    them would fail, otherwise the most that a single one needs to hold.
    """
    for one in judged:
        if one.in_family.kind is Kind.FAILS:
            return one.in_family
    leaning = [x.in_family for x in judged if x.in_family.leans]
    if leaning:
        return min(leaning, key=lambda x: x.seeds)
    verdicts = [x.verdict for x in judged]
    return max(verdicts, key=lambda x: (x.kind is not Kind.HOLDS, x.seeds))
