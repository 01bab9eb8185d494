"""The statistics that decide claims: a number per seed, and how two arms are compared.

Our numbers and the published ones go through the same `reduce` and `compare`, except
for variances, which the sources give without the numbers of single seeds. Curves are
[seeds, epochs] or, if published, [epochs] of one network. `verdict` says what the
interval of a comparison means for a claim, `family_verdict` what several of them mean.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from normjax import statistics
from normjax.audit import rates
from normjax.report import networks
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
LARGEST = float(np.finfo(np.float32).max)  # 3.4e38, for a number that is not finite


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


def volatility(x: np.ndarray) -> np.ndarray:
    """Each network's standard deviation of the changes from pass to pass.

    A steady trend has volatility 0. Fewer than three passes give nan.
    """
    changes = np.diff(np.atleast_2d(x), axis=1)
    if changes.shape[1] < 2:
        return np.full(len(changes), np.nan)
    return np.std(changes, axis=1, ddof=1)


def _range_over_scales(cells: Sequence[Cell]) -> np.ndarray | None:
    """[seeds], highest minus lowest final train loss; `LARGEST` if one diverged.

    A seed that diverges at any scale depends on the scale most strongly, so it is not
    left out, and its ratio to a finite range stays finite.
    """
    if networks.varying_names(cells, "settings") != ["init_scale"]:
        return None
    losses = np.stack([cell.final["train_loss"] for cell in cells])
    diverged = np.stack([cell.diverged for cell in cells])
    lost = (diverged | ~np.isfinite(losses)).any(axis=0)
    ranges = np.ptp(np.where(lost, 0.0, losses), axis=0)
    return np.where(lost, LARGEST, np.minimum(ranges, LARGEST))


def _test_accuracy(cells: Sequence[Cell]) -> np.ndarray:
    return networks.best_of_arms(cells)[0].final["test_accuracy"]


def _curve(name: str) -> Measure:
    return lambda cells: networks.best_of_arms(cells)[0].measurements.get(name)


def _precise_gain(cells: Sequence[Cell]) -> np.ndarray | None:
    """[seeds], final test accuracy with precise statistics minus moving averages."""
    cell = networks.best_of_arms(cells)[0]
    precise = cell.measurements.get("precise_test_accuracy")
    return None if precise is None else precise[:, -1] - cell.final["test_accuracy"]


_points = lambda x: 100 * x
_last = lambda x: np.atleast_2d(x)[:, -1]
_last_points = lambda x: 100 * _last(x)
_mean_of_passes = lambda x: np.mean(np.atleast_2d(x), axis=1)
MODES = {"": " while training", "_evaluated": " in evaluation mode"}
SPREAD = "standard deviation of the test accuracy"
MEAN = "smoothness, mean of passes"
CHANGE = "standard deviation of the change of smoothness from pass to pass"
GAIN = "test accuracy: precise statistics minus moving averages"
RANGE = "range of the final train loss over the scales (3.4e38 if diverged)"
STATISTICS = {
    "test_accuracy": Statistic("test accuracy", "points", _test_accuracy, _points),
    **{
        f"{name}{end}": Statistic(label + mode, unit, _curve(f"{name}{end}"), reduce)
        for name, label, unit, reduce in (
            ("train_accuracy", "final train accuracy", "points", _last_points),
            ("train_loss", "final train loss", "nats", _last),
        )
        for end, mode in MODES.items()
    },
    "accuracy_spread": Statistic(
        SPREAD, "points", _test_accuracy, _points, spread, logarithmic=True, least=3
    ),
    "stability": Statistic(
        "variance of the train loss",
        "ratio",
        _curve("train_loss"),
        compare=statistics.stability_ratio,
        compare_published=log_ratio,
        logarithmic=True,
        least=3,
    ),
    "seconds": Statistic(
        "seconds",
        "ratio, over the epochs of one run",
        lambda cells: networks.best_of_arms(cells)[0].epoch_seconds,
        compare=log_ratio,
        logarithmic=True,
        over="epochs",
        least=1,
    ),
    "smoothness": Statistic(MEAN, "", _curve("smoothness"), _mean_of_passes),
    "smoothness_of_roots": Statistic(
        MEAN, "", _curve("smoothness_of_roots"), _mean_of_passes
    ),
    "volatility": Statistic(CHANGE, "", _curve("smoothness"), volatility),
    "volatility_of_roots": Statistic(
        CHANGE, "", _curve("smoothness_of_roots"), volatility
    ),
    "loss_range": Statistic(RANGE, "nats", _range_over_scales),
    "loss_range_ratio": Statistic(
        RANGE, "ratio", _range_over_scales, compare=log_ratio, logarithmic=True
    ),
    "precise_test_accuracy": Statistic(
        "test accuracy with precise statistics",
        "points",
        _curve("precise_test_accuracy"),
        _last_points,
    ),
    "precise_gain": Statistic(GAIN, "points", _precise_gain, _points),
    "largest_rate": Statistic(
        "largest learning rate of the grid that still trains",
        "ratio",
        rates.largest_rates,
        compare=log_ratio,
        logarithmic=True,
    ),
    "best_accuracy": Statistic(
        "test accuracy, each seed at its best rate",
        "points",
        rates.best_accuracies,
        _points,
    ),
}


def evaluated_statistic(name: str, cells: Sequence[Cell]) -> str:
    """The statistic in evaluation mode, if there is one and every cell was probed."""
    probe = f"{name}_evaluated"
    probed = probe in STATISTICS and all(probe in cell.probes for cell in cells)
    return probe if probed else name


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
