"""How two arms are compared, and what the interval of a comparison means for a claim.

`quantities` has the statistics by name. Our numbers and the published ones go through
the same `reduce` and `compare`, except for variances, which the sources give without
the numbers of single seeds. `verdict` judges one comparison of a claim,
`family_verdict` several of them together.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from normjax import statistics
from normjax.report.audit_interface import Kind, Reason, Verdict
from normjax.report.networks import Cell
from normjax.statistics import Interval

# Of an arm's grid, [seeds, ...]; None if it was not measured.
Measure = Callable[[Sequence[Cell]], np.ndarray | None]
DIRECTIONS = {  # margin (0 if there is none) -> the numbers that are as claimed
    "greater": lambda margin: (margin, np.inf),
    "less": lambda margin: (-np.inf, margin),
    "within": lambda margin: (-margin, margin),
}


def student_interval(
    a: np.ndarray, b: np.ndarray | float = 0.0, *, level: float = statistics.LEVEL
) -> Interval:
    """Student's interval of one side, or of the paired differences of two sides."""
    return statistics.mean_interval(a - b, level)


def log_ratio(
    a: np.ndarray, b: np.ndarray, *, level: float = statistics.LEVEL
) -> Interval:
    """`exp` of Student's interval of the mean of `log(a / b)`, place by place."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log = statistics.mean_interval(np.log(np.divide(a, b)), level)
    return Interval(np.exp(log.estimate), np.exp(log.low), np.exp(log.high), log.n)


def spread(x: np.ndarray, *, level: float = statistics.LEVEL) -> Interval:
    """Standard deviation over seeds, with the interval of `statistics.stability`."""
    variance, low, high, n = statistics.stability(x.reshape(-1, 1), level=level)
    return Interval(np.sqrt(variance), np.sqrt(low), np.sqrt(high), n)


class Statistic(NamedTuple):
    """What decides a claim: a number for each side, and how two sides are compared."""

    label: str
    unit: str  # empty if it has none
    measure: Measure
    reduce: Callable[[np.ndarray], np.ndarray] = np.asarray  # also of published numbers
    compare: Callable[..., Interval] = student_interval  # of one or two sides, `level`
    compare_published: Callable[..., Interval] | None = None  # `compare` if None
    logarithmic: bool = False  # interval and margin are those of the logarithm
    over: str = "seeds"  # or "epochs" of one run
    least: int = 2  # seeds (or epochs) that a verdict needs at least

    @property
    def title(self) -> str:
        """Label and unit."""
        return ", ".join(filter(None, (self.label, self.unit)))


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


class Judgement(NamedTuple):
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
